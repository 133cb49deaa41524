//go:build unix

package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/internal/usage"
	"github.com/kinetoscope/kinetoscope/trace"
)

// shape changes one slice of an ordinary trace of n launches into that of a pathological one.
type shape struct {
	name string
	edit func(t *trace.Trace, i, n int, s *trace.Slice)
}

var shapes = []shape{
	{"ordinary", func(*trace.Trace, int, int, *trace.Slice) {}},
	{"one correlation", func(_ *trace.Trace, _, _ int, s *trace.Slice) { s.Corr = 1 }},
	{"one correlation, late calls", func(_ *trace.Trace, _, n int, s *trace.Slice) {
		s.Corr = 1
		if s.Cat.Runtime() {
			s.Start += int64(n) * 10_000
		}
	}},
	{"two correlations", func(_ *trace.Trace, i, _ int, s *trace.Slice) { s.Corr = int64(i / 3 % 2) }},
	{"sparse correlations", func(_ *trace.Trace, i, _ int, s *trace.Slice) { s.Corr = int64(i/3) * 7_919_000_003 }},
	{"one time", func(_ *trace.Trace, _, _ int, s *trace.Slice) { s.Start = 0 }},
	{"one time, no length", func(_ *trace.Trace, _, _ int, s *trace.Slice) { s.Start, s.Dur = 0, 0 }},
	{"one end", func(_ *trace.Trace, _, n int, s *trace.Slice) { s.Dur = int64(n)*10_000 - s.Start }},
	{"backwards", func(_ *trace.Trace, _, n int, s *trace.Slice) { s.Start = int64(n)*10_000 - s.Start }},
	{"one name", func(_ *trace.Trace, _, _ int, s *trace.Slice) { s.Name = "cudaLaunchKernel" }},
	{"names of its own", func(_ *trace.Trace, i, _ int, s *trace.Slice) { s.Name = fmt.Sprint(s.Name, i) }},
	{"one track", func(_ *trace.Trace, _, _ int, s *trace.Slice) { s.Track = 1 }},
	{"a track each", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		tk := t.Tracks[s.Track]
		tk.TID, tk.Stream = int64(i), int64(i)
		s.Track = t.AddTrack(tk)
	}},
	{"a device each", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		tk := t.Tracks[s.Track]
		tk.TID, tk.Device = int64(i), int64(i)
		s.Track = t.AddTrack(tk)
	}},
	{"deep stack", func(_ *trace.Trace, i, n int, s *trace.Slice) {
		if !s.Cat.Busy() {
			s.Start, s.Dur = int64(i), int64(2*3*n-2*i)
		}
	}},
	{"deep python", func(_ *trace.Trace, i, n int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name = trace.CatPythonFunction, "queue.py(3): get"
			s.Start, s.Dur = int64(i), int64(2*3*n-2*i)*10_000
		}
	}},
	{"all steps", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name = trace.CatUserAnnotation, "step[DECODE bs=1]"
		}
	}},
	{"all steps at once", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name, s.Start = trace.CatUserAnnotation, "step[DECODE bs=1]", 0
		}
	}},
	{"no launches", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat.Runtime() {
			s.Corr = -1
		}
	}},
	{"half without work", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat.Busy() && i%2 == 0 {
			s.Cat = trace.CatCPUInstant
		}
	}},
	{"one graph", func(_ *trace.Trace, _, _ int, s *trace.Slice) {
		if s.Cat.Busy() {
			s.Corr = 0
		}
	}},
	{"annotations on the device", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat.Busy() && i%2 == 0 {
			s.Cat = trace.CatGPUUserAnnotation
			s.Dur = 1 << 40
		}
	}},
	{"synchronisations", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat.Busy() && i%2 == 0 {
			s.Cat, s.Name = trace.CatCUDASync, "Context Sync"
		}
	}},
	{"collectives", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Name, s.Args = "c10d::allreduce_",
				[]byte(`{"Collective name":"allreduce","In msg nelems":4,"dtype":"Float","Group size":2,"Process Group Name":"0","Seq":1}`)
		}
	}},
	{"hand-offs", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name, s.Args = trace.CatUserAnnotation, "handoff.send", []byte(`{"request":"a","to_stage":1}`)
			s.Start, s.Dur = 0, 1<<40
		}
	}},
	{"synchronisations of many streams", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat.Busy() {
			tk := t.Tracks[s.Track]
			tk.Stream = int64(i)
			s.Track = t.AddTrack(tk)
			if i%2 == 0 {
				s.Cat, s.Name = trace.CatCUDASync, "Context Sync"
			}
		}
	}},
	{"flows between hand-offs", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name, s.Args = trace.CatUserAnnotation, "handoff.send", []byte(`{"request":"a","to_stage":1}`)
			s.Start, s.Dur = int64(i), 1<<40
			t.AddFlow(int64(i), uint64(i), "handoff", "handoff", s.Track, true)
		}
	}},
	{"one step of many requests", func(_ *trace.Trace, i, n int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name = trace.CatUserAnnotation, "denoise_step"
			if i == 0 {
				var b strings.Builder
				for k := range n {
					fmt.Fprintf(&b, "r%d,", k)
				}
				s.Args = []byte(`{"requests":"` + b.String() + `"}`)
			}
		}
	}},
	{"steps on tracks of their own", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			tk := t.Tracks[s.Track]
			tk.TID = int64(i)
			s.Track, s.Cat, s.Name = t.AddTrack(tk), trace.CatUserAnnotation, "step[DECODE bs=1]"
		}
	}},
	{"a step and a device each", func(t *trace.Trace, i, _ int, s *trace.Slice) {
		switch {
		case s.Cat == trace.CatCPUOp:
			s.Cat, s.Name = trace.CatUserAnnotation, "step[DECODE bs=1]"
		case s.Cat.Busy():
			tk := t.Tracks[s.Track]
			tk.Device = int64(i)
			s.Track = t.AddTrack(tk)
		}
	}},
	{"overlapping kernels", func(_ *trace.Trace, i, n int, s *trace.Slice) {
		if s.Cat.Busy() {
			s.Dur = int64(n) * 10_000
		}
	}},
	{"nested kernels", func(_ *trace.Trace, i, n int, s *trace.Slice) {
		if s.Cat.Busy() {
			s.Dur = 2 * (int64(n)*10_000 - s.Start)
			s.Start /= 2
		}
	}},
	{"early kernels", func(_ *trace.Trace, i, n int, s *trace.Slice) {
		if s.Cat.Busy() {
			s.Start -= int64(n) * 10_000
		}
	}},
	{"requests", func(_ *trace.Trace, i, _ int, s *trace.Slice) {
		if s.Cat == trace.CatCPUOp {
			s.Cat, s.Name, s.Args = trace.CatUserAnnotation, "denoise_step", []byte(fmt.Sprintf(`{"request":"r%d"}`, i))
		}
	}},
}

// draw makes a trace of n operators, each with a launch and a kernel.
func draw(n int, sh shape) *trace.Trace {
	t := trace.New()
	t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	for k := range n {
		at := int64(k) * 10_000
		for j, s := range []trace.Slice{
			{Start: at, Dur: 8000, Name: fmt.Sprintf("aten::op%d", k%7), Cat: trace.CatCPUOp, Track: 0, Corr: -1},
			{Start: at + 1000, Dur: 2000, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime, Track: 0,
				Corr: int64(k)},
			{Start: at + 4000, Dur: 5000, Name: fmt.Sprintf("gemm%d", k%7), Cat: trace.CatKernel, Track: 1,
				Corr: int64(k)},
		} {
			sh.edit(t, 3*k+j, n, &s)
			t.AddSlice(s)
		}
	}
	return t
}

// Limits of what a pathological trace may cost. Both must be passed to fail: the first is
// noisy for analyses that take no time, the second for traces that many goroutines share.
const (
	shapeSmall  = 1500 // operators
	shapeTimes  = 5    // as many in the large trace
	shapeRatio  = 3    // of an ordinary trace's processor time
	shapeGrowth = 12   // of the small trace's processor time; 5 is linear, 25 quadratic
	shapeTries  = 3
	shapeRounds = 3 // of measuring both anew before a shape fails
)

// TestNoQuadraticCorner: no shape of a trace (one id, one time, one name, a track each, a deep
// stack …) makes an analysis take as long as the square of its size.
func TestNoQuadraticCorner(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds of processor time")
	}
	for _, run := range []struct {
		name string
		f    func(tr *trace.Trace)
	}{
		{"all", func(tr *trace.Trace) { analysis.All([]*trace.Trace{tr, tr}, analysis.Options{}) }},
		{"steps", func(tr *trace.Trace) { steps.Find(tr, steps.Options{}) }},
		{"pipeline", func(tr *trace.Trace) { pipeline.Analyze([]*trace.Trace{tr}, pipeline.Options{}) }},
		{"critical path", func(tr *trace.Trace) {
			analysis.FindCriticalPath(tr, analysis.Options{}, analysis.CriticalOptions{}) // some shapes have none
		}},
	} {
		// took is the least processor time of some tries.
		took := func(n int, sh shape, tries int) int64 {
			best := int64(1 << 62)
			for range tries {
				tr := draw(n, sh)
				before := int64(usage.Own().CPU)
				run.f(tr)
				best = min(best, int64(usage.Own().CPU)-before)
			}
			return max(best, 2_000_000) // less is the clock's grain
		}
		ordinary := took(shapeTimes*shapeSmall, shapes[0], shapeTries)
		for _, sh := range shapes[1:] {
			large := took(shapeTimes*shapeSmall, sh, 1)
			if large >= shapeRatio*ordinary {
				large = took(shapeTimes*shapeSmall, sh, shapeTries)
			}
			if large < shapeRatio*ordinary {
				continue
			}
			growth := float64(large) / float64(took(shapeSmall, sh, shapeTries))
			for round := 1; growth > shapeGrowth && round < shapeRounds; round++ {
				large = min(large, took(shapeTimes*shapeSmall, sh, shapeTries))
				growth = min(growth, float64(large)/float64(took(shapeSmall, sh, shapeTries)))
			}
			if growth > shapeGrowth {
				t.Errorf("%s, %s: %.0f times as long as an ordinary trace, %.0f times as long as for a fifth of it",
					run.name, sh.name, float64(large)/float64(ordinary), growth)
			}
		}
	}
}
