package analysis

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// edges writes the path as "type ns" words.
func edges(p CriticalPath) string {
	s := ""
	for _, e := range p.Edges {
		s += fmt.Sprintf("%v %d; ", e.Type, e.Ns/1000)
	}
	return s
}

func TestCriticalPath(t *testing.T) {
	m := newMaker()
	// One operator launches two kernels and waits for them:
	// host op 0-10 with launch 2-4 and 5-7, then a wait 10-50; kernels 6-26 and 28-48.
	m.op("aten::mm", 0, 10)
	m.launched(m.s7, "first", 2, 2, 6, 20)
	m.launched(m.s7, "second", 5, 2, 28, 20)
	call := m.slice(m.host, trace.CatCUDARuntime, "cudaDeviceSynchronize", 10, 40, `{"correlation": 77}`)
	m.tr.Slices.Corr[call] = 77
	sync := m.slice(m.s7, trace.CatCUDASync, "Context Sync", 11, 38, `{"stream": 4294967295, "correlation": 77}`)
	m.tr.Slices.Corr[sync] = 77
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "path", edges(got),
		"operator 2; kernel_launch_delay 4; operator 20; kernel_kernel_delay 2; operator 20; sync_dependency 0; ")
	want(t, "total", got.TotalNs, 48_000)
	by := map[Bound]int64{}
	for _, b := range got.Bounds {
		by[b.Bound] = b.Ns
	}
	want(t, "compute", by[BoundCompute], 40_000)
	want(t, "launch", by[BoundLaunch], 4_000)
	want(t, "gap", by[BoundKernelKernel], 2_000)
	want(t, "host", by[BoundCPU], 2_000)
	want(t, "sync rows", got.Graph.CudaSync, true)
	want(t, "slices", len(got.Slices), 5)
	with, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{ZeroWeightLaunchEdges: true})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "edge for the second launch", with.Graph.Count[EdgeLaunchDelay], got.Graph.Count[EdgeLaunchDelay]+1)
	want(t, "same weight", with.TotalNs, got.TotalNs)
}

func TestCriticalStreamWait(t *testing.T) {
	m := newMaker()
	// A kernel of stream 20 waits by an event for a kernel of stream 7.
	m.launched(m.s7, "producer", 0, 2, 5, 100)
	rec := m.slice(m.host, trace.CatCUDARuntime, "cudaEventRecord", 3, 1, `{"correlation": 50}`)
	m.tr.Slices.Corr[rec] = 50
	wait := m.slice(m.host, trace.CatCUDARuntime, "cudaStreamWaitEvent", 5, 1, `{"correlation": 51}`)
	m.tr.Slices.Corr[wait] = 51
	row := m.slice(m.s20, trace.CatCUDASync, "Stream Wait Event", 6, 99,
		`{"device": 0, "stream": 20, "correlation": 51, "wait_on_stream": 7, "wait_on_cuda_event_record_corr_id": 50}`)
	m.tr.Slices.Corr[row] = 51
	m.launched(m.s20, "consumer", 8, 2, 108, 30)
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "path", edges(got), "kernel_launch_delay 5; operator 100; sync_dependency 0; operator 30; ")
}

func TestCriticalWindow(t *testing.T) {
	m := newMaker()
	m.slice(m.host, trace.CatUserAnnotation, "ProfilerStep#1", 0, 50, "")
	m.op("a", 10, 20)
	m.slice(m.host, trace.CatUserAnnotation, "ProfilerStep#2", 60, 50, "")
	m.op("b", 70, 30)
	m.slice(m.s7, trace.CatGPUUserAnnotation, "ProfilerStep#1", 0, 500, "")
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{Annotation: "ProfilerStep", Instance: 1})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "second step", got.TotalNs, 30_000)
	_, err = FindCriticalPath(m.tr, Options{}, CriticalOptions{Annotation: "ProfilerStep", Instance: 2})
	if !errors.Is(err, ErrNoAnnotation) { // HTA takes the device's copy for a third
		t.Errorf("third step: %v", err)
	}
	if _, err := FindCriticalPath(trace.New(), Options{}, CriticalOptions{}); !errors.Is(err, ErrNoPath) {
		t.Errorf("empty trace: %v", err)
	}
}

// TestOursWhereHTAFails runs what HTA cannot on the shared samples.
func TestOursWhereHTAFails(t *testing.T) {
	tr := loadShared(t, "ns_resolution")
	if got := Sequences(tr, Options{}, "aten::linear", 2); len(got) == 0 {
		t.Error("no sequences in a trace with fractional microseconds") // HTA: ValueError
	}
	exact := TemporalBreakdown(tr, Options{})
	rounded := TemporalBreakdown(tr, Options{HTA: true, HTAIncludeLastStep: true})
	if exact.IdleNs >= rounded.IdleNs {
		t.Errorf("idle %d ns, HTA's rounding %d ns: want less", exact.IdleNs, rounded.IdleNs)
	}
	cpu := loadShared(t, "hist_cpu_only_full")
	if r := All([]*trace.Trace{cpu}, Options{}); r.Ranks[0].Temporal.HasDevice || len(r.Ranks[0].Ops.Rows) == 0 {
		t.Error("a trace without device has no operator table") // HTA: IndexError
	}
	amd := loadShared(t, "amd_mi250")
	if l := Launches(amd, Options{}, LaunchOptions{}); l.Count == 0 {
		t.Error("no launches on ROCm") // HTA: none
	}
	sync := loadShared(t, "critical_path_alexnet")
	if got := TemporalBreakdown(sync, Options{}); got.SpanNs != 12920244000 {
		t.Errorf("span %d ns, want 12920244000 without cuda_sync rows", got.SpanNs)
	}
}

// A summary has the longest edges in the path's order and says how many there are.
func TestSummarize(t *testing.T) {
	p := CriticalPath{Slices: []int{1, 2}, SliceCount: 2, EdgeCount: 5}
	for i, ns := range []int64{3, 9, 1, 9, 7} {
		p.Edges = append(p.Edges, CriticalEdge{Index: int32(i), Ns: ns})
	}
	p.Summarize(5)
	if len(p.Edges) != 5 || p.Slices != nil {
		t.Errorf("%d edges", len(p.Edges))
	}
	p.Summarize(3)
	var got []int64
	for _, e := range p.Edges {
		got = append(got, e.Ns)
	}
	if !slices.Equal(got, []int64{9, 9, 7}) || p.EdgeCount != 5 || p.SliceCount != 2 {
		t.Errorf("edges %v of %d", got, p.EdgeCount)
	}
	if p.Summarize(1); len(p.Edges) != 1 || p.Edges[0].Index != 1 {
		t.Errorf("the longest of %v: %+v, want the first", got, p.Edges)
	}
	if p.Summarize(0); len(p.Edges) != 0 {
		t.Errorf("%d edges, want none", len(p.Edges))
	}
}
