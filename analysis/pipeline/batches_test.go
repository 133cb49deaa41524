package pipeline

import (
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
