package steps

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// device is a trace's device work in the orders that the analysis needs.
type device struct {
	t      *trace.Trace
	work   []int32 // device slices by start
	launch []int32 // per slice of work: the call that launched it, -1 if none
	busy   []stretch
	// calls are the launch calls by start, each with its device slices; callOf is its
	// inverse, -1 where launch is.
	calls  []call
	callOf []int32
}

// stretch is a maximal span in which some stream of some device was busy.
type stretch struct {
	start, end int64
	first      int32 // index into work of the slice that began it
}

// call is a launch call and what it launched.
type call struct {
	slice int32
	work  []int32 // indices into device.work, in order of start
}

// newDevice links device work with launches by correlation.
func newDevice(t *trace.Trace) *device {
	s := &t.Slices
	d := &device{t: t}
	for i, c := range s.Cat {
		if c.Busy() && onDevice(t, i) && !(c == trace.CatMTIACCP && encloses(t.String(s.Name[i]))) {
			d.work = append(d.work, int32(i))
		}
	}
	slices.SortFunc(d.work, func(a, b int32) int {
		return cmp.Or(cmp.Compare(s.Start[a], s.Start[b]), cmp.Compare(a, b))
	})
	byCorr := newCorrelations(t)
	d.launch = make([]int32, len(d.work))
	for k, i := range d.work {
		d.launch[k] = byCorr.call(s.Corr[i])
		start, end := s.Start[i], s.End(int(i))
		if n := len(d.busy); n > 0 && start <= d.busy[n-1].end {
			d.busy[n-1].end = max(d.busy[n-1].end, end)
		} else {
			d.busy = append(d.busy, stretch{start, end, int32(k)})
		}
	}
	d.collectCalls()
	return d
}

// collectCalls fills calls and callOf from launch.
func (d *device) collectCalls() {
	s := &d.t.Slices
	at := make([]int32, s.Len()) // by slice: 1 + index into calls
	for _, l := range d.launch {
		if l >= 0 && at[l] == 0 {
			d.calls = append(d.calls, call{slice: l})
			at[l] = 1
		}
	}
	slices.SortFunc(d.calls, func(a, b call) int {
		return cmp.Or(cmp.Compare(s.Start[a.slice], s.Start[b.slice]), cmp.Compare(a.slice, b.slice))
	})
	for i := range d.calls {
		at[d.calls[i].slice] = int32(i) + 1
	}
	d.callOf = make([]int32, len(d.work))
	for k, l := range d.launch {
		d.callOf[k] = -1
		if l >= 0 {
			d.callOf[k] = at[l] - 1
			c := &d.calls[at[l]-1]
			c.work = append(c.work, int32(k))
		}
	}
}

// correlations finds the runtime call of a correlation. Correlations mostly count up
// from somewhere, so that an array holds them; else a map does.
type correlations struct {
	low   int64
	dense []int32 // slice + 1
	far   map[int64]int32
}

func newCorrelations(t *trace.Trace) correlations {
	s := &t.Slices
	var lo, hi int64
	n := 0
	for i, c := range s.Corr {
		if c == trace.NoCorrelation || !s.Cat[i].Runtime() {
			continue
		}
		if n == 0 {
			lo, hi = c, c
		}
		lo, hi = min(lo, c), max(hi, c)
		n++
	}
	x := correlations{low: lo}
	const sparse = 8 // array cells a call may cost
	if n > 0 && hi-lo >= 0 && hi-lo < int64(sparse*n) {
		x.dense = make([]int32, hi-lo+1)
	} else {
		x.far = make(map[int64]int32, n)
	}
	for i, c := range s.Corr {
		if c == trace.NoCorrelation || !s.Cat[i].Runtime() {
			continue
		}
		if x.dense != nil {
			x.dense[c-lo] = int32(i) + 1
		} else {
			x.far[c] = int32(i) + 1
		}
	}
	return x
}

// call returns the call's slice, -1 if there is none.
func (x *correlations) call(c int64) int32 {
	switch {
	case c == trace.NoCorrelation:
		return -1
	case x.dense == nil:
		return x.far[c] - 1
	case c < x.low || c-x.low >= int64(len(x.dense)):
		return -1
	}
	return x.dense[c-x.low] - 1
}

// mtiaWrappers begin the names of MTIA rows that enclose the rows of the work itself.
var mtiaWrappers = []string{"job_exe", "packet", "pe_exe", "cpum_exe_subgraph", "runFunction"}

func encloses(name string) bool {
	for _, p := range mtiaWrappers {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// onDevice reports whether slice i lies on a device's lane: collective_comm rows can
// lie on a thread.
func onDevice(t *trace.Trace, i int) bool {
	return t.Slices.Cat[i] != trace.CatCollectiveComm || t.Tracks[t.Slices.Track[i]].Kind == trace.TrackGPU
}

// assign gives the device work to steps, which are sorted by start, and returns the
// time of what belongs to none and of what had no launch.
func (d *device) assign(steps []Step) (outside, unlinked int64) {
	s := &d.t.Slices
	seen := make([]bool, len(d.calls))
	for k, i := range d.work {
		at, l := s.Start[i], d.launch[k]
		if l >= 0 {
			at = s.Start[l]
		} else {
			unlinked += s.Dur[i]
		}
		x := stepAt(steps, at)
		if x < 0 {
			outside += s.Dur[i]
			continue
		}
		st := &steps[x]
		if st.Slices == 0 || s.Start[i] < st.DeviceStartNs {
			st.DeviceStartNs = s.Start[i]
		}
		st.DeviceEndNs = max(st.DeviceEndNs, s.End(int(i)))
		st.Slices++
		if l < 0 {
			continue
		}
		c := d.callOf[k]
		graph := isGraph(d.t, l, len(d.calls[c].work))
		if graph {
			st.GraphSlices++
		}
		if !seen[c] {
			seen[c] = true
			st.Launches++
			if graph {
				st.GraphLaunches++
			}
		}
	}
	return outside, unlinked
}

// stepAt returns the last step that began at or before at and had not ended; -1 if none.
func stepAt(steps []Step, at int64) int {
	n := sort.Search(len(steps), func(i int) bool { return steps[i].StartNs > at })
	// Steps of several threads can overlap; a few back is as far as one reaches.
	for k := n - 1; k >= 0 && k >= n-4; k-- {
		if at < steps[k].EndNs {
			return k
		}
	}
	return -1
}

// spans fills SpanNs, BusyNs, HostIdleNs and Bound.
func (d *device) spans(steps []Step) {
	s := &d.t.Slices
	last := int64(0)
	for x := range steps {
		st := &steps[x]
		st.worstGap = -1
		if st.Slices == 0 {
			continue
		}
		lo, hi := max(min(st.StartNs, st.DeviceStartNs), last), st.DeviceEndNs
		last = max(last, hi)
		if hi <= lo {
			continue
		}
		st.SpanNs = hi - lo
		at := lo
		n := sort.Search(len(d.busy), func(i int) bool { return d.busy[i].end > lo })
		for ; n < len(d.busy) && d.busy[n].start < hi; n++ {
			b := &d.busy[n]
			if b.start > at {
				st.addGap(s, d, at, b)
			}
			from, to := max(b.start, at), min(b.end, hi)
			st.BusyNs += max(0, to-from)
			at = max(at, to)
		}
		st.Bound = bound(st.SpanNs, st.BusyNs, st.HostIdleNs)
	}
}

// addGap accounts for the idle time from at to the begin of b.
func (st *Step) addGap(s *trace.Slices, d *device, at int64, b *stretch) {
	l := d.launch[b.first]
	if l < 0 {
		st.BlindIdleNs += b.start - at
		return
	}
	host := min(b.start, s.End(int(l))) - at
	if host <= 0 {
		return // launched in time: something else kept it
	}
	st.HostIdleNs += host
	if host > st.gapNs {
		st.gapNs, st.worstGap = host, d.work[b.first]
	}
}

// Thresholds of the verdict, see the package's documentation.
const (
	deviceBusy = 0.85
	hostPart   = 0.5
	hostSpan   = 0.15
)

func bound(span, busy, hostIdle int64) Bound {
	switch idle := span - busy; {
	case span <= 0:
		return BoundNone
	case float64(busy) >= deviceBusy*float64(span):
		return BoundDevice
	case float64(hostIdle) >= hostPart*float64(idle) && float64(hostIdle) >= hostSpan*float64(span):
		return BoundHost
	}
	return BoundOther
}
