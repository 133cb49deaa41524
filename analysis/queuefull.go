package analysis

import "slices"

// FullQueueLength is the number of launches that a CUDA stream's queue has room for, and
// the length at which HTA takes it for full.
const FullQueueLength = 1024

// What makes a full queue; see fullTime.
const (
	// fullNear is how far from FullQueueLength a queue's ceiling may lie. The driver keeps
	// some of the places for itself, how many depends on its version and on what else uses
	// the channel; a launch is counted before it has its place, which adds as many as
	// threads launch at once. Queues that stall at another depth have other reasons, such
	// as a program that bounds its work under way.
	fullNear = 32
	// fullSlack is how far below its ceiling a full queue may be: while it is full a
	// launch waits until one place is free, and between two launches of a slow host a few
	// short kernels may begin.
	fullSlack = 4
	// fullWait is how many times as long as an ordinary one a launch call must take to
	// have waited.
	fullWait = 2
)

// fullTime returns for how long a stream's queue was full, in ns, and the length from
// which it counts as full, 0 if it never was. steps are the queue's changes in order.
//
// A queue is full while its length in launches stays at its own ceiling, and a launch call
// waits for room meanwhile: it takes longer than those below the ceiling do, work of the
// stream begins before it returns, and when it returns the queue is at its ceiling still.
// That alone tells a full queue from one that was long: whose launches do not wait passes
// its maximum without a stop, and a call that is slow for another reason lets it drain.
func (f *frame) fullTime(steps []step) (ns int64, from int) {
	steps = f.oneEach(steps)
	top := ceiling(steps)
	if top < FullQueueLength-fullNear || top > FullQueueLength+fullNear {
		return 0, 0
	}
	from = top - fullSlack
	slow := fullWait * f.ordinaryCall(steps, from)
	var s stretch
	length := 0
	for _, st := range steps {
		length += int(st.delta)
		if st.delta > 0 && length >= from {
			if len(s.calls) == 0 && len(s.begun) == 0 {
				s.start = st.at
			}
			h := f.partner[st.owner]
			s.calls = append(s.calls, interval{f.start[h], f.end(h)})
		}
		if st.delta < 0 && length >= from-1 {
			s.begun = append(s.begun, st.at)
		}
		if st.delta < 0 && length == from-1 {
			if s.waited(st.at, slow) {
				ns += st.at - s.start
			}
			s.calls, s.begun = s.calls[:0], s.begun[:0]
		}
	}
	if ns == 0 {
		return 0, 0
	}
	return ns, from
}

// stretch is a time in which a queue did not leave its ceiling.
type stretch struct {
	start int64
	calls []interval // launch calls that began in it
	begun []int64    // when work of the stream began, ascending
}

// waited says whether a call of at least slow ns had to wait for room in a stretch that
// ends at end.
func (s *stretch) waited(end, slow int64) bool {
	for _, c := range s.calls {
		if c.end > end || c.end-c.start < slow {
			continue
		}
		if i, _ := slices.BinarySearch(s.begun, c.start); i < len(s.begun) && s.begun[i] <= c.end {
			return true
		}
	}
	return false
}

// oneEach keeps one entry a launch call, that of the work which began first: a graph takes
// one place, not one a node.
func (f *frame) oneEach(steps []step) []step {
	first := make(map[int32]int32, len(steps)/2)
	for _, d := range f.byStart {
		h := f.partner[d]
		if _, ok := first[h]; !ok {
			first[h] = d
		}
	}
	out := make([]step, 0, len(steps))
	for _, st := range steps {
		if first[f.partner[st.owner]] == st.owner {
			out = append(out, st)
		}
	}
	return out
}

// ceiling is the longest that a queue was.
func ceiling(steps []step) int {
	length, most := 0, 0
	for _, st := range steps {
		length += int(st.delta)
		most = max(most, length)
	}
	return most
}

// ordinaryCall is the median duration of the launch calls that found the queue below a
// length, in ns.
func (f *frame) ordinaryCall(steps []step, below int) int64 {
	var took []int64
	length := 0
	for _, st := range steps {
		length += int(st.delta)
		if st.delta > 0 && length < below {
			took = append(took, f.dur[f.partner[st.owner]])
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}
