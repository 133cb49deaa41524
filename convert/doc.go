// Package convert turns what a rank recorded into the artifacts of a run, and the
// traces of all ranks into one timeline.
//
// Recording reads a recording, Trace takes a trace that is in memory already, from a torch
// worker say; both write every artifact that the configuration asks for. The artifacts
// are the table in artifacts.go: one entry each, with its name, its condition and its
// writer. Merge merges ranks: package align puts them on one clock, package
// trace/perfetto writes them.
//
// Artifacts go to a Sink, which makes a file appear complete or not at all; *store.Run
// is one, Dir another. The same input gives the same bytes. A recording that was cut
// is converted up to the cut; Result.Notes and the trace's metadata say so.
package convert
