// Package format is the binary format of a recording: what package profiler writes
// while a program runs and what everything else is converted from.
//
// # Reading
//
//	rd, err := format.NewReader(r)             // reads magic and header
//	for {
//		g, err := rd.Next()                // one generation; valid until the next Next
//		if err == io.EOF { break }
//		// g.Slices, g.Instants, g.Asyncs, g.Counters, g.Memory, g.Flows: columns.
//		// Name and key columns index rd.Strings(), Track columns index rd.Tracks().
//		// Both tables only grow while reading, so a caller can keep its own
//		// mapping from them and extend it after each Next.
//		for i := range g.Slices.Start {
//			for _, a := range g.SliceAttrs(i) { ... a.Kind, a.Key, a.Int, g.Text(a), g.Dims(a) }
//		}
//	}
//	rd.Cut()  // nil if the recording ended properly, else what is missing
//	rd.End()  // totals; nil if cut
//
// All times are nanoseconds since the Unix epoch, by the anchor in the header. A slice
// comes out in the generation in which it ended, so a column is ordered by end; an
// instant comes out when its arguments are complete. Spans that were open when the
// recording ended come out in one last generation (Final) without the Finished flag and
// end where the window ends. Memory is bounded by the largest generation, the open spans
// and the distinct strings.
//
// # File
//
//	+----------------+-----------+----------------+-----+----------------+-----------+
//	| magic, 8 bytes | header H  | generation G   | ... | generation G   | end E     |
//	+----------------+-----------+----------------+-----+----------------+-----------+
//	  "KINREC" 00 01
//
//	frame:
//	+------+----------------+------------------+------------------------------------+
//	| kind | length, u32 LE | payload          | CRC-32C, u32 LE, of all before it  |
//	+------+----------------+------------------+------------------------------------+
//
// Numbers in payloads are unsigned varints (as in encoding/binary) unless said
// otherwise: zz is a zigzag varint, f64 eight bytes little-endian, str a varint length
// and that many bytes of UTF-8. Ticks are units of the clock that the header names.
//
// # Header
//
//	process str | clock str | resolution ns | options | pid
//	anchor mono ns zz | anchor unix ns zz | start mono ns zz
//	n | n × (key str, value str)                     meta
//
// The clock is "tsc" (the processor's invariant time stamp counter) or "monotonic"
// (CLOCK_MONOTONIC; ticks are nanoseconds). Mono is nanoseconds of the process's
// monotonic clock from an origin of its own; the anchor pairs it with the wall clock.
// Options is a set of bits: 1 shapes, 2 stacks, 4 FLOPs, 8 memory, 16 snapshot of the
// flight recorder.
//
// # Generation
//
//	seq | opened mono ns zz | tick0 zz | mono0 ns zz | tick1 zz | mono1 ns zz
//	n | n × (id, text str)                           strings used in this generation
//	n | n × (id, depth, depth × (function, file, line)) stacks, innermost frame first
//	n | n × (id, name str, dropped)                  tracks; dropped counts from the start
//	n | n × batch
//
//	batch: track id | base tick zz | begun | open
//	       open × (ordinal, start mono ns zz, name, category) | target | length | records
//
// A generation can be read alone: it has every string it uses, the clock's line through
// (tick0, mono0) and (tick1, mono1), of which the second is its cut and the first lies
// before all it holds, and for each batch the spans that were open before it, outermost
// first. Begun counts the spans that the track began before the batch, an ordinal is that
// count at a span's beginning: by it a reader knows a span again. A batch is a piece of what one track recorded, in
// order; the first delta counts from the base tick. Target says where arguments at its start belong: 0 to
// an instant before it, 1+n to the open span n levels out from the innermost.
//
// # Records
//
//	tag      fields                        meaning
//	2c       delta name                    begin a span of category c
//	01       delta                         end the innermost span
//	02       delta n                       end the n innermost spans; all but the outermost were left open
//	3c       delta name                    instant
//	5c       delta name id:f64             begin an async span
//	07       delta name id:f64             end an async span
//	03       delta name value:zz           counter
//	04       delta name value:f64          counter, float
//	05 06    delta pool addr bytes:zz      allocate, free
//	10       key value:zz                  argument, integer
//	11       key name                      argument, interned text
//	12       key length bytes              argument, text
//	13       key value:f64                 argument, float
//	14 15    value:zz                      FLOPs, bytes moved
//	16 17    id:f64                        flow out, flow in, at the time of the timed record before it
//	18       id                            stack
//	19       levels                        following arguments go to the span that many levels out
//	4d       n, n × dim:zz                 shape of one tensor of element type d
//
// An argument belongs to the span, instant or async event begun last; after an end to
// the innermost open span; after a 19 record to the span that it names. Counters,
// allocations and frees take no arguments and change nothing in this.
//
// # End
//
//	end mono ns zz | end unix ns zz | events | dropped | truncated texts | reason str
//	n | n × (track id, dropped)
//
// # Versions
//
// The version is the last byte of the magic. A reader refuses versions it does not know.
// New record types or fields need a new version; the old ones keep their meaning.
package format
