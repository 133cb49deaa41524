package view_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

const none = view.None

func thread(tid int64) trace.Track {
	return trace.Track{Kind: trace.TrackCPU, PID: 1, TID: tid, Device: -1, Stream: -1}
}

func stream(device, id int64) trace.Track {
	return trace.Track{Kind: trace.TrackGPU, PID: device, TID: id, Device: device, Stream: id}
}

// build makes a trace of tracks and slices, whose names are their letters where none is given.
func build(tracks []trace.Track, rows ...trace.Slice) *trace.Trace {
	t := trace.New()
	for _, k := range tracks {
		t.AddTrack(k)
	}
	for i, r := range rows {
		if r.Name == "" {
			r.Name = string(rune('a' + i))
		}
		t.AddSlice(r)
	}
	return t
}

func all(int32) bool { return true }

func TestNest(t *testing.T) {
	op := func(start, dur int64) trace.Slice { return trace.Slice{Start: start, Dur: dur, Cat: trace.CatCPUOp} }
	on := func(track trace.TrackID, s trace.Slice) trace.Slice { s.Track = track; return s }
	for _, c := range []struct {
		name   string
		rows   []trace.Slice
		parent []int32
		order  []int32
	}{
		{"grandchild", []trace.Slice{op(0, 100), op(10, 50), op(20, 10)}, []int32{none, 0, 1}, []int32{0, 1, 2}},
		{"siblings", []trace.Slice{op(0, 100), op(10, 20), op(30, 20)}, []int32{none, 0, 0}, []int32{0, 1, 2}},
		{"a file from the inside out", []trace.Slice{op(20, 10), op(10, 50), op(0, 100)},
			[]int32{1, 2, none}, []int32{2, 1, 0}},
		{"of one start the longer is outside", []trace.Slice{op(0, 10), op(0, 100)}, []int32{1, none}, []int32{1, 0}},
		{"equal ones in file order", []trace.Slice{op(0, 10), op(0, 10)}, []int32{none, 0}, []int32{0, 1}},
		{"one ends where the next begins", []trace.Slice{op(0, 10), op(10, 10)}, []int32{none, none}, []int32{0, 1}},
		{"no length at the end is inside", []trace.Slice{op(0, 10), op(10, 0)}, []int32{none, 0}, []int32{0, 1}},
		{"no length where another begins", []trace.Slice{op(0, 10), op(10, 5), op(10, 0)},
			[]int32{none, none, 1}, []int32{0, 1, 2}},
		{"outlasts by rounding", []trace.Slice{op(0, 100), op(50, 50+view.CallOverrunNs)}, []int32{none, 0},
			[]int32{0, 1}},
		{"outlasts by more", []trace.Slice{op(0, 100), op(50, 51+view.CallOverrunNs)}, []int32{none, none},
			[]int32{0, 1}},
		{"threads are apart", []trace.Slice{op(0, 100), on(1, op(10, 10)), op(20, 10)},
			[]int32{none, none, 0}, []int32{0, 2, 1}},
		{"device work is none of the host's", []trace.Slice{op(0, 100), {Start: 5, Dur: 5, Cat: trace.CatKernel}},
			[]int32{none, none}, []int32{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := view.New(build([]trace.Track{thread(1), thread(2)}, c.rows...)).Nest(all)
			if d := cmp.Diff(c.parent, got.Parent); d != "" {
				t.Error("parents", d)
			}
			if d := cmp.Diff(c.order, got.Order); d != "" {
				t.Error("order", d)
			}
		})
	}
}

// TestNestSkips: what is not asked for neither encloses nor is enclosed.
func TestNestSkips(t *testing.T) {
	v := view.New(build([]trace.Track{thread(1)},
		trace.Slice{Dur: 100, Cat: trace.CatUserAnnotation}, trace.Slice{Start: 10, Dur: 50, Cat: trace.CatCPUOp},
		trace.Slice{Start: 20, Dur: 10, Cat: trace.CatUserAnnotation}))
	got := v.Nest(func(i int32) bool { return v.Trace.Slices.Cat[i] == trace.CatUserAnnotation })
	if d := cmp.Diff([]int32{none, none, 0}, got.Parent); d != "" {
		t.Error(d)
	}
}

func TestWalk(t *testing.T) {
	v := view.New(build([]trace.Track{thread(1), thread(2)},
		trace.Slice{Dur: 100}, trace.Slice{Start: 10, Dur: 50}, trace.Slice{Start: 20, Dur: 10},
		trace.Slice{Start: 70, Dur: 10}, trace.Slice{Start: 5, Dur: 10, Track: 1}))
	var b strings.Builder
	v.Nest(all).Walk(func(i int32) { b.WriteString(v.Name(i) + "(") }, func(int32) { b.WriteString(")") })
	if got, want := b.String(), "a(b(c())d())e()"; got != want {
		t.Errorf("walked %s, want %s", got, want)
	}
}

// TestNestProperties: a parent is on the track of its child, begins no later and ends no
// earlier but for the tolerance; Walk enters and leaves everything once.
func TestNestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := build([]trace.Track{thread(1), thread(2)})
		for range rapid.IntRange(0, 40).Draw(rt, "n") {
			tr.AddSlice(trace.Slice{Start: rapid.Int64Range(0, 9000).Draw(rt, "start"),
				Dur:   rapid.Int64Range(0, 5000).Draw(rt, "dur"),
				Track: trace.TrackID(rapid.IntRange(0, 1).Draw(rt, "track"))})
		}
		v := view.New(tr)
		tree := v.Nest(all)
		for i, p := range tree.Parent {
			if p == none {
				continue
			}
			s := &tr.Slices
			if s.Track[p] != s.Track[i] || s.Start[p] > s.Start[i] || v.End(int32(i)) > v.End(p)+view.CallOverrunNs {
				rt.Fatalf("%d lies in %d", i, p)
			}
		}
		var open []int32
		left := 0
		tree.Walk(func(i int32) {
			if p := tree.Parent[i]; p != none && (len(open) == 0 || open[len(open)-1] != p) {
				rt.Fatalf("entered %d with %v open", i, open)
			}
			open = append(open, i)
		}, func(i int32) {
			if open[len(open)-1] != i {
				rt.Fatalf("left %d with %v open", i, open)
			}
			open = open[:len(open)-1]
			left++
		})
		if left != tr.Slices.Len() || len(open) > 0 {
			rt.Fatalf("left %d of %d", left, tr.Slices.Len())
		}
	})
}

func TestLinks(t *testing.T) {
	call := func(start, corr int64) trace.Slice {
		return trace.Slice{Start: start, Dur: 1, Cat: trace.CatCUDARuntime, Corr: corr}
	}
	work := func(start, corr int64) trace.Slice {
		return trace.Slice{Start: start, Dur: 1, Cat: trace.CatKernel, Corr: corr, Track: 1}
	}
	sync := work(20, 7)
	sync.Cat = trace.CatCUDASync
	op := trace.Slice{Start: 0, Dur: 5, Cat: trace.CatCPUOp, Corr: 7}
	for _, c := range []struct {
		name      string
		rows      []trace.Slice
		partner   []int32
		ambiguous int
	}{
		{"one", []trace.Slice{call(0, 7), work(10, 7)}, []int32{1, 0}, 0},
		{"work before its call in the file", []trace.Slice{work(10, 7), call(0, 7)}, []int32{1, 0}, 0},
		{"no call", []trace.Slice{call(0, 7), work(10, 8)}, []int32{none, none}, 0},
		{"no correlation", []trace.Slice{call(0, 0), work(10, 0)}, []int32{none, none}, 0},
		{"an operator is no call", []trace.Slice{op, work(10, 7)}, []int32{none, none}, 0},
		{"a graph's kernels", []trace.Slice{call(0, 7), work(10, 7), work(20, 7)}, []int32{2, 0, 0}, 0},
		{"a synchronization has a call", []trace.Slice{call(0, 7), sync}, []int32{1, 0}, 0},
		{"far apart", []trace.Slice{call(0, -1<<62), call(1, 1<<62), work(10, 1<<62), work(11, -1<<62)},
			[]int32{3, 2, 1, 0}, 0},
		{"ids used again", []trace.Slice{call(0, 7), work(10, 7), call(100, 7), work(110, 7)}, []int32{1, 0, 3, 2}, 1},
		{"used again, and early", []trace.Slice{call(50, 7), call(100, 7), work(10, 7)}, []int32{2, none, 0}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := view.New(build([]trace.Track{thread(1), stream(0, 7)}, c.rows...))
			if d := cmp.Diff(c.partner, v.Partner); d != "" || v.Ambiguous != c.ambiguous {
				t.Errorf("%d ambiguous, partners %s", v.Ambiguous, d)
			}
		})
	}
}

// TestLinkTables: the tables that correlations index and the map for those that are hashes
// give the same partners, in one range, in several and in none.
func TestLinkTables(t *testing.T) {
	for name, of := range map[string]func(i int64) int64{
		"a range":    func(i int64) int64 { return i + 1 },
		"two ranges": func(i int64) int64 { return i + 1 + i/1500*1_000_000 },
		"scattered":  func(i int64) int64 { return i*2048 + 1 },
		"hashes":     func(i int64) int64 { return (i + 1) * 0x9e3779b97f4a7c1 },
	} {
		tr := build([]trace.Track{thread(1), stream(0, 7)})
		const n = 3000
		for i := range int64(n) {
			tr.AddSlice(trace.Slice{Start: i, Dur: 1, Cat: trace.CatCUDARuntime, Corr: of(i)})
		}
		for i := range int64(n) {
			tr.AddSlice(trace.Slice{Start: n + i, Dur: 1, Cat: trace.CatKernel, Track: 1, Corr: of(n - 1 - i)})
		}
		v := view.New(tr)
		for i := range int32(n) {
			if v.Launch(n+i) != n-1-i || v.Partner[n-1-i] != n+i {
				t.Fatalf("%s: work %d was launched by %d", name, i, v.Launch(n+i))
			}
		}
		if v.Ambiguous != 0 {
			t.Errorf("%s: %d ambiguous", name, v.Ambiguous)
		}
	}
}

// TestApart: a launch that is not believed stays so in every view made of the view.
func TestApart(t *testing.T) {
	v := view.New(build([]trace.Track{thread(1), stream(0, 7)},
		trace.Slice{Dur: 1, Cat: trace.CatCUDARuntime, Corr: 7},
		trace.Slice{Start: 5, Dur: 5, Cat: trace.CatKernel, Corr: 7, Track: 1}))
	if v.Launch(1) != 0 {
		t.Fatal("not linked to begin with")
	}
	v = v.With(v.Start, v.Dur, nil, map[int32]bool{1: true}).Cut(0, 100)
	if v.Launch(1) != none || v.Partner[0] != none || len(v.Work) != 1 {
		t.Errorf("partners %v, work %v", v.Partner, v.Work)
	}
}

func TestLanesAndWork(t *testing.T) {
	gloo := trace.Slice{Start: 40, Dur: 10, Cat: trace.CatCollectiveComm}
	k := func(start int64, track trace.TrackID) trace.Slice {
		return trace.Slice{Start: start, Dur: 10, Cat: trace.CatKernel, Track: track}
	}
	annotation := k(0, 1)
	annotation.Cat = trace.CatGPUUserAnnotation
	wrapper := trace.Slice{Name: "job_exe 3", Start: 0, Dur: 90, Cat: trace.CatMTIACCP, Track: 2}
	v := view.New(build([]trace.Track{thread(5), stream(1, 7), stream(0, 7), stream(1, 7)},
		k(30, 1), k(10, 2), annotation, gloo, k(10, 3), wrapper, trace.Slice{Dur: 99, Cat: trace.CatCPUOp}))
	lanes := []view.Lane{
		{Device: 1, Stream: 7, Track: 1}, {Device: 0, Stream: 7, Track: 2}, {Device: 1, Stream: 5, Track: 0},
	}
	if d := cmp.Diff(lanes, v.Lanes); d != "" {
		t.Error("lanes", d)
	}
	if d := cmp.Diff([]int32{0, 1, none, 2, 0, 1, none}, v.LaneOf); d != "" {
		t.Error("lane of", d)
	}
	if d := cmp.Diff([]int32{0, 1, 3, 4, 5}, v.Work); d != "" {
		t.Error("work", d)
	}
	if d := cmp.Diff([]int32{5, 1, 4, 0, 3}, v.ByStart); d != "" {
		t.Error("by start", d)
	}
	if d := cmp.Diff([][]int32{{4, 0}, {5, 1}, {3}}, v.ByLane()); d != "" {
		t.Error("by lane", d)
	}
	if lo, hi, ok := v.Span(); lo != 0 || hi != 90 || !ok {
		t.Errorf("span %d to %d, %v", lo, hi, ok)
	}
	if _, hi, _ := v.Extent(); hi != 99 {
		t.Errorf("extent to %d", hi)
	}
	var got []string
	for _, d := range v.Devices() {
		got = append(got, fmt.Sprint(d.ID, d.Work, d.Busy))
	}
	if d := cmp.Diff([]string{"0 [1] [{10 20 1 1}]", "1 [4 0] [{10 20 4 4} {30 40 0 0}]"}, got); d != "" {
		t.Error("devices: neither a thread's work nor a row that only encloses others", d)
	}
}

// TestNoWork: a trace of a host alone has no span and no device, and an empty one no extent.
func TestNoWork(t *testing.T) {
	v := view.New(build([]trace.Track{thread(1)}, trace.Slice{Dur: 10, Cat: trace.CatCPUOp}))
	if _, _, ok := v.Span(); ok || len(v.Devices())+len(v.Lanes)+len(v.Work) > 0 {
		t.Error("device work of a host")
	}
	if _, _, ok := view.New(trace.New()).Extent(); ok {
		t.Error("an empty trace has an extent")
	}
}

func TestBusyTogetherWithin(t *testing.T) {
	k := func(start, dur int64, track trace.TrackID) trace.Slice {
		return trace.Slice{Start: start, Dur: dur, Cat: trace.CatKernel, Track: track}
	}
	v := view.New(build([]trace.Track{stream(0, 1), stream(0, 2), stream(1, 1)},
		k(0, 10, 0), k(5, 10, 1), k(15, 5, 0), k(30, 5, 1), k(12, 20, 2)))
	list := v.Devices()
	want := []view.Stretch{{Start: 0, End: 20, First: 0, Last: 2}, {Start: 30, End: 35, First: 3, Last: 3}}
	if d := cmp.Diff(want, list[0].Busy); d != "" {
		t.Error("streams that overlap and touch are one stretch", d)
	}
	both := []view.Stretch{{Start: 12, End: 20, First: none, Last: none}, {Start: 30, End: 32, First: none, Last: none}}
	if d := cmp.Diff(both, view.Together(list)); d != "" {
		t.Error("together", d)
	}
	if got := view.Together(list[:1]); got != nil {
		t.Errorf("one device together with itself: %v", got)
	}
	for _, c := range []struct{ lo, hi, want int64 }{{0, 100, 25}, {5, 33, 18}, {20, 30, 0}, {35, 99, 0}, {18, 19, 1}} {
		if got := view.Within(want, c.lo, c.hi); got != c.want {
			t.Errorf("busy in %d to %d: %d, want %d", c.lo, c.hi, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	v := view.New(build([]trace.Track{stream(0, 1)}, trace.Slice{Dur: 10, Cat: trace.CatKernel},
		trace.Slice{Start: 15, Dur: 10, Cat: trace.CatKernel}, trace.Slice{Start: 30, Cat: trace.CatKernel}))
	for _, c := range []struct {
		lo, hi int64
		want   string
	}{
		{0, 31, "0+10 15+10 30+0"}, {0, 30, "0+10 15+10"}, {5, 20, "5+5 15+5"},
		{10, 15, ""}, {17, 18, "17+1"}, {30, 40, "30+0"},
	} {
		cut := v.Cut(c.lo, c.hi)
		var got []string
		for _, i := range cut.Work {
			got = append(got, fmt.Sprintf("%d+%d", cut.Start[i], cut.Dur[i]))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("[%d, %d): %s, want %s", c.lo, c.hi, s, c.want)
		}
	}
}

// TestLaunches: kernels are launched by calls that make a device run, and not while a graph
// is captured.
func TestLaunches(t *testing.T) {
	call := func(name string, start int64) trace.Slice {
		return trace.Slice{Name: name, Start: start, Dur: 1, Cat: trace.CatCUDARuntime}
	}
	other := call("cudaLaunchKernel", 22)
	other.Track = 1
	v := view.New(build([]trace.Track{thread(1), thread(2)},
		call("cudaGraphLaunch", 50), call("cudaLaunchKernel", 10), call("cudaMemcpyAsync", 11),
		call("cudaStreamBeginCapture", 20), call("cuLaunchKernelEx", 21), call("cudaStreamEndCapture", 23), other,
		trace.Slice{Name: "capture_32_FULL", Start: 30, Dur: 10, Cat: trace.CatUserAnnotation},
		call("hipLaunchKernel", 35), call("hipLaunchKernel", 40),
		trace.Slice{Name: "cudaLaunchKernel", Start: 60, Cat: trace.CatCPUOp}))
	if got, want := v.Launches(), []int32{1, 6, 9, 0}; !slices.Equal(got, want) {
		t.Errorf("launches %v, want %v", got, want)
	}
	if !view.IsGraphLaunch(v.Name(0)) || view.IsGraphLaunch(v.Name(1)) {
		t.Error("which call replays a graph")
	}
}
