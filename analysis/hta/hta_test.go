package hta

import (
	"reflect"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestAllRules(t *testing.T) {
	v := reflect.ValueOf(All)
	for i := range v.NumField() {
		if !v.Field(i).Bool() {
			t.Errorf("All lacks %s", v.Type().Field(i).Name)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]Type{
		"ncclDevKernel_AllReduce": Communication, "hipblaslt_gemm": Communication,
		"Memcpy HtoD (Pinned -> Device)": Memory, "dma_copy": Memory,
		"ampere_sgemm": Compute, "MyStreamSync": Other, "some_dma_kernel": Other, "runFunction - x": Other,
	} {
		if got := TypeOf(name); got != want {
			t.Errorf("TypeOf(%q) = %d, want %d", name, got, want)
		}
	}
	if !Enqueues("cudaMemcpyAsync") || !Enqueues("runFunction - y") || Enqueues("cudaGraphLaunch") {
		t.Error("Enqueues")
	}
	if !LaunchCall("cudaMemcpyAsync", false) || LaunchCall("cudaMemcpyAsync", true) ||
		!LaunchCall("cudaLaunchKernel", true) || LaunchCall("hipLaunchKernel", false) {
		t.Error("LaunchCall")
	}
}

func TestSweep(t *testing.T) {
	span := func(set int, lo, hi int64) []Edge { return []Edge{{lo, set, false}, {hi, set, true}} }
	for _, c := range []struct {
		edges []Edge
		want  []int64
	}{
		{nil, []int64{0, 0, 0, 0}},
		{slices.Concat(span(0, 0, 10), span(1, 5, 20)), []int64{0, 5, 10, 5}},
		{span(0, 10, 9), []int64{0, 0, 0, 0}},                               // a span of negative length alone
		{slices.Concat(span(0, 0, 10), span(1, 6, 5)), []int64{0, 9, 0, 0}}, // takes away what it lies in
	} {
		if got := Sweep(2, c.edges); !slices.Equal(got, c.want) {
			t.Errorf("Sweep(%v) = %v, want %v", c.edges, got, c.want)
		}
	}
}

func TestRows(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 3, Stream: 7})
	add := func(track trace.TrackID, cat trace.Category, name string, start, dur, corr int64, args string) {
		i := tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: cat, Track: track, Args: []byte(args)})
		tr.Slices.Corr[i] = corr
	}
	add(host, trace.CatUserAnnotation, "ProfilerStep#1", 0, 10_000, trace.NoCorrelation, "")
	add(host, trace.CatCUDARuntime, "cudaLaunchKernel", 1000, 1000, 5, "")
	add(gpu, trace.CatKernel, "gemm", 4000, 500, 5, `{"stream": 7}`)
	add(host, trace.CatUserAnnotation, "ProfilerStep#2", 10_000, 10_000, trace.NoCorrelation, "")
	add(host, trace.CatCUDARuntime, "cudaLaunchKernel", 11_000, 1000, 6, "")
	add(gpu, trace.CatKernel, "gemm", 14_000, 700, 6, `{"stream": "7"}`)
	add(host, trace.CatTraceSpan, "PyTorch Profiler", 0, 20_000, trace.NoCorrelation, "")
	r := Load(tr, HasSteps([]*trace.Trace{tr}), Options{})
	if !slices.Equal(r.Work, []int32{2}) || len(r.Lanes) != 1 || r.Lanes[0].Stream != 7 || r.Lanes[0].Device != -1 {
		t.Errorf("work %v on %v", r.Work, r.Lanes)
	}
	if !slices.Equal(r.Step, []int32{1, 1, 1, 2, 2, 2, -1}) ||
		!slices.Equal(r.Keep, []bool{true, true, true, false, false, false, false}) {
		t.Errorf("steps %v, keep %v", r.Step, r.Keep)
	}
	if got := r.Launches(false); !slices.Equal(got, []Pair{{1, 2}}) {
		t.Errorf("launches %v", got)
	}
	all := Load(tr, true, Options{AllSteps: true})
	if len(all.Work) != 2 || all.StartsSpan() != 14_000 {
		t.Errorf("all steps: work %v, span %d", all.Work, all.StartsSpan())
	}
	// A file with fractions of a microsecond: starts are rounded up and ends down.
	tr.Slices.Start[2], tr.Slices.Dur[2] = 4100, 500
	if r = Load(tr, false, Options{}); r.Start[2] != 5000 || r.Dur[2] != -1000 {
		t.Errorf("rounded to %d, %d", r.Start[2], r.Dur[2])
	}
}
