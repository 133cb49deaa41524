// Package hta holds the definitions of Holistic Trace Analysis where they differ from ours,
// mistakes included: the rows that it makes of a trace, its types of kernels, the calls
// that it knows, and what its analyses count otherwise. The analyses of package analysis
// ask Rules at the places where the two part; with the zero Rules they follow our
// definitions. Everything here was compared with HTA's results on real traces, see
// docs/analyses.md, and exists to be compared with it, never to decide.
package hta

// Rules say by whose definitions an analysis counts. The zero value is ours; a field is
// one difference of HTA's.
type Rules struct {
	// RowsByStream: any slice with a stream argument is a device row, and Window is not
	// regarded. Rows makes them; Partner knows the last call of a correlation only.
	RowsByStream bool
	// OneSliceALaunch: of a call's slices only the last is launched by it, as in queues
	// and on the critical path; those without a known call are on no path.
	OneSliceALaunch bool
	// KnownCallsOnly: calls count by name, see Enqueues and LaunchCalls; others launch nothing.
	KnownCallsOnly bool
	// NoOtherKind: kernels of no kind are left out of the table of kernels.
	NoOtherKind bool
	// NegativeTimes: spans of negative length, left by rounding, count in sums of times that
	// several kinds cover; see Sweep. The span of the device's time ends with the last one.
	NegativeTimes bool
	// EmptyGaps: streams that go on without a gap, or overlap, count as idle for no time or
	// less; rows of collective communication are no work. See IdleRow.
	EmptyGaps bool
	// AnyRowIsOperator: annotations, Python frames and runtime calls count as operators where
	// sequences of kernels and paths look for one.
	AnyRowIsOperator bool
	// FullAtLimit: a queue is full while it is as long as the limit, whether calls waited or
	// not, and its share is of the time between the first and the last start of any row.
	FullAtLimit bool
	// FilesBandwidth: rates of copies are those that the file states, and copies without a
	// duration take a microsecond; what rounding leaves of sums counts as a rate.
	FilesBandwidth bool
	// StreamsWithoutDevice: streams are told apart by number alone.
	StreamsWithoutDevice bool
	// LimitedKernelGap: a kernel that begins KernelGapNs or more after the one before it is not
	// explained by that.
	LimitedKernelGap bool
	// QueueOfOne: a kernel waited for its launch if the queue had length one after the launch
	// and none at the kernel's end; so a first kernel has no cause if a second was launched
	// before it began.
	QueueOfOne bool
	// CUDACallsOnly: blocking calls are CUDA's; those of HIP do not block.
	CUDACallsOnly bool
	// WaitEventsOnPath: "Stream Wait Event" rows are on the path wherever they lie.
	WaitEventsOnPath bool
	// FirstEndWins: of ends of a path with equal weight the first is its end.
	FirstEndWins bool
	// NamesWithoutSide: a difference of traces has one row a name for host and device.
	NamesWithoutSide bool
	// EdgesFromAllStreams: a synchronisation with the context has an edge from every stream,
	// those included that an earlier one waited for already.
	EdgesFromAllStreams bool
	// LateCallsOnly: a stream waited for the host only if the launch call began after the work
	// before had ended, however long a call took that began in time.
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
