package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/trace"
)

// deviceTrace is an LLM's rank: two prefills launched one by one, decode steps by a graph.
func deviceTrace() *trace.Trace {
	t := trace.New()
	t.Meta.Rank = 1
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	now, corr := int64(1_000_000), int64(0)
	launch := func(call string, kernels int, dur int64) {
		corr++
		t.AddSlice(trace.Slice{Start: now, Dur: 6000, Name: call, Cat: trace.CatCUDARuntime, Track: host, Corr: corr})
		now += 6000
		at := now + 2000
		for k := range kernels {
			t.AddSlice(trace.Slice{Start: at, Dur: dur, Name: fmt.Sprintf("kernel_%d", k%5), Cat: trace.CatKernel,
				Track: gpu, Corr: corr})
			at += dur
		}
		now = max(now, at)
	}
	for i := range 40 {
		start := now
		name := fmt.Sprintf("step[DECODE bs=4 toks=%d]", 4)
		if i%25 == 0 {
			name = "step[EXTEND bs=2 toks=900]"
			for range 30 {
				launch("cudaLaunchKernel", 1, 9000)
			}
		} else {
			launch("cudaMemcpyAsync", 1, 1000)
			launch("cudaGraphLaunch", 120, 700+int64(i)*10)
		}
		t.AddSlice(trace.Slice{Start: start, Dur: now - start, Name: name, Cat: trace.CatUserAnnotation, Track: host})
		now += 15_000
	}
	return t
}

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		t    *trace.Trace
		o    TextOptions
	}{
		{"steps_llm_120.txt", deviceTrace(), TextOptions{Width: 120}},
		{"steps_llm_ascii_80.txt", deviceTrace(), TextOptions{Width: 80, ASCII: true}},
		{"steps_dit_100.txt", pipetest.Diffusion()[1], TextOptions{}},
		{"steps_none.txt", trace.New(), TextOptions{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := steps.Find(c.t, steps.Options{})
			var b bytes.Buffer
			if err := Steps(&b, r, c.o); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, b.Bytes())
			for w := MinWidth; w <= MaxWidth; w += 4 {
				var b bytes.Buffer
				o := TextOptions{Width: w, ASCII: c.o.ASCII}
				if err := Steps(&b, r, o); err != nil {
					t.Fatal(err)
				}
				checkShape(t, b.String(), o)
			}
			b.Reset()
			if err := Steps(&b, r, TextOptions{Color: true}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), "\x1b") {
				t.Error("no colours")
			}
		})
	}
}
