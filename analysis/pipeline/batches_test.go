package pipeline

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestContinuousBatches: "a" steps alone, then with "b" and "c", then those two.
func TestContinuousBatches(t *testing.T) {
	r := pipetest.NewRank(1, "dit", 0, 0, 1, 10_000)
	for i, reqs := range []string{"a", "a,b,c", "a,b,c", "b,c"} {
		r.Slice(trace.NameDenoiseStep, int64(100+100*i), 90, pipetest.Args{trace.ArgRequests: reqs, trace.ArgStep: i})
	}
	r.Slice(trace.NameDenoiseStep, 900, 50, pipetest.Args{trace.ArgRequests: "d", trace.ArgBatch: 4})
	type row struct {
		Requests []string
		Images   int
		Steps    int
		Us       int64
	}
	var got []row
	for _, b := range Analyze([]*trace.Trace{r.T}, Options{}).Batches {
		got = append(got, row{b.Requests, b.Images, b.Steps.Count, b.DenoiseNs / us})
	}
	want := []row{{[]string{"a"}, 1, 3, 290}, {[]string{"b", "c"}, 2, 3, 290}, {[]string{"d"}, 4, 1, 50}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("batches (-want +got):\n%s", d)
	}
}

// TestDriftOfABatch: steps in which others take part take longer and are no drift.
func TestDriftOfABatch(t *testing.T) {
	r := pipetest.NewRank(1, "dit", 0, 0, 1, 40_000)
	at := int64(100)
	run := func(reqs string, n int, each, more int64) {
		for i := range int64(n) {
			r.Slice(trace.NameDenoiseStep, at, each+i*more, pipetest.Args{trace.ArgRequests: reqs})
			at += each + i*more
		}
	}
	run("a", 9, 500, 0)
	run("a,b", 12, 1000, 20) // steps 1-3: 1040, steps 9-11: 1200
	run("b", 8, 500, 0)
	batches := Analyze([]*trace.Trace{r.T}, Options{}).Batches
	if len(batches) != 2 {
		t.Fatalf("%+v", batches)
	}
	for _, b := range batches {
		if want := 1200.0/1040 - 1; math.Abs(b.Drift-want) > 1e-9 {
			t.Errorf("%v: drift %v, want %v", b.Requests, b.Drift, want)
		}
	}
}

func TestDevice(t *testing.T) {
	r := pipetest.NewRank(0, "dit", 0, 0, 1, 1000)
	for i := range int64(2) { // two streams, half of the time at once
		gpu := r.T.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: i})
		r.On(gpu, "kernel", trace.CatKernel, 100+50*i, 100, nil)
		r.On(gpu, "denoise_step", trace.CatGPUUserAnnotation, 0, 1000, nil)
	}
	k := Analyze([]*trace.Trace{r.T}, Options{}).Stages[0].Ranks[0]
	if !k.HasDevice || k.DeviceBusyNs != 150*us || len(k.Steps) != 0 {
		t.Errorf("device: %v, busy %d, steps %v", k.HasDevice, k.DeviceBusyNs, k.Steps)
	}
}

// TestFramesOfDiffusers: with stacks alone, the steps are the frames of the pipeline, of one
// scheduler or another; an engine's own labels go before them.
func TestFramesOfDiffusers(t *testing.T) {
	for _, c := range []struct {
		model, scheduler string
		labels           bool
	}{
		{"nn.Module: UNet2DConditionModel_0", "diffusers/schedulers/scheduling_ddim.py(300): step", false},
		{"nn.Module: FluxTransformer2DModel_3",
			"/opt/venv/lib/diffusers/schedulers/scheduling_flow_match_euler_discrete.py(374): step", false},
		{"nn.Module: WanTransformer3DModel_0", "", false},
		{"nn.Module: UNet2DConditionModel_0", "diffusers/schedulers/scheduling_ddim.py(300): step", true},
	} {
		r := pipetest.NewRank(1, "dit", 0, 0, 1, 2000)
		frame := func(name string, at, dur int64) { r.On(r.Main, name, trace.CatPythonFunction, at, dur, nil) }
		frame("app.py(3): generate", 0, 2000)
		frame("nn.Module: CLIPTextModel_0", 10, 80)
		for k := range int64(4) {
			at := 100 + 400*k
			if c.labels {
				r.Slice(trace.NameDenoiseStep, at, 310, nil)
			}
			frame(c.model, at, 300)
			r.Op("aten::linear", at+10, 250, 0)
			if c.scheduler != "" {
				frame(c.scheduler, at+310, 50)
			}
		}
		frame("nn.Module: AutoencoderKL_0", 1800, 150)
		k := Analyze([]*trace.Trace{r.T}, Options{}).Stages[0]
		got := map[Category][2]int64{}
		for _, s := range k.Steps {
			got[s.Category] = [2]int64{int64(s.Count), s.TotalNs / us}
		}
		want := map[Category][2]int64{CatTextEncode: {1, 80}, CatDenoise: {4, 4 * 360}, CatVAEDecode: {1, 150}}
		switch {
		case c.labels:
			want = map[Category][2]int64{CatDenoise: {4, 4 * 310}}
		case c.scheduler == "":
			want[CatDenoise] = [2]int64{4, 4 * 300}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s, %s: (-want +got):\n%s", c.model, c.scheduler, d)
		}
	}
}
