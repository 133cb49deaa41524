// Package native reads the recordings of package profiler into a trace.Trace.
//
// What becomes what:
//
//	span                  slice on its track; arguments in Kineto's spelling (see args.go)
//	async span            slice on a lane of its own kind, "request", "request 2" …
//	instant, counter      the same
//	flow end              flow with category and name "handoff"; ids hold across processes
//	allocation, free      "[memory]" instant with Kineto's arguments, and a counter
//	                      "pool bytes" with a series a pool
//
// Slices come out by start, outer before inner. Times are ns since the Unix epoch. A
// span that began before the window begins with it, one that was open at its end ends
// with it; both say so in their arguments ("began_before_ns", "finished": false).
//
// A recording that was cut, by the death of its process say, gives everything up to the
// cut, and one that is damaged everything before and behind; Info says what is missing.
package native
