package analysis

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/trace"
)

// deviceTrace has, in us:
//
//	stream 7   gemm 0-10   gemm 30-40   syncbatch 40-45
//	stream 20      nccl 5-20               memcpy 50-60
func deviceTrace() *maker {
	m := newMaker()
	m.kernel(m.s7, "gemm", 0, 10)
	m.kernel(m.s20, "ncclDevKernel_AllReduce", 5, 15)
	m.kernel(m.s7, "gemm", 30, 10)
	m.kernel(m.s7, "SyncBatchNorm_dma_kernel", 40, 5)
	m.slice(m.s20, trace.CatGPUMemcpy, "Memcpy DtoH (Device -> Pinned)", 50, 10, `{"bytes": 20000}`)
	return m
}

func TestTemporal(t *testing.T) {
	m := deviceTrace()
	// None of these is work: a wait, a projected annotation, a marker, an operator that
	// names a stream.
	m.slice(m.s7, trace.CatCUDASync, "Stream Sync", 20, 10, `{"stream": 7}`)
	m.slice(m.s7, trace.CatGPUUserAnnotation, "step", 0, 60, "")
	m.slice(m.host, trace.CatCPUOp, "triton_poi_fused", 20, 9, `{"stream": 0}`)
	got := TemporalBreakdown(m.tr, Options{})
	want(t, "span", got.SpanNs, 60_000)
	want(t, "compute", got.ComputeNs, 25_000)
	want(t, "communication", got.CommunicationNs, 15_000)
	want(t, "exposed communication", got.ExposedCommunicationNs, 10_000)
	want(t, "memory", got.MemoryNs, 10_000)
	want(t, "exposed memory", got.ExposedMemoryNs, 10_000)
	want(t, "idle", got.IdleNs, 15_000)
	want(t, "busy", got.BusyNs, 45_000)
	wantNear(t, "idle share", got.IdleShare, 0.25)
	// HTA counts the wait and the triton row as busy, and SyncBatchNorm as no compute.
	hta := TemporalBreakdown(m.tr, Options{HTA: true})
	if hta.IdleNs == got.IdleNs {
		t.Error("HTA's rows are ours")
	}
	cut := TemporalBreakdown(m.tr, Options{Window: &Window{8_000, 32_000}})
	want(t, "cut span", cut.SpanNs, 24_000)
	want(t, "cut compute", cut.ComputeNs, 4_000)
	want(t, "cut communication", cut.ExposedCommunicationNs, 10_000)
	want(t, "cut idle", cut.IdleNs, 10_000)
}

func TestTemporalWithoutDevice(t *testing.T) {
	m := newMaker()
	m.op("aten::add", 0, 5)
	for _, o := range []Options{{}, {HTA: true}} {
		if got := TemporalBreakdown(m.tr, o); got.HasDevice || got.SpanNs != 0 {
			t.Errorf("%+v: %+v", o, got)
		}
		r := All([]*trace.Trace{m.tr}, o)
		if len(r.Ranks[0].Idle.Streams) != 0 || len(r.Findings) != 0 {
			t.Errorf("%+v: %+v", o, r)
		}
	}
	if got := All([]*trace.Trace{trace.New()}, Options{}); got.Ranks[0].Slices != 0 {
		t.Errorf("%+v", got)
	}
	if got := All(nil, Options{}); len(got.Ranks) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestExactNanoseconds(t *testing.T) {
	m := newMaker()
	for i := range 10 {
		m.tr.AddSlice(trace.Slice{Start: int64(i)*1000 + 300, Dur: 400, Name: "k", Cat: trace.CatKernel, Track: m.s7,
			Args: []byte(`{"stream": 7}`)})
	}
	got := TemporalBreakdown(m.tr, Options{})
	want(t, "compute", got.ComputeNs, 4000)
	want(t, "idle", got.IdleNs, 9*600)
	// HTA rounds every start up and every end down: nothing is left of the kernels.
	if hta := TemporalBreakdown(m.tr, Options{HTA: true}); hta.ComputeNs >= 0 {
		t.Errorf("HTA's rounding gives compute %d, want less than nothing", hta.ComputeNs)
	}
}

func TestOverlapAndKernels(t *testing.T) {
	m := deviceTrace()
	o := CommComputeOverlap(m.tr, Options{})
	want(t, "overlapped", o.OverlappedNs, 5_000)
	wantNear(t, "share", o.Share, 5.0/15)
	b := Kernels(m.tr, Options{})
	types := map[string]int64{}
	for _, ty := range b.Types {
		types[ty.Name()] = ty.Ns
	}
	want(t, "types", len(types), 4)
	want(t, "compute alone", types["compute"], 20_000)
	want(t, "both", types["compute+communication"], 5_000)
	want(t, "communication alone", types["communication"], 10_000)
	want(t, "memory alone", types["memory"], 10_000)
	row := b.Kernels[0]
	want(t, "first", row.Name, "gemm")
	want(t, "count", row.Count, 2)
	want(t, "sum", row.SumNs, 20_000)
	wantNear(t, "share", row.Share, 20.0/50)
	for _, r := range b.Kernels {
		if r.Name == "SyncBatchNorm_dma_kernel" && r.Kind != KindCompute {
			t.Errorf("a kernel with Sync and dma in its name is %v", r.Kind)
		}
	}
}

func TestLumpKernels(t *testing.T) {
	m := newMaker()
	for i, d := range []float64{100, 50, 2, 4, 6} {
		m.kernel(m.s7, string(rune('a'+i)), float64(i)*1000, d)
	}
	m.kernel(m.s7, "a", 9000, 200)
	rows := LumpKernels(Kernels(m.tr, Options{}).Kernels, 2)
	want(t, "rows", len(rows), 3)
	a, others := rows[0], rows[2]
	want(t, "a max", a.MaxNs, 200_000)
	want(t, "a min", a.MinNs, 100_000)
	want(t, "others", others.Name, Others)
	want(t, "others count", others.Count, 3)
	want(t, "others sum", others.SumNs, 12_000)
	want(t, "others max", others.MaxNs, 6_000)
	want(t, "others min", others.MinNs, 2_000)
	wantNear(t, "others mean", others.MeanNs, 4_000)
	wantNear(t, "others std", others.StdNs, 2_000)
	// HTA, once it lumps, gives every row its sum as maximum, minimum and mean.
	hta := lumpHTA(Kernels(m.tr, Options{}).Kernels, 2, 0.8)
	want(t, "HTA's maximum of a", hta[0].MaxNs, 300_000)
}

func TestIdle(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "k", 0, 2, 5, 10)    // 5-15
	m.launched(m.s7, "k", 6, 2, 18, 10)   // launched while busy, gap 3: kernel wait
	m.launched(m.s7, "k", 40, 2, 45, 10)  // launched at 40 after 28, gap 17: host wait
	m.launched(m.s7, "k", 46, 2, 53, 5)   // starts before the one before ends: no gap
	m.launched(m.s7, "k", 50, 2, 158, 5)  // queued, gap 100: other
	m.launched(m.other, "k", 0, 2, 5, 10) // another device's stream of the same number
	got := IdleCauses(m.tr, Options{})
	want(t, "streams", len(got.Streams), 2)
	s := got.Streams[0]
	want(t, "host wait", s.Causes[HostWait].Ns, 17_000)
	want(t, "kernel wait", s.Causes[KernelWait].Ns, 3_000)
	want(t, "other", s.Causes[OtherWait].Ns, 100_000)
	want(t, "idle", s.IdleNs, 120_000)
	want(t, "no gaps", got.Streams[1].IdleNs, 0)
	want(t, "longest", got.Longest[0].EndNs-got.Longest[0].StartNs, 100_000)
	want(t, "second", got.Longest[1].Cause, HostWait)
	want(t, "gaps", len(got.Longest), 3)
}

func TestLaunches(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "short", 0, 10, 12, 5)
	m.launched(m.s7, "long call", 20, 60, 90, 100)
	h, _ := m.launched(m.s7, "late", 200, 5, 400, 20)
	m.tr.Slices.Name[h] = m.tr.Intern("hipLaunchKernel") // HTA does not know it
	m.kernel(m.s7, "unlinked", 500, 1)
	g := m.kernel(m.s7, "second of a graph", 430, 1)
	m.tr.Slices.Corr[g] = m.tr.Slices.Corr[h]
	got := Launches(m.tr, Options{}, LaunchOptions{})
	want(t, "count", got.Count, 4)
	want(t, "unlinked", got.Unlinked, 1)
	want(t, "short", got.Short, 2) // the graph's second slice as well
	want(t, "runtime outliers", got.RuntimeOutliers, 1)
	want(t, "late", got.DelayOutliers, 2)
	want(t, "graph launches", got.GraphLaunches, 1)
	want(t, "delay", got.Delay.Max, 225_000)
	want(t, "first delay", got.Launches[0].DelayNs, 2_000)
	want(t, "calls", got.Types[0].Calls, 2)
}

func TestRepeatedCorrelations(t *testing.T) {
	m := newMaker()
	h1, d1 := m.launched(m.s7, "k", 0, 2, 5, 10)
	h2, d2 := m.launched(m.s20, "k", 50, 2, 55, 10)
	m.tr.Slices.Corr[h2], m.tr.Slices.Corr[d2] = m.tr.Slices.Corr[h1], m.tr.Slices.Corr[d1]
	got := Launches(m.tr, Options{}, LaunchOptions{})
	want(t, "ambiguous", got.Ambiguous, 1)
	want(t, "first", got.Launches[0].Host, h1)
	want(t, "second", got.Launches[1].Host, h2)
}

func TestQueue(t *testing.T) {
	m := newMaker()
	// Length of the queue: 1 from 0, 2 from 10, 1 from 20, 0 from 40.
	m.launched(m.s7, "a", 0, 1, 20, 20)
	m.launched(m.s7, "b", 10, 1, 40, 5)
	m.launched(m.s20, "c", 50, 1, 55, 5)
	got := QueueLength(m.tr, Options{})
	want(t, "streams", len(got.Streams), 2)
	q := got.Streams[0]
	want(t, "points", len(q.Series), 4)
	wantNear(t, "time weighted mean", q.ByTime.Mean, (1*10+2*10+1*20)/40.0)
	wantNear(t, "mean of points", q.Points.Mean, (1+2+1+0)/4.0)
	want(t, "max", q.ByTime.Max, 2)
	want(t, "p50", q.ByTime.P50, 1)
	ns, part := q.Blocked(2)
	want(t, "blocked", ns, 10_000)
	wantNear(t, "blocked share", part, 0.25)
	want(t, "never full", q.BlockedNs, 0)
}

func TestBandwidth(t *testing.T) {
	m := newMaker()
	// Rates that binary fractions do not hold: HTA counts what is left of their sum.
	for i := range 10 {
		m.slice(m.s7, trace.CatGPUMemcpy, "Memcpy HtoD (Pinned -> Device)", float64(i)*100, 10,
			`{"bytes": 1000, "stream": 7, "correlation": 5, "memory bandwidth (GB/s)": 0.1}`)
		m.slice(m.s20, trace.CatGPUMemcpy, "Memcpy HtoD (Pinned -> Device)", float64(i)*100+5, 10,
			`{"bytes": 2000, "stream": 20, "memory bandwidth (GB/s)": 0.2}`)
	}
	m.slice(m.s7, trace.CatGPUMemset, "Memset (Device)", 2000, 0, `{"bytes": 64}`)
	got := Bandwidth(m.tr, Options{})
	want(t, "directions", len(got.Directions), 2)
	d := got.Directions[0]
	want(t, "name", d.Name, "Memcpy HtoD")
	want(t, "bytes", d.Bytes, 30_000)
	wantNear(t, "mean", d.MeanGBs, 30_000.0/200_000)
	want(t, "points above nothing", d.Points.Count, 30)
	wantNear(t, "largest", d.ByTime.Max, 0.3)
	want(t, "active", d.ByTime.ActiveNs, 150_000)
	want(t, "no time, no rate", got.Directions[1].Points.Count, 0)
	if hta := Bandwidth(m.tr, Options{HTA: true}); hta.Directions[0].Points.Count <= 30 ||
		hta.Directions[0].Points.Min > 1e-9 {
		t.Errorf("HTA counts no residue here: %+v", hta.Directions[0].Points)
	}
}

func TestKindOf(t *testing.T) {
	for name, k := range map[string]Kind{
		"ncclDevKernel_AllGather_RING_LL":                 KindCommunication,
		"void ncclKernel_AllReduce(ncclWorkElem)":         KindCommunication,
		"void vllm::cross_device_reduce_1stage<half, 8>":  KindCommunication,
		"void at::native::sync_batch_norm<float>(float*)": KindCompute,
		"hipblaslt_gemm":                        KindCompute, // HTA: communication
		"Cijk_Ailk_Bjlk_BBS_BH_MT128x128x64_SN": KindCompute,
	} {
		want(t, name, kindOf(trace.CatKernel, name), k)
	}
	want(t, "HTA's ^hip", Kind(hta.TypeOf("hipblaslt_gemm")), KindCommunication)
	want(t, "copy", kindOf(trace.CatGPUMemcpy, "CopyHostToDevice"), KindMemory)
}
