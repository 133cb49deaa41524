// Package stepcost measures what recording costs the native stages: a decode step of
// the built-in thinker and a denoise step of the built-in DiT without a recorder, with
// one that is armed, with the flight recorder, and while it records, all in one run and
// interleaved, because only ratios of one run mean anything.
package stepcost
