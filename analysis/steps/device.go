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
	// calls are the launch calls by start, each with its device slices.
	calls []call
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
	byCorr := map[int64]int32{}
	for i, c := range s.Cat {
		switch {
		case c.Busy() && onDevice(t, i) && !(c == trace.CatMTIACCP && encloses(t.String(s.Name[i]))):
			d.work = append(d.work, int32(i))
		case c.Runtime() && s.Corr[i] != trace.NoCorrelation:
			byCorr[s.Corr[i]] = int32(i)
		}
	}
	slices.SortStableFunc(d.work, func(a, b int32) int {
		return cmp.Or(cmp.Compare(s.Start[a], s.Start[b]), cmp.Compare(a, b))
	})
	d.launch = make([]int32, len(d.work))
	callOf := map[int32]int32{}
	for k, i := range d.work {
		d.launch[k] = -1
		if l, ok := byCorr[s.Corr[i]]; ok && s.Corr[i] != trace.NoCorrelation {
			d.launch[k] = l
			at, ok := callOf[l]
			if !ok {
				at = int32(len(d.calls))
				callOf[l] = at
				d.calls = append(d.calls, call{slice: l})
			}
			d.calls[at].work = append(d.calls[at].work, int32(k))
		}
		start, end := s.Start[i], s.End(int(i))
		if n := len(d.busy); n > 0 && start <= d.busy[n-1].end {
			d.busy[n-1].end = max(d.busy[n-1].end, end)
		} else {
			d.busy = append(d.busy, stretch{start, end, int32(k)})
		}
	}
	slices.SortStableFunc(d.calls, func(a, b call) int {
		return cmp.Or(cmp.Compare(s.Start[a.slice], s.Start[b.slice]), cmp.Compare(a.slice, b.slice))
	})
	return d
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
	prevCall := make([]int32, len(steps)) // last call counted
	for i := range prevCall {
		prevCall[i] = -1
	}
	sizes := map[int32]int{}
	for _, c := range d.calls {
		sizes[c.slice] = len(c.work)
	}
	seen := make(map[int32]bool, len(d.calls))
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
		graph := isGraph(d.t, l, sizes[l])
		if graph {
			st.GraphSlices++
		}
		if !seen[l] {
			seen[l] = true
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
