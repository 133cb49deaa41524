// Package chrome writes a trace.Trace as the Chrome JSON that Kineto writes, so
// that Perfetto, HTA and TensorBoard tools read it as they read a torch trace.
//
// The file is one object, keys in Kineto's order:
//
//	schemaVersion        1
//	deviceProperties     the cards the process could see
//	<free keys>          Meta.Extra, and stage_id, stage, replica, host_name of a staged rank
//	distributedInfo      backend, rank, world_size, pg_count, pg_config
//	displayTimeUnit      "ms"
//	baseTimeNanoseconds  see BaseTime
//	traceEvents          M rows, X slices, s/f flows, i instants, C counters, the
//	                     Trace span and Record Window End
//	traceName
//
// ts and dur are microseconds with three decimals, written from int64 nanoseconds
// without a float in between: a reader that parses the text gets the same
// nanoseconds back.
//
// Text that is not UTF-8 is written with replacement characters. Counter samples
// that JSON cannot hold (NaN, infinities) are left out and counted in Stats.
package chrome
