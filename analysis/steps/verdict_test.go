package steps

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestTimeBetweenLaunches: what the host does before the first launch of an iteration and
// after the last belongs to a step, with labels or without.
func TestTimeBetweenLaunches(t *testing.T) {
	vllm := func(int) string { return "execute_context_0(0)_generation_8(8)" }
	sglang := func(int) string { return "step[DECODE bs=4 toks=4]" }
	profiler := func(i int) string { return fmt.Sprintf("ProfilerStep#%d", i) }
	for _, c := range []struct {
		name  string
		l     loop
		takes float64 // µs, the median step
		busy  float64
		bound Bound
	}{
		{"an operator before the launches", loop{steps: 12, before: 600, kernels: 4, dur: 95, ops: "aten::resize",
			cat: trace.CatCPUOp}, 987, 0.38, BoundHost},
		{"nothing recorded before the launches", loop{steps: 12, before: 600, kernels: 4, dur: 95}, 987, 0.38,
			BoundHost},
		{"a sampler after the launches", loop{steps: 20, after: 300, kernels: 6, dur: 50, ops: "sampler.py(3): sample",
			cat: trace.CatPythonFunction}, 607, 0.49, BoundHost},
		{"vLLM's labels round the launches only", loop{steps: 10, before: 900, kernels: 5, dur: 80, label: vllm}, 1307,
			0.31, BoundHost},
		{"SGLang's labels, work before and after", loop{steps: 9, before: 100, after: 700, kernels: 8, dur: 40,
			label: sglang, ops: "scheduler", cat: trace.CatUserAnnotation}, 1127, 0.28, BoundHost},
		{"a data loader inside the label", loop{steps: 8, after: 49_000, kernels: 2, dur: 5000, label: profiler,
			whole: true, ops: "DataLoader.__next__", cat: trace.CatUserAnnotation}, 59_007, 0.17, BoundHost},
		{"HIP, a data loader before", loop{steps: 8, before: 20_000, kernels: 3, dur: 1000, label: profiler,
			whole: true, call: "hipLaunchKernel"}, 23_007, 0.13, BoundHost},
		{"a device that is behind", loop{steps: 10, before: 10, kernels: 8, dur: 100, ahead: true, label: vllm}, 800, 1,
			BoundDevice},
		{"a device that is behind, host work between", loop{steps: 10, before: 100, after: 100, kernels: 8, dur: 100,
			ahead: true}, 800, 1, BoundDevice},
		{"a first step that waits for older work", loop{steps: 6, before: 10, kernels: 8, dur: 100, ahead: true,
			label: vllm, older: 50_000}, 800, 1, BoundDevice},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Find(c.l.draw(), Options{})
			if len(r.Steps) != c.l.steps || len(r.Kinds) == 0 {
				t.Fatalf("%d steps by %s", len(r.Steps), r.How)
			}
			if got := r.Kinds[0].P50Ns / us; math.Abs(got-c.takes) > 0.02*c.takes {
				t.Errorf("the median step takes %g µs, want %g", got, c.takes)
			}
			if v := r.Verdict; v.Bound != c.bound || math.Abs(v.BusyShare-c.busy) > 0.05 {
				t.Errorf("%s, busy %.2f; want %s, %.2f", v.Text, v.BusyShare, c.bound, c.busy)
			}
			for i := 1; i < len(r.Steps); i++ {
				if a, b := &r.Steps[i-1], &r.Steps[i]; a.AtNs+a.SpanNs != b.AtNs {
					t.Errorf("step %d ends at %d, the next begins at %d", i-1, a.AtNs+a.SpanNs, b.AtNs)
				}
			}
		})
	}
}

// TestPause: time without requests is no part of a step, and the verdict says how much of it
// there is.
func TestPause(t *testing.T) {
	l := loop{steps: 10, before: 10, kernels: 8, dur: 100,
		label: func(int) string { return "step[DECODE bs=1 toks=1]" }}
	tr := l.draw()
	end := tr.Slices.End(tr.Slices.Len() - 1)
	late := l.draw()
	for i := range late.Slices.Start {
		s := &late.Slices
		tr.AddSlice(trace.Slice{Start: s.Start[i] + end + 90_000*us, Dur: s.Dur[i], Name: late.String(s.Name[i]),
			Cat: s.Cat[i], Track: s.Track[i], Corr: s.Corr[i] + 10_000*b2i(s.Corr[i] > 0)})
	}
	r := Find(tr, Options{})
	if len(r.Steps) != 20 || r.Kinds[0].MaxNs > 1000*us {
		t.Errorf("%d steps, the longest takes %d", len(r.Steps), r.Kinds[0].MaxNs)
	}
	v := r.Verdict
	if v.Bound != BoundDevice || v.PauseNs < 89_000*us || v.PauseShare < 0.8 ||
		!strings.Contains(v.Text, "steps cover only") {
		t.Errorf("%+v", v)
	}
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// TestSeveralDevices: one verdict of several devices is about each of them.
func TestSeveralDevices(t *testing.T) {
	label := func(i int) string { return fmt.Sprintf("ProfilerStep#%d", i) }
	for _, c := range []struct {
		name  string
		l     loop
		busy  float64
		bound Bound
		says  string
	}{
		{"four in turn", loop{steps: 10, kernels: 3, dur: 328, devices: 4, inTurn: true, label: label, whole: true},
			0.25, BoundOther, "4 devices (never two at once)"},
		{"three in turn without labels", loop{steps: 10, before: 10, kernels: 3, dur: 400, devices: 3, inTurn: true},
			0.33, BoundOther, "3 devices (never two at once)"},
		{"two at once", loop{steps: 10, kernels: 6, dur: 900, devices: 2, label: label, whole: true}, 0.98, BoundDevice,
			"2 devices (two or more at once"},
		{"two at once and slow host", loop{steps: 10, before: 9000, kernels: 3, dur: 900, devices: 2, label: label,
			whole: true}, 0.23, BoundHost, "2 devices (two or more at once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Find(c.l.draw(), Options{})
			v := r.Verdict
			if len(r.Steps) != c.l.steps || len(v.Devices) != c.l.devices {
				t.Fatalf("%d steps by %s, %d devices", len(r.Steps), r.How, len(v.Devices))
			}
			if v.Bound != c.bound || math.Abs(v.BusyShare-c.busy) > 0.05 || !strings.Contains(v.Text, c.says) {
				t.Errorf("%s (%s), busy %.2f; want %s, %.2f", v.Text, v.Bound, v.BusyShare, c.bound, c.busy)
			}
			for _, d := range v.Devices {
				if math.Abs(d.BusyShare-c.busy) > 0.06 {
					t.Errorf("device %d is busy %.2f", d.Device, d.BusyShare)
				}
			}
		})
	}
}

// TestLabelsBesideTheWork: labels that enclose none of the launches do not hide the
// repetition.
func TestLabelsBesideTheWork(t *testing.T) {
	loops := map[string]loop{
		"matmul and copy": {steps: 32, before: 300, kernels: 2, dur: 4400},
		"HIP":             {steps: 12, before: 50, kernels: 6, dur: 80, call: "hipLaunchKernel"},
		"device behind":   {steps: 20, before: 5, kernels: 9, dur: 60, ahead: true},
	}
	for name, l := range loops {
		for _, labels := range [][]string{{"ProfilerStep#1"}, {"ProfilerStep#7", "ProfilerStep#8"},
			{"execute_new_0_cached_4"}, {"step[DECODE bs=1]", "step[DECODE bs=1]", "step[DECODE bs=1]"}} {
			for _, first := range []bool{true, false} {
				tr := l.draw()
				_, end, _ := tr.Extent()
				for k, n := range labels {
					at := end + int64(k)*50*us
					if first {
						at = -int64(k+1) * 50 * us
					}
					tr.AddSlice(trace.Slice{Start: at, Dur: 40 * us, Name: n, Cat: trace.CatUserAnnotation, Track: 0,
						Corr: trace.NoCorrelation})
				}
				r := Find(tr, Options{})
				if r.Method != ByKernels || len(r.Steps) != l.steps || !strings.Contains(r.How, labels[0][:8]) {
					t.Errorf("%s, %v, first %v: %d steps by %s", name, labels, first, len(r.Steps), r.How)
				}
			}
		}
	}
}

// TestLongStart: a compiler that ran once does not hide the iterations behind it.
func TestLongStart(t *testing.T) {
	l := loop{steps: 30, before: 200, kernels: 5, dur: 100}
	tr := l.draw()
	shifted := trace.New()
	for _, tk := range tr.Tracks {
		shifted.AddTrack(tk)
	}
	shifted.AddSlice(trace.Slice{Dur: 5 * us, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime, Corr: 9000})
	shifted.AddSlice(trace.Slice{Start: 9 * us, Dur: 5 * us, Name: "fill", Cat: trace.CatKernel, Track: 1, Corr: 9000})
	s := &tr.Slices
	for i := range s.Start {
		shifted.AddSlice(trace.Slice{Start: s.Start[i] + 60_000_000*us, Dur: s.Dur[i], Name: tr.String(s.Name[i]),
			Cat: s.Cat[i], Track: s.Track[i], Corr: s.Corr[i]})
	}
	if r := Find(shifted, Options{}); len(r.Steps) != 30 || r.Kinds[0].MaxNs > 1000*us {
		t.Errorf("%d steps by %s: %+v", len(r.Steps), r.How, r.Kinds)
	}
}

// TestSharedStream: where slices of one stream lie over each other, the verdict knows only limits of
// the device's busy time, and does not call the device the bound if it may be none.
func TestSharedStream(t *testing.T) {
	draw := func(wide, narrow int64) *Report {
		g := newGPU()
		for k := range int64(40) {
			g.label("step[DECODE bs=4 toks=4]", func() {
				g.free = 0 // both lie on the stream when they are launched
				g.kernel("a", 3, wide+k%7)
				g.free = 0
				g.kernel("b", 3, narrow)
				g.now += 94
			})
		}
		return Find(g.t, Options{})
	}
	r := draw(99, 40)
	v := &r.Verdict
	if v.Bound != BoundNone || !v.Disputed() || v.SurelyBusyShare > 0.5 || v.BusyShare < 0.98 {
		t.Errorf("%s: surely busy %.2f, busy %.2f, disputed %v", v.Bound, v.SurelyBusyShare, v.BusyShare, v.Disputed())
	}
	if want := "slices of one stream lie over each other, and the device is busy 43% to 100% of the time in steps"; !strings.Contains(
		v.Text, want) {
		t.Error(v.Text)
	}
	for i := range r.Steps {
		if b := r.Steps[i].Bound; b == BoundDevice {
			t.Errorf("step %d is bound by the %s", i, b)
		}
	}
	found := false
	for _, f := range r.Findings {
		found = found || f.Code == finding.PaceUnknown && f.Text == v.Text
	}
	if !found {
		t.Errorf("no finding says it: %+v", r.Findings)
	}
	if v := draw(99, 92).Verdict; v.Bound != BoundDevice || v.Disputed() || v.SurelyBusyShare < 0.9 {
		t.Errorf("%s, surely busy %.2f: %s", v.Bound, v.SurelyBusyShare, v.Text)
	}
}
