package analysis

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// IdleCause is why a stream had nothing to run.
type IdleCause uint8

// The causes of a gap on a stream.
const (
	// the launch call began only after the work before had ended, or took most of a long gap
	HostWait   IdleCause = iota
	KernelWait           // work was queued and the gap is shorter than the limit: the cost of starting a kernel
	// work was queued and yet did not start: a dependency on another stream or a busy device; or
	// another device of the process worked
	OtherWait
	// the launch of the work is not in the trace, a launch in between has no device work in it, or work of
	// several ranks stands on the stream; HTA does not have this cause
	Unknown
	numIdleCauses
)

var idleCauseNames = enum.Of[IdleCause]("idle cause", "host_wait", "kernel_wait", "other", "unknown")

// String returns the cause's name.
func (c IdleCause) String() string { return idleCauseNames.Text(c) }

// MarshalText writes the cause's name.
func (c IdleCause) MarshalText() ([]byte, error) { return idleCauseNames.Marshal(c) }

// UnmarshalText reads what MarshalText wrote.
func (c *IdleCause) UnmarshalText(text []byte) error { return idleCauseNames.Unmarshal(c, text) }

// KernelWaitLimitNs separates the cost of starting a queued kernel from other waits.
// HTA's documentation calls its 30 nanoseconds and compares microseconds; what it
// does is right, as starting a queued kernel takes 1 to 10 us.
const KernelWaitLimitNs = 30_000

// maxGaps bounds the list of longest gaps; a reader looks at few.
const maxGaps = 20

// Idle is why the streams of a rank stood still between their first and last work.
type Idle struct {
	Rank    int          `json:"rank"`
	Streams []StreamIdle `json:"streams"`      // in order of first appearance
	Longest []Gap        `json:"longest_gaps"` // longest first
}

// StreamIdle is one stream's idle time.
type StreamIdle struct {
	Lane   Lane                    `json:"lane"`
	IdleNs int64                   `json:"idle_ns"`
	Causes [numIdleCauses]IdlePart `json:"causes"` // host_wait, kernel_wait, other, unknown
}

// IdlePart is the idle time of one cause.
type IdlePart struct {
	Cause IdleCause `json:"cause"`
	Ns    int64     `json:"ns"`
	Share float64   `json:"share"` // of the stream's idle time
	Gaps  Stats     `json:"gaps"`  // of the gaps' lengths, ns
}

// Gap is one span in which a stream stood still.
type Gap struct {
	Cause   IdleCause `json:"cause"`
	Lane    Lane      `json:"lane"`
	StartNs int64     `json:"start_ns"`
	EndNs   int64     `json:"end_ns"`
	Before  int       `json:"before"` // slice that ended
	After   int       `json:"after"`  // slice that began
}

// IdleCauses answers why each stream stood still.
func IdleCauses(tr *trace.Trace, opt Options) Idle { return newFrame(tr, opt).idle() }

func (f *frame) idle() Idle {
	out := Idle{Rank: f.rank, Streams: make([]StreamIdle, 0, len(f.lanes))}
	others := f.others()
	for l, rows := range f.byLane() {
		if f.rules.EmptyGaps {
			rows = slices.DeleteFunc(rows, func(i int32) bool { return !hta.IdleRow(f.tr.Slices.Cat[i]) })
		}
		if len(rows) == 0 {
			continue
		}
		out.Streams = append(out.Streams, f.idleOfLane(int32(l), rows, others, &out.Longest))
	}
	return out
}

// others tells when devices worked, for traces of several: all together, and each by its id.
type others struct {
	any view.Tally
	own []view.Device // by id
}

// others is nil for one device, and with HTA, which does not look at other devices.
func (f *frame) others() *others {
	if f.view == nil {
		return nil
	}
	list := f.view.Devices()
	if len(list) < 2 {
		return nil
	}
	work := make([]int32, 0, len(f.byStart))
	o := &others{own: list}
	for _, i := range f.byStart {
		if f.view.OnDevice(i) {
			work = append(work, i)
		}
	}
	o.any = view.NewTally(f.view.Busy(work))
	return o
}

// worked says whether for most of a span another device worked while device did not: the host was
// about its work then.
func (o *others) worked(device, from, to int64) bool {
	if o == nil {
		return false
	}
	k, ok := slices.BinarySearchFunc(o.own, device, func(d view.Device, id int64) int { return cmp.Compare(d.ID, id) })
	return ok && 2*(o.any.In(from, to)-o.own[k].Tally.In(from, to)) > to-from
}

func (f *frame) idleOfLane(l int32, rows []int32, o *others, longest *[]Gap) StreamIdle {
	si := StreamIdle{Lane: f.lanes[l]}
	var lengths [numIdleCauses][]float64
	prev := rows[0]
	prevEnd := f.end(prev)
	for _, i := range rows[1:] {
		gap := f.start[i] - prevEnd
		if gap <= 0 && !f.rules.EmptyGaps {
			if e := f.end(i); e > prevEnd {
				prev, prevEnd = i, e
			}
			continue // overlapping or back to back: no gap
		}
		cause := OtherWait
		if f.several() || f.seen != nil && f.seen.Unknown(prev, i, f.start[i]) {
			cause = Unknown
		} else if f.partner[i] < 0 && !f.rules.LateCallsOnly && f.view != nil && f.view.OnDevice(i) {
			cause = Unknown
		} else if h := f.partner[i]; h >= 0 && (f.start[h] > prevEnd || f.slowCall(h, gap, prevEnd, i)) {
			if cause = HostWait; o.worked(si.Lane.Device, prevEnd, f.start[i]) {
				cause = OtherWait
			}
		} else if gap < KernelWaitLimitNs {
			cause = KernelWait
		}
		si.IdleNs += gap
		si.Causes[cause].Ns += gap
		lengths[cause] = append(lengths[cause], float64(gap))
		if g := *longest; len(g) < maxGaps || gap > g[len(g)-1].EndNs-g[len(g)-1].StartNs {
			*longest = insertGap(g, Gap{Cause: cause, Lane: si.Lane, StartNs: prevEnd, EndNs: f.start[i],
				Before: int(prev), After: int(i)})
		}
		prev, prevEnd = i, f.end(i)
	}
	for c := range si.Causes {
		p := &si.Causes[c]
		p.Cause, p.Share, p.Gaps = IdleCause(c), share(p.Ns, si.IdleNs), describe(lengths[c])
	}
	return si
}

// slowCall says whether the launch call h of work i took the larger part of a long gap: it
// began in time and did not return, as a copy from pageable memory does. HTA has no such rule.
func (f *frame) slowCall(h int32, gap, from int64, i int32) bool {
	return !f.rules.LateCallsOnly && gap >= KernelWaitLimitNs && 2*(min(f.start[i], f.end(h))-from) >= gap
}

// insertGap puts x in its place in g, longest first, and keeps at most maxGaps.
func insertGap(g []Gap, x Gap) []Gap {
	at, _ := slices.BinarySearchFunc(g, x, func(a, b Gap) int {
		if a.EndNs-a.StartNs >= b.EndNs-b.StartNs {
			return -1 // an equal one stays before it
		}
		return 1
	})
	g = slices.Insert(g, at, x)
	return g[:min(len(g), maxGaps)]
}
