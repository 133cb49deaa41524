package steps

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestStatsSums: what the statistics of a kind of step sum, and over which steps.
func TestStatsSums(t *testing.T) {
	list := []Step{
		{Kind: Decode, Tokens: 3, StartNs: 0, EndNs: 10, AtNs: 0, SpanNs: 100, BusyNs: 60, HostIdleNs: 20,
			Batch: 2},
		{Kind: Prefill, Tokens: 500, StartNs: 100, EndNs: 130, AtNs: 100, SpanNs: 300, BusyNs: 300, Batch: 1},
		{Kind: Decode, Tokens: 5, StartNs: 400, EndNs: 420, AtNs: 400, SpanNs: 200, BusyNs: 90, HostIdleNs: 40,
			Batch: 4},
		{Kind: Decode, Tokens: 7, StartNs: 600, EndNs: 640, AtNs: 600, SpanNs: 200, MissingLaunches: 1, Batch: 6},
	}
	var decode, prefill *Stats
	all := stats(list)
	for i := range all {
		switch all[i].Kind {
		case Decode:
			decode = &all[i]
		case Prefill:
			prefill = &all[i]
		}
	}
	if decode == nil || prefill == nil {
		t.Fatalf("kinds: %+v", all)
	}
	if decode.Count != 3 || decode.Tokens != 15 || decode.Whole != 2 || decode.Batch != 4 {
		t.Errorf("decode: %+v", decode)
	}
	if decode.BusyShare != 0.5 || decode.HostIdleShare != 0.2 {
		t.Errorf("shares %g and %g of the whole steps, want 0.5 and 0.2", decode.BusyShare, decode.HostIdleShare)
	}
	if prefill.Count != 1 || prefill.Tokens != 500 || prefill.BusyShare != 1 || prefill.Worst != 1 {
		t.Errorf("prefill: %+v", prefill)
	}
}

// TestStatsWithoutTime: of steps without a length the first one of a kind is the longest.
func TestStatsWithoutTime(t *testing.T) {
	all := stats([]Step{{Kind: Decode, StartNs: 5, EndNs: 5}, {Kind: Prefill, StartNs: 7, EndNs: 7}})
	for i := range all {
		if want := map[Kind]int{Decode: 0, Prefill: 1}[all[i].Kind]; all[i].Worst != want {
			t.Errorf("%v: the longest is step %d, want %d", all[i].Kind, all[i].Worst, want)
		}
	}
}

// TestBounds: at the thresholds a verdict holds, just below them it does not.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		span, busy, host int64
		want             Bound
	}{
		{0, 0, 0, BoundNone},
		{100, 85, 15, BoundDevice},
		{100, 84, 16, BoundHost},
		{100, 84, 14, BoundOther}, // the host has nearly all that is idle, which is little
		{100, 70, 15, BoundHost},  // half of what is idle, and enough
		{1000, 700, 149, BoundOther},
		{100, 20, 39, BoundOther}, // much, but less than half of what is idle
		{100, 20, 40, BoundHost},
	} {
		if got := bound(c.span, c.busy, c.host); got != c.want {
			t.Errorf("span %d, busy %d, host %d: %v, want %v", c.span, c.busy, c.host, got, c.want)
		}
	}
}

// TestStatsOfAKind: every number of a kind. A step of whose launches the work is missing counts for how long
// steps take, and for nothing that is said of devices.
func TestStatsOfAKind(t *testing.T) {
	got := stats([]Step{
		{Kind: Decode, StartNs: 0, EndNs: 10, SpanNs: 100, BusyNs: 60, HostIdleNs: 20, Batch: 2, Tokens: 3, Slices: 10,
			Launches: 4, GraphSlices: 6, Bound: BoundDevice},
		{Kind: Prefill, StartNs: 100, EndNs: 150},
		{Kind: Decode, StartNs: 400, EndNs: 420, SpanNs: 300, BusyNs: 90, HostIdleNs: 60, Batch: 4, Tokens: 5,
			Slices: 30, Launches: 8, GraphSlices: 10, Bound: BoundHost},
		{Kind: Prefill, StartNs: 200, EndNs: 250},
		{Kind: Decode, StartNs: 800, EndNs: 840, SpanNs: 200, BusyNs: 99, HostIdleNs: 99, Batch: 6, Tokens: 7,
			Slices: 99, Launches: 99, GraphSlices: 99, MissingLaunches: 1},
	})
	want := []Stats{
		{Kind: Decode, Count: 3, TotalNs: 600, MeanNs: 200, P50Ns: 200, P99Ns: 298, MaxNs: 300, Worst: 2, Whole: 2,
			HostMeanNs: 70. / 3, BusyShare: 150. / 400, HostIdleShare: 80. / 400, Slices: 20, Launches: 6,
			GraphShare: 16. / 40, Batch: 4, Tokens: 15, TokensPerS: 15 / 600e-9, HostBound: 1, DeviceBound: 1},
		// Of two that are as long the first is the longest; without device work steps take what they do on the host.
		{Kind: Prefill, Count: 2, TotalNs: 100, MeanNs: 50, P50Ns: 50, P99Ns: 50, MaxNs: 50, Worst: 1, Whole: 2,
			HostMeanNs: 50},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 0)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// paced is three labelled steps on one stream, after 50 µs in which the host does something else:
//
//	        on the host  launches (call, kernel)              turn
//	first   50–70        50–55, 60–110                        50–150
//	second  150–170      150–155, 160–200; 162–168, 200–220   150–250, and 230–235 without a launch
//	third   250–270      250–255, 260–340                     250–340
func paced(unlinked bool) *trace.Trace {
	g := newGPU()
	on := func(track trace.TrackID, cat trace.Category, name string, from, to, corr int64) {
		g.t.AddSlice(trace.Slice{Start: from * us, Dur: (to - from) * us, Name: name, Cat: cat, Track: track,
			Corr: corr})
	}
	on(g.host, trace.CatCPUOp, "aten::empty", 0, 10, trace.NoCorrelation)
	for i, k := range [][4]int64{{50, 55, 60, 110}, {150, 155, 160, 200}, {162, 168, 200, 220}, {250, 255, 260, 340}} {
		on(g.host, trace.CatCUDARuntime, "cudaLaunchKernel", k[0], k[1], int64(i+1))
		on(g.stream, trace.CatKernel, "gemm", k[2], k[3], int64(i+1))
	}
	for _, at := range []int64{50, 150, 250} {
		on(g.host, trace.CatUserAnnotation, "step[DECODE bs=1 toks=1]", at, at+20, trace.NoCorrelation)
	}
	if unlinked {
		on(g.stream, trace.CatKernel, "of a graph", 230, 235, trace.NoCorrelation)
	}
	return g.t
}

// TestVerdictSums: every number of a verdict, of steps whose time divides as paced draws it.
func TestVerdictSums(t *testing.T) {
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	for _, c := range []struct {
		name              string
		unlinked          bool
		busy, host, blind float64 // µs of the 290 in turns
	}{
		// The device waits 5 µs for each step's first launch to return, and from its last work to the end of the turn.
		{"every launch is there", false, 50 + 60 + 80, 5 + 40 + 5 + 30 + 5, 0},
		// What is idle before the work without a launch is nobody's; behind it the host is waited for.
		{"one is not", true, 50 + 65 + 80, 5 + 40 + 5 + 15 + 5, 10},
	} {
		r := Find(paced(c.unlinked), Options{})
		v := r.Verdict
		if len(r.Steps) != 3 || v.SpanNs != 290*us {
			t.Fatalf("%s: %d steps by %s, turns of %d", c.name, len(r.Steps), r.How, v.SpanNs)
		}
		if !near(v.BusyShare, c.busy/290) || !near(v.HostIdleShare, c.host/290) || !near(v.BlindShare, c.blind/290) ||
			!near(v.OtherShare, (290-c.busy-c.host)/290) {
			t.Errorf("%s: busy %g, host %g, blind %g, other %g", c.name, v.BusyShare*290, v.HostIdleShare*290,
				v.BlindShare*290, v.OtherShare*290)
		}
		if v.Bound != BoundHost || v.PauseNs != 50*us || !near(v.PauseShare, 50./340) {
			t.Errorf("%s: %v, paused for %d, %g", c.name, v.Bound, v.PauseNs, v.PauseShare)
		}
		if !near(v.LaunchesPerMs, 4/0.29) || v.LaunchDelayNs != 5*us {
			t.Errorf("%s: %g launches a ms, %g ns from launch to work", c.name, v.LaunchesPerMs, v.LaunchDelayNs)
		}
		if v.LongestGapNs != 40*us || v.Slice < 0 || r.Steps[1].DeviceStartNs != 160*us {
			t.Errorf("%s: the longest gap is %d, before slice %d", c.name, v.LongestGapNs, v.Slice)
		}
		if len(v.Devices) != 1 || v.Devices[0].BusyNs != int64(c.busy)*us || v.TogetherShare != 0 {
			t.Errorf("%s: devices %+v", c.name, v.Devices)
		}
	}
}

// TestVerdictWithoutDevice: of steps without any device work nothing is said, and nothing is missing either.
func TestVerdictWithoutDevice(t *testing.T) {
	g := newGPU()
	for range 3 {
		g.label("step[DECODE bs=1 toks=1]", func() { g.now += 50 })
	}
	v := Find(g.t, Options{}).Verdict
	if v.Bound != BoundNone || v.Text != "no device work belongs to a step: nothing is said about the pace" {
		t.Errorf("%v: %s", v.Bound, v.Text)
	}
}

// TestUntil: how long a step's turn lasts on the host. Behind a step that is followed by more than three times the
// median distance between begins, or by the engine's own wait, a pause begins.
func TestUntil(t *testing.T) {
	at := func(begins ...int64) (list []Step) {
		for _, b := range begins {
			list = append(list, Step{StartNs: b, EndNs: b + 10})
		}
		return list
	}
	for _, c := range []struct {
		name  string
		steps []Step
		wait  int64 // when the engine begins to wait, -1: never
		want  []int64
	}{
		{"one after the other", at(0, 100, 200), -1, []int64{100, 200, 210}},
		{"as long as three distances", at(0, 100, 200, 510), -1, []int64{100, 200, 510, 520}},
		{"longer", at(0, 100, 200, 511), -1, []int64{100, 200, 210, 521}},
		{"the engine waits", at(0, 100, 200), 150, []int64{100, 150, 210}},
		{"it waits as the step ends", at(0, 100, 200), 110, []int64{100, 110, 210}},
		{"it waited before", at(0, 100, 200), 105, []int64{100, 200, 210}},
		{"the next begins before the end", []Step{{StartNs: 0, EndNs: 120}, {StartNs: 100, EndNs: 110}}, -1,
			[]int64{120, 110}},
		{"one step", at(7), -1, []int64{17}},
	} {
		g := newGPU()
		if c.wait >= 0 {
			g.t.AddSlice(trace.Slice{Start: c.wait, Dur: 1, Name: trace.NameWait, Cat: trace.CatUserAnnotation,
				Track: g.host})
		}
		until(g.t, c.steps, BySGLang)
		for i, w := range c.want {
			if got := c.steps[i].untilNs; got != w {
				t.Errorf("%s: the turn of step %d lasts until %d, want %d", c.name, i, got, w)
			}
		}
		if end := c.steps[0].StartNs + 10; c.name != "the next begins before the end" && c.steps[0].EndNs != end {
			t.Errorf("%s: a label ends at %d, want %d", c.name, c.steps[0].EndNs, end)
		}
	}
	// A step that was found by repetition has no end of its own but that of its turn.
	steps := at(0, 100, 200)
	until(newGPU().t, steps, ByKernels)
	if steps[0].EndNs != 100 || steps[1].EndNs != 200 || steps[2].EndNs != 210 {
		t.Errorf("steps found by repetition end at %d, %d and %d", steps[0].EndNs, steps[1].EndNs, steps[2].EndNs)
	}
}

// TestVerdictWords: what a verdict says, at the thresholds and just below them.
func TestVerdictWords(t *testing.T) {
	one, two := []DeviceShare{{Device: 0}}, []DeviceShare{{Device: 0, BusyShare: 0.5}, {Device: 3, BusyShare: 0.5}}
	for _, c := range []struct {
		v    Verdict
		want string
	}{
		{Verdict{Bound: BoundDevice, SpanNs: 100, BusyShare: 0.9, HostIdleShare: 0.05, Devices: one},
			"device-bound: the device is busy 90% of the time in steps and waits 5.0% for launches"},
		{Verdict{Bound: BoundHost, BusyShare: 0.2, HostIdleShare: 0.7, Devices: one},
			"host-bound: the device is busy 20% of the time in steps and waits 70% for launches"},
		{Verdict{Bound: BoundHost, BusyShare: 0.2, HostIdleShare: 0.7, Devices: one, PauseShare: 0.1},
			"host-bound: the device is busy 20% of the time in steps and waits 70% for launches; " +
				"steps cover only 90% of the time"},
		{Verdict{Bound: BoundHost, BusyShare: 0.2, HostIdleShare: 0.7, Devices: one, PauseShare: 0.099},
			"host-bound: the device is busy 20% of the time in steps and waits 70% for launches"},
		{Verdict{Bound: BoundOther, BusyShare: 0.5, HostIdleShare: 0.1, OtherShare: 0.4, BlindShare: 0.2, Devices: one},
			"the trace does not show who sets the pace: the device is busy 50% of the time in steps and idle for 20% " +
				"before work whose launch was not recorded"},
		{Verdict{Bound: BoundOther, BusyShare: 0.5, HostIdleShare: 0.1, OtherShare: 0.4, BlindShare: 0.19,
			Devices: one},
			"neither host nor device sets the pace alone: the device is busy 50% of the time in steps, waits 10% for " +
				"launches, and 40% for copies, dependencies and starting kernels"},
		{Verdict{Bound: BoundOther, BusyShare: 0.5, HostIdleShare: 0.1, OtherShare: 0.4, TogetherShare: 0.09,
			Devices: two}, "the devices wait for each other: 2 devices (two or more at once for 9.0% of that) are on " +
			"average busy 50% of the time in steps, each waits 10% for launches, and 40% for copies, dependencies and " +
			"starting kernels"},
		{Verdict{Bound: BoundOther, BusyShare: 0.5, HostIdleShare: 0.1, OtherShare: 0.4, TogetherShare: 0.1,
			Devices: two}, "neither host nor device sets the pace alone: 2 devices (two or more at once for 10% of " +
			"that) are on average busy 50% of the time in steps, each waits 10% for launches, and 40% for copies, " +
			"dependencies and starting kernels"},
		{Verdict{Bound: BoundHost, BusyShare: 0.5, HostIdleShare: 0.4, TogetherShare: 0.0049, Devices: two},
			"host-bound: 2 devices (never two at once) are on average busy 50% of the time in steps and each waits 40% " +
				"for launches"},
		{Verdict{Bound: BoundDevice, SpanNs: 100, BusyShare: 0.5, HostIdleShare: 0.1, TogetherShare: 0.2,
			Devices: []DeviceShare{{Device: 0, BusyNs: 10, BusyShare: 0.1}, {Device: 3, BusyNs: 90, BusyShare: 0.9}}},
			"device-bound by device 3: 2 devices (two or more at once for 20% of that, device 3 most with 90%, device 0 " +
				"least with 10%) are on average busy 50% of the time in steps and each waits 10% for launches"},
	} {
		c.v.SurelyBusyShare = c.v.BusyShare
		if got := c.v.words(); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.v, got, c.want)
		}
	}
}

// TestVerdictLimit: what a verdict says of launches whose work is missing, and that there is none if those are most.
func TestVerdictLimit(t *testing.T) {
	steps := []Step{{}, {MissingLaunches: 2}, {}, {}}
	for _, c := range []struct {
		name     string
		unknown  int
		missing  int // launches without work in the trace, two of them in steps
		launches int64
		outside  int
		want     string
		none     bool // no verdict
	}{
		{"nothing is missing", 0, 2, 100, 0, "v", false},
		{"a few outside of steps", 0, 11, 100, 0, "v", false},
		{"a tenth of those in steps", 0, 12, 100, 10,
			"10 launches outside of these steps lack device work in the trace; in the steps: v", false},
		{"one", 0, 3, 10, 1,
			"1 launch outside of these steps lacks device work in the trace; in the steps: v", false},
		{"as many as in steps", 0, 12, 10, 10,
			"10 launches outside of these steps lack device work in the trace; in the steps: v", false},
		{"more than in steps", 0, 13, 10, 11, "the trace does not show who sets the pace: 11 launches outside of these " +
			"steps lack device work in the trace; in the steps the device is busy 30% of the time", true},
		{"half of the steps", 2, 99, 10, 0, "the device work of 2 of 4 steps is missing; in the others: v", false},
		{"more", 3, 99, 10, 0, "the trace does not show who sets the pace: the device work of 3 of 4 steps is missing; " +
			"in the others the device is busy 30% of the time", true},
	} {
		v := Verdict{Bound: BoundHost, Text: "v", Unknown: c.unknown, BusyShare: 0.3, Devices: []DeviceShare{{}}}
		v.limit(&device{seen: &plausible.Trace{Missing: make([]int32, c.missing)}}, steps, c.launches)
		if v.Text != c.want || v.Outside != c.outside || (v.Bound == BoundNone) != c.none {
			t.Errorf("%s: %v, %d outside, %s", c.name, v.Bound, v.Outside, v.Text)
		}
	}
}

// TestDriftsOfLoops: denoise steps of one set of requests, without another kind of step between them, are a loop.
func TestDriftsOfLoops(t *testing.T) {
	var list []Step
	add := func(n int, kind Kind, requests ...int32) {
		for range n {
			at := int64(100 * len(list))
			list = append(list, Step{Kind: kind, StartNs: at, EndNs: at + 60, AtNs: at, SpanNs: 80, requests: requests})
		}
	}
	add(2, TextEncode)
	add(8, Denoise, 1)
	add(1, VAEDecode)
	add(9, Denoise, 2)
	add(8, Denoise, 2, 3) // a request has joined
	add(7, Denoise, 3)    // too few
	var got []string
	for _, d := range drifts(list) {
		got = append(got, fmt.Sprintf("%d-%d at %d", d.First, d.Last, d.StartNs))
	}
	if text := strings.Join(got, ", "); text != "2-9 at 200, 11-19 at 1100, 20-27 at 2000" {
		t.Errorf("loops %s", text)
	}
}
