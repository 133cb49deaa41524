// Package hta holds the definitions of Holistic Trace Analysis where they differ from ours,
// including its mistakes: the rows that it makes of a trace, its types of kernels, the calls that
// it knows, and what its analyses count differently. The analyses of package analysis ask Rules
// where the two differ; with the zero Rules they follow our definitions. Everything here was
// compared with HTA's results on real traces, see docs/analyses.md. It exists only so that users
// can compare results with HTA's.
package hta

// Rules select, difference by difference, HTA's definition instead of ours. In the zero value all
// are ours.
type Rules struct {
	// RowsByStream: any slice with a stream argument is a device row, and Window is ignored. Rows
	// makes them; Partner only has the last call of a correlation.
	RowsByStream bool
	// OneSliceALaunch: a call launches only the last of its slices, both in queues and on the
	// critical path; slices without a known call are on no path.
	OneSliceALaunch bool
	// KnownCallsOnly: calls count by name, see Enqueues and LaunchCalls; others launch nothing.
	KnownCallsOnly bool
	// NoOtherKind: kernels of no kind are left out of the table of kernels.
	NoOtherKind bool
	// NegativeTimes: spans of negative length, left by rounding, count in sums of times that
	// several kinds cover; see Sweep. The span of the device's time ends with the last one.
	NegativeTimes bool
	// EmptyGaps: streams that go on without a gap, or overlap, count as idle for zero or negative
	// time; rows of collective communication are not work. See IdleRow.
	EmptyGaps bool
	// AnyRowIsOperator: annotations, Python frames and runtime calls count as operators where
	// sequences of kernels and paths look for one.
	AnyRowIsOperator bool
	// FullAtLimit: a queue is full while its length equals the limit, whether or not calls waited;
	// the share is of the time between the first and the last start of any row.
	FullAtLimit bool
	// FilesBandwidth: rates of copies are those stated in the file, and copies without a duration
	// take a microsecond; rounding errors left in sums count as rates.
	FilesBandwidth bool
	// StreamsWithoutDevice: streams are told apart by number alone.
	StreamsWithoutDevice bool
	// LimitedKernelGap: a gap of KernelGapNs or more between two kernels is not explained by the
	// earlier one.
	LimitedKernelGap bool
	// QueueOfOne: a kernel waited for its launch if the queue's length was one after the launch and
	// zero at the kernel's end. So the first kernel has no cause if a second one was launched
	// before it began.
	QueueOfOne bool
	// CUDACallsOnly: only CUDA's blocking calls block; those of HIP do not.
	CUDACallsOnly bool
	// WaitEventsOnPath: "Stream Wait Event" rows are on the path wherever they lie.
	WaitEventsOnPath bool
	// FirstEndWins: among ends of a path with equal weight, the first is taken.
	FirstEndWins bool
	// NamesWithoutSide: a difference of traces has one row for a name, host and device together.
	NamesWithoutSide bool
	// EdgesFromAllStreams: a synchronisation with the context has an edge from every stream, also
	// from streams that an earlier one waited for.
	EdgesFromAllStreams bool
	// LateCallsOnly: a stream waited for the host only if the launch call began after the previous
	// work had ended. A call that began in time and took long does not count.
	LateCallsOnly bool
}

// All are HTA's rules.
var All = Rules{
	RowsByStream: true, OneSliceALaunch: true, KnownCallsOnly: true, NoOtherKind: true, NegativeTimes: true,
	EmptyGaps:        true,
	AnyRowIsOperator: true, FullAtLimit: true, FilesBandwidth: true, StreamsWithoutDevice: true, LimitedKernelGap: true,
	QueueOfOne: true, CUDACallsOnly: true, WaitEventsOnPath: true, FirstEndWins: true, NamesWithoutSide: true,
	EdgesFromAllStreams: true, LateCallsOnly: true,
}

// KernelGapNs is the gap of LimitedKernelGap.
const KernelGapNs = 1_500_000
