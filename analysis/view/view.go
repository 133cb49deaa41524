// Package view reads a trace's device work, once for all analyses: which slices are work on which
// lane, which call launched each, when something was busy, and which host slice lies in which.
//
// A View takes the trace's times as they are. Analyses use package analysis/plausible, which gives
// them a View without statements that cannot be true.
package view

import (
	"runtime"
	"slices"
	"sync"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// None is the index of no slice.
const None = int32(-1)

// Lane is one stream of one device. For work on a thread (a collective_comm row of Gloo), Device
// and Stream are its process and thread.
type Lane struct {
	Device int64         `json:"device"`
	Stream int64         `json:"stream"`
	Track  trace.TrackID `json:"track"` // the first track that carries it
}

// View is a trace's device work. Its columns have one entry a slice and must not be
// changed; several goroutines may read it.
type View struct {
	Trace      *trace.Trace
	Start, Dur []int64 // ns; the trace's own columns unless they were corrected or cut
	Keep       []bool  // which slices count; nil if all do
	Lanes      []Lane  // in order of first appearance
	LaneOf     []int32 // per slice: index into Lanes, None if it is not device work
	Work       []int32 // device work in file order
	ByStart    []int32 // device work by start, then file order
	Partner    []int32 // per slice: of device work its launch, of a launch its last device work; None if there is none
	Ambiguous  int     // launch calls whose correlation an earlier one has as well
	apart      map[int32]bool
	devices    func() []Device // see Devices
}

// New reads t.
func New(t *trace.Trace) *View { return build(t, t.Slices.Start, t.Slices.Dur, nil, nil) }

// With returns a View of v's trace with other times and fewer slices. apart holds device work whose
// launch is not believed, beside the work whose launch v does not believe already. The new View
// owns the arguments.
func (v *View) With(start, dur []int64, keep []bool, apart map[int32]bool) *View {
	for i := range v.apart {
		if apart == nil {
			apart = map[int32]bool{}
		}
		apart[i] = true
	}
	return build(v.Trace, start, dur, keep, apart)
}

// Cut returns a View of the slices in [lo, hi), cut at its edges.
func (v *View) Cut(lo, hi int64) *View {
	keep, start, dur := CutTimes(v.Start, v.Dur, v.Keep, lo, hi)
	return v.With(start, dur, keep, nil)
}

// CutTimes returns which slices lie in [lo, hi) and their times, cut at its edges. If was is nil,
// all slices count.
func CutTimes(start, dur []int64, was []bool, lo, hi int64) (keep []bool, from, took []int64) {
	n := len(start)
	keep, from, took = make([]bool, n), make([]int64, n), make([]int64, n)
	for i, s := range start {
		e := s + dur[i]
		keep[i] = (was == nil || was[i]) && s < hi && (e > lo || s >= lo)
		from[i] = max(s, lo)
		took[i] = max(0, min(e, hi)-from[i])
	}
	return keep, from, took
}

func build(t *trace.Trace, start, dur []int64, keep []bool, apart map[int32]bool) *View {
	v := &View{Trace: t, Start: start, Dur: dur, Keep: keep, apart: apart}
	v.devices = sync.OnceValue(v.divide)
	v.findWork()
	s := &t.Slices
	var wg sync.WaitGroup
	link := func() {
		v.Partner, v.Ambiguous = Link{
			Trace: t, Start: start,
			Call: func(i int32) bool { return s.Cat[i].Runtime() && v.Counts(i) },
			Work: func(i int32) bool {
				return (v.LaneOf[i] >= 0 || s.Cat[i] == trace.CatCUDASync && v.Counts(i)) && !v.apart[i]
			},
		}.Partners()
	}
	if runtime.GOMAXPROCS(0) > 1 {
		wg.Go(link)
	} else {
		link()
	}
	v.ByStart = slices.Clone(v.Work)
	order.ByKey(v.ByStart, func(i int32) int64 { return start[i] })
	wg.Wait()
	return v
}

// findWork fills Lanes, LaneOf and Work.
func (v *View) findWork() {
	const unknown = int32(-2)
	s := &v.Trace.Slices
	n := s.Len()
	v.LaneOf = make([]int32, n)
	ofTrack := make([]int32, len(v.Trace.Tracks))
	for t := range ofTrack {
		ofTrack[t] = unknown
	}
	var seen ids.List[[2]int64]
	for i := range int32(n) {
		v.LaneOf[i] = None
		if !s.Cat[i].Busy() || !v.Counts(i) {
			continue
		}
		t := s.Track[i]
		if ofTrack[t] == unknown {
			ofTrack[t] = v.lane(&seen, t)
		}
		v.LaneOf[i] = ofTrack[t]
		v.Work = append(v.Work, i)
	}
}

func (v *View) lane(seen *ids.List[[2]int64], t trace.TrackID) int32 {
	tk := &v.Trace.Tracks[t]
	dev, stream := tk.Device, tk.Stream
	if tk.Kind != trace.TrackGPU {
		dev, stream = tk.PID, tk.TID
	}
	l, added := seen.Number([2]int64{dev, stream}, ids.Mix(ids.Mix(0, dev), stream))
	if added {
		v.Lanes = append(lists.Doubled(v.Lanes), Lane{Device: dev, Stream: stream, Track: t})
	}
	return int32(l)
}

// End is when slice i ends.
func (v *View) End(i int32) int64 { return v.Start[i] + v.Dur[i] }

// Counts reports whether slice i counts.
func (v *View) Counts(i int32) bool { return v.Keep == nil || v.Keep[i] }

// Name is the name of slice i.
func (v *View) Name(i int32) string { return v.Trace.String(v.Trace.Slices.Name[i]) }

// OnDevice reports whether work i lies on a device's lane; a collective_comm row can lie on a
// thread.
func (v *View) OnDevice(i int32) bool {
	return v.Trace.Tracks[v.Trace.Slices.Track[i]].Kind == trace.TrackGPU
}

// Launch is the call that launched device work i, None if the trace does not have it.
func (v *View) Launch(i int32) int32 { return v.Partner[i] }

// ByLane returns the device work of each lane by start.
func (v *View) ByLane() [][]int32 {
	return lists.Grouped(v.ByStart, len(v.Lanes), func(i int32) int { return int(v.LaneOf[i]) })
}

// Span is the time from the first start to the last end of device work; ok is false if
// there is none.
func (v *View) Span() (lo, hi int64, ok bool) {
	if len(v.Work) == 0 {
		return 0, 0, false
	}
	lo = v.Start[v.ByStart[0]]
	hi = lo
	for _, i := range v.ByStart {
		hi = max(hi, v.End(i))
	}
	return lo, hi, true
}

// Extent is the time from the first start to the last end of any slice that counts.
func (v *View) Extent() (lo, hi int64, ok bool) {
	for i := range int32(len(v.Start)) {
		if !v.Counts(i) {
			continue
		}
		if !ok {
			lo, hi, ok = v.Start[i], v.End(i), true
		}
		lo, hi = min(lo, v.Start[i]), max(hi, v.End(i))
	}
	return lo, hi, ok
}

// mtiaWrappers begin the names of MTIA rows that enclose the rows of the work itself.
var mtiaWrappers = []string{"job_exe", "packet", "pe_exe", "cpum_exe_subgraph", "runFunction"}

// IsWrapper reports whether a row of device work, by its category and name, encloses other rows and
// is not work itself.
func IsWrapper(cat trace.Category, name string) bool {
	if cat != trace.CatMTIACCP {
		return false
	}
	for _, p := range mtiaWrappers {
		if len(name) >= len(p) && name[:len(p)] == p {
			return true
		}
	}
	return false
}
