//go:build race

package profiler

// raceEnabled: under the race detector times say nothing.
const raceEnabled = true
