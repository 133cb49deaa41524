package steps

import (
	"slices"
	"sort"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// pauseRatio decides what is a pause, in which no step runs (a server without requests, a process
// that waits for input): the time from a step's end to the next begin is at least this many times
// the median distance between the begins of two steps.
const pauseRatio = 3

// until sets how long each step's turn lasts on the host: up to the next begin, so that what the
// host does before the first launch and after the last belongs to a step; or, if a pause follows,
// only up to the step's own end.
func until(t *trace.Trace, steps []Step, m Method) {
	if len(steps) == 0 {
		return
	}
	periods := make([]int64, 0, len(steps))
	for i := 1; i < len(steps); i++ {
		periods = append(periods, steps[i].StartNs-steps[i-1].StartNs)
	}
	slices.Sort(periods)
	longest := int64(0)
	if len(periods) > 0 {
		longest = pauseRatio * periods[len(periods)/2]
	}
	waits := waitsOf(t)
	for i := range steps {
		st := &steps[i]
		st.untilNs = st.EndNs
		if i+1 == len(steps) {
			break
		}
		next := steps[i+1].StartNs
		if k, _ := slices.BinarySearch(waits, st.EndNs); k < len(waits) {
			next = min(next, waits[k]) // the engine itself records that it has nothing to do
		}
		if next-st.EndNs <= longest {
			st.untilNs = max(st.EndNs, next)
		}
		if m == ByKernels || m == ByOperators {
			st.EndNs = st.untilNs
		}
	}
}

// waitsOf returns when an engine's own slices of waiting began, in order.
func waitsOf(t *trace.Trace) []int64 {
	s := &t.Slices
	wait := make([]int8, t.Strings.Len())
	var out []int64
	for i, id := range s.Name {
		if s.Cat[i] == trace.CatKernel || s.Cat[i] == trace.CatPythonFunction {
			continue
		}
		if wait[id] == 0 {
			wait[id] = -1
			if t.String(id) == trace.NameWait {
				wait[id] = 1
			}
		}
		if wait[id] > 0 {
			out = append(out, s.Start[i])
		}
	}
	slices.Sort(out)
	return out
}

// turns fills AtNs, SpanNs, the times in it and Bound: the turns of the steps on the
// devices, which follow each other without overlap. A turn begins with the step on the host,
// or when the work of the steps before has ended, if that is later; it ends with the step's
// own last work or with its turn on the host, whichever is later.
func (d *device) turns(steps []Step) {
	older := d.olderWork(steps)
	var l ledger
	last := int64(-1 << 62)
	for x := range steps {
		st := &steps[x]
		st.AtNs = st.StartNs
		if len(d.work) == 0 {
			continue
		}
		lo, hi := max(st.StartNs, last), max(st.untilNs, st.DeviceEndNs)
		if st.Slices > 0 {
			lo = max(lo, min(st.DeviceStartNs, older[x]))
		}
		st.AtNs = lo
		last = max(last, hi)
		if hi <= lo {
			continue
		}
		st.SpanNs = hi - lo
		l.turns = append(l.turns, turn{st, lo, hi})
	}
	l.fill(d)
}

// olderWork returns, for each step, the end of the work that was launched before the step and
// outside of any step.
func (d *device) olderWork(steps []Step) []int64 {
	out := make([]int64, len(steps))
	for x := range out {
		out[x] = -1 << 62
	}
	for k, i := range d.work {
		at := d.launchedAt(k)
		if stepAt(steps, at) >= 0 {
			continue
		}
		if x := sort.Search(len(steps), func(x int) bool { return steps[x].StartNs > at }); x < len(steps) {
			out[x] = max(out[x], d.v.End(i))
		}
	}
	for x := 1; x < len(out); x++ {
		out[x] = max(out[x], out[x-1])
	}
	return out
}

// unit is the work of one device, or of all of them together, over time.
type unit struct {
	view.Tally
	id   int64
	v    *view.View
	busy []view.Stretch
	// surely is when it was busy even if each slice of a stream whose slices lie over each other
	// ended where the next begins; the Tally itself where no stream is so.
	surely *view.Tally

	inSteps idleness // over the turns of all steps
}

// newUnit takes the lanes of the device whose slices lie over each other.
func newUnit(v *view.View, d *view.Device, shared []view.Lane) unit {
	u := unit{Tally: d.Tally, id: d.ID, v: v, busy: d.Busy}
	if len(shared) > 0 {
		t := view.NewTally(v.BusyCut(d.Work, shared))
		u.surely = &t
	}
	return u
}

// idleness divides a device's time, ns. Surely busy is less than busy on a device of which a stream's
// slices lie over each other.
type idleness struct{ busy, surely, host, blind int64 }

func (a *idleness) add(b idleness) {
	a.busy += b.busy
	a.surely += b.surely
	a.host += b.host
	a.blind += b.blind
}

// Thresholds of the verdict, see the package's documentation.
const (
	deviceBusy = 0.85
	hostPart   = 0.5
	hostSpan   = 0.15
)

// setsPace reports whether a device is busy enough to set the pace: one of several does too, however
// little the others have to do.
func setsPace(busy, span int64) bool { return span > 0 && float64(busy) >= deviceBusy*float64(span) }

// boundOfDevices is bound of several devices: busy and hostIdle are their means, most is how long the busiest is so,
// and surely how long one is at least, where slices of a stream lie over each other. None is the bound that sets the
// pace only if those are believed.
func boundOfDevices(span, busy, hostIdle, most, surely int64) Bound {
	b := bound(span, busy, hostIdle)
	if setsPace(most, span) {
		b = BoundDevice
	}
	if b == BoundDevice && !setsPace(surely, span) {
		return BoundNone
	}
	return b
}

func bound(span, busy, hostIdle int64) Bound {
	switch idle := span - busy; {
	case span <= 0:
		return BoundNone
	case setsPace(busy, span):
		return BoundDevice
	case float64(hostIdle) >= hostPart*float64(idle) && float64(hostIdle) >= hostSpan*float64(span):
		return BoundHost
	}
	return BoundOther
}

// span returns the begin and end of the trace: what the host does before the first step and after
// the last is time without a step.
func (d *device) span(steps []Step) (lo, hi int64) {
	end := &steps[len(steps)-1]
	lo, hi = steps[0].AtNs, end.AtNs+end.SpanNs
	busy := d.any.busy
	lo, hi = min(lo, busy[0].Start), max(hi, busy[len(busy)-1].End)
	if from, to, ok := d.seen.Extent(); ok {
		lo, hi = min(lo, from), max(hi, to)
	}
	return lo, hi
}

// together returns the part of the devices' busy time in steps in which at least two devices were
// busy.
func (d *device) together(steps []Step) float64 {
	var one, two int64
	for i := range steps {
		if !steps[i].whole() {
			continue
		}
		lo, hi := steps[i].AtNs, steps[i].AtNs+steps[i].SpanNs
		one += d.any.In(lo, hi)
		two += view.Within(d.both, lo, hi)
	}
	return stat.Ratio(two, one)
}
