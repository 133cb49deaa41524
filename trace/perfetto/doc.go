// Package perfetto writes Perfetto's native trace format, TrackEvent packets in
// protobuf, so that many ranks share one file without the limits of Chrome JSON:
// every lane is a track of its own, names are interned, flows cross processes.
//
// A file is a sequence of Trace.packet (field 1). All packets are on one sequence
// (trusted_packet_sequence_id 1), so one table of interned names serves them.
// Packets written, in this order:
//
//	ClockSnapshot    once: REALTIME and BOOTTIME are the same, ns since the Unix epoch
//	TrackDescriptor  a process a rank, a thread a CPU track, a plain track for every
//	                 other lane, a counter a series; each before its first event
//	TrackEvent       SLICE_BEGIN, SLICE_END, INSTANT, COUNTER
//
// Field numbers are in wire.go, by message.
//
// Slices of one Perfetto track must nest. Slices of a trace.Track that overlap
// without nesting are put on further lanes, each a child track; nothing is dropped
// and Stats counts them. A rank's "[memory]" instants become counters of allocated
// and reserved bytes (trace.MemoryCounter), of which the first sample is what was held before.
//
// Use: a Writer per file; AddRank declares a rank and returns its events as
// sequences in order of time; the caller emits them in any merge of these (package
// align has one) and closes the Writer. Writer and sequences belong to one
// goroutine.
package perfetto
