package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// rankTrace is one of two ranks of an LLM: steps with kernels, a copy, an all-reduce in
// which the faster rank waits, allocations, and operators round the launches.
func rankTrace(rank int) *trace.Trace {
	t := trace.New()
	t.Meta.Rank, t.Meta.WorldSize, t.Meta.Backend = rank, 2, "nccl"
	t.Meta.File, t.Meta.Format = fmt.Sprintf("rank%d.json", rank), "kineto"
	t.Meta.Devices = []trace.Device{{ID: 0, Name: "Test Card", TotalMemory: 16 << 30, SMs: 80},
		{ID: 1, Name: "Test Card", TotalMemory: 16 << 30, SMs: 80}}
	t.Meta.ProcessGroups = []trace.ProcessGroup{{Name: "0", Desc: "default_pg", Backend: "nccl", Size: 2,
		Ranks: []int{0, 1}}}
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1, Process: "python",
		Name: "thread 1"})
	gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7, Name: "stream 7"})
	comm := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 20, Name: "stream 20"})
	const us = int64(1000)
	now, corr, held := 1000*us, int64(0), int64(0)
	do := func(op, call, kernel string, cat trace.Category, track trace.TrackID, dur int64, args string) {
		corr++
		t.AddSlice(trace.Slice{Start: now, Dur: 9 * us, Name: op, Cat: trace.CatCPUOp, Track: host,
			Args: []byte(`{"Input Dims": [[64, 64], [64, 64]], "Input type": ["float", "float"]}`)})
		t.AddSlice(trace.Slice{Start: now + 2*us, Dur: 5 * us, Name: call, Cat: trace.CatCUDARuntime, Track: host,
			Corr: corr})
		held += 1 << 20
		t.AddInstant(now+us, "[memory]", trace.CatCPUInstant, host,
			fmt.Appendf(nil,
				`{"Total Reserved": 67108864, "Total Allocated": %d, "Bytes": 1048576, "Addr": %d, "Device Id": 0, "Device Type": 1}`, held, corr))
		t.AddSlice(trace.Slice{Start: now + 8*us, Dur: dur, Name: kernel, Cat: cat, Track: track, Corr: corr,
			Args: []byte(args)})
		now += 10 * us
	}
	for step := range 8 {
		start := now
		do("aten::mm", "cudaLaunchKernel", "ampere_sgemm_64x64_nn", trace.CatKernel, gpu, 40*us+int64(rank)*20*us,
			`{"stream": 7, "device": 0}`)
		now += int64(40+20*rank) * us
		do("aten::add", "cudaLaunchKernel",
			"void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3> >(int, at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3>)",
			trace.CatKernel, gpu, 5*us, `{"stream": 7, "device": 0}`)
		do("aten::copy_", "cudaMemcpyAsync", "Memcpy DtoH (Device -> Pinned)", trace.CatGPUMemcpy, gpu, 3*us,
			`{"stream": 7, "device": 0, "bytes": 4096, "memory bandwidth (GB/s)": 1.36}`)
		do("nccl:all_reduce", "cudaLaunchKernel",
			"ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)", trace.CatKernel, comm,
			int64(50-20*rank)*us,
			fmt.Sprintf(`{"stream": 20, "device": 0, "Collective name": "allreduce", "In msg nelems": 65536, "Out msg nelems": 65536, "dtype": "Float", "Group size": 2, "Process Group Name": "0", "Process Group Description": "default_pg", "Seq": %d}`, step))
		now += int64(50-20*rank) * us
		t.AddSlice(trace.Slice{Start: start, Dur: now - start, Name: fmt.Sprintf("ProfilerStep#%d", step),
			Cat: trace.CatUserAnnotation, Track: host})
	}
	t.Meta.WindowStart, t.Meta.WindowEnd, _ = t.Extent()
	return t
}

func TestMergeEqualsSum(t *testing.T) {
	a, b := rankTrace(0), rankTrace(1)
	list := []Ranked[analysis.KernelBreakdown]{{"0", analysis.Kernels(a, analysis.Options{})},
		{"1", analysis.Kernels(b, analysis.Options{})}}
	sum := func(l []Ranked[analysis.KernelBreakdown]) (n, ns int64, share float64) {
		for i := range l {
			for _, k := range l[i].Value.Kernels {
				n, ns, share = n+k.Count, ns+k.SumNs, share+k.Share
			}
		}
		return n, ns, share
	}
	n, ns, _ := sum(list)
	m := MergeKernels(list)
	if len(m) != 1 || m[0].Label != AllRanks {
		t.Fatalf("merged: %+v", m)
	}
	if gotN, gotNs, share := sum(m); gotN != n || gotNs != ns || share < 0.999 || share > 1.001 {
		t.Errorf("merged: %d slices, %d ns, shares of %f; want %d, %d", gotN, gotNs, share, n, ns)
	}
	if one := MergeKernels(list[:1]); one[0].Label != "0" {
		t.Error("one rank was merged")
	}
	ops := []Ranked[analysis.OpTable]{{"0", analysis.Ops(a, analysis.Options{}, analysis.OpOptions{})},
		{"1", analysis.Ops(b, analysis.Options{}, analysis.OpOptions{})}}
	got := MergeOps(ops)[0].Value
	if want := ops[0].Value.DeviceNs + ops[1].Value.DeviceNs; got.DeviceNs != want ||
		len(got.Rows) != len(ops[0].Value.Rows) {
		t.Errorf("merged operators: %d ns in %d rows, want %d in %d", got.DeviceNs, len(got.Rows), want,
			len(ops[0].Value.Rows))
	}
}

func TestSort(t *testing.T) {
	tab := &Table{Name: "t", Columns: []Column{{Key: "name", Title: "name"}, {Key: "n", Title: "n"}}}
	for _, n := range []int{3, 20, 1} {
		tab.Add(Str(fmt.Sprint("x", n)), Int(n))
	}
	tab.Add(Str("none"), NoValue)
	order := func() string {
		var s []string
		for _, r := range tab.Rows() {
			s = append(s, r[0].Raw)
		}
		return strings.Join(s, " ")
	}
	for _, c := range []struct {
		key  string
		desc bool
		want string
	}{{"n", true, "x20 x3 x1 none"}, {"n", false, "x1 x3 x20 none"}, {"name", true, "none x1 x20 x3"},
		{"name", false, "x3 x20 x1 none"}} {
		if err := tab.Sort(c.key, c.desc); err != nil || order() != c.want {
			t.Errorf("by %s, descending %v: %s, %v; want %s", c.key, c.desc, order(), err, c.want)
		}
	}
	if err := tab.Sort("size", true); err == nil || !strings.Contains(err.Error(), "it has name, n") {
		t.Errorf("unknown column: %v", err)
	}
}

func TestKernelName(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ampere_sgemm_32x32_sliced1x4_tn", "ampere_sgemm_32x32_sliced1x4_tn"},
		{"Memcpy DtoD (Device -> Device)", "Memcpy DtoD (Device -> Device)"},
		{"Memset (Device)", "Memset (Device)"},
		{"ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", "ncclKernel_AllReduce_RING_LL_Sum_float"},
		{"void cudnn::ops::nchwToNhwcKernel<float, false, (cudnnKernelDataType_t)2>(cudnn::ops::p<float>, float*)",
			"nchwToNhwcKernel<float, false, (cudnnKernelDataType_t)2>"},
		{"void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3> >(int, at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3>)", "CUDAFunctor_add<float> (vectorized_elementwise)"},
		{"void at::native::vectorized_elementwise_kernel<4, at::native::BinaryFunctor<float, float, float, at::native::(anonymous namespace)::threshold_kernel_impl<float>(at::TensorIteratorBase&, float, float)::{lambda(float, float)#1}>, at::detail::Array<char*, 3> >(int, float)", "threshold_kernel_impl<float> (vectorized_elementwise)"},
		{"void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl<at::native::CUDAFunctor_add<float> >(at::TensorIteratorBase&, at::native::CUDAFunctor_add<float> const&)::{lambda(int)#1}>(int)", "CUDAFunctor_add<float> (elementwise)"},
		{"void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float>, unsigned int, float, 4> >(int)", "MeanOps<float, float> (reduce)"},
		{"void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_256x64_16x4_nn_align4>(cutlass_80_tensorop_s1688gemm_256x64_16x4_nn_align4::Params)", "cutlass_80_tensorop_s1688gemm_256x64_16x4_nn_align4"},
		{"void k<(a::b)1, c::d<e::f> >(x, y(*)(z))", "k<(b)1, d<f>>"},
		{"void broken<at::native::x", "broken<x"},
		{"operator<", "operator<"}, {"", ""}, {"<", "<"}, {"void <>()", "<>"},
	} {
		if got := KernelName(c.in); got != c.want {
			t.Errorf("KernelName(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// No name makes it panic, grow, or come out empty.
func TestKernelNameProperty(t *testing.T) {
	piece := rapid.SampledFrom([]string{"void ", "at::", "native::", "k", "<", ">", "(", ")", ",", " ", "::",
		"{lambda(int)#1}", "operator()", "float", "gpu_kernel_impl", "ReduceOp", "elementwise_kernel", "4", "->", "é"})
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(piece, 0, 20).Draw(t, "name"), "")
		got := KernelName(s)
		if len(got) > len(s)+len("  (vectorized_elementwise)") {
			t.Errorf("%q became longer: %q", s, got)
		}
	})
}

func TestDivide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 6).Draw(t, "parts")
		n := rapid.IntRange(0, 200).Draw(t, "cells")
		var sum int64
		for _, p := range parts {
			sum += p
		}
		got := 0
		for i, c := range divide(parts, n) {
			got += c
			if c < 0 || parts[i] == 0 && sum > 0 && c > 1 {
				t.Fatalf("%v in %d cells: %v", parts, n, divide(parts, n))
			}
		}
		if want := n; sum > 0 && got != want {
			t.Fatalf("%v in %d cells: %d cells used", parts, n, got)
		}
	})
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		in   []int
		want string
	}{{nil, ""}, {[]int{3}, "3"}, {[]int{0, 1, 2, 3, 8}, "0-3,8"}, {[]int{5, 4}, "5,4"}} {
		if got := ranges(c.in); got != c.want {
			t.Errorf("%v: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestInspection(t *testing.T) {
	tr := rankTrace(0)
	tr.Meta.Extra = map[string]string{"INFO": `["` + strings.Repeat("x", 400) + `"]`,
		"traceName": `"a\u001b[31mb.json"`}
	tr.Repairs.Add(trace.RepairNoDur, 3)
	tables := []*Table{CountTable(tr), TrackTable(tr), GroupTable(tr),
		RepairTable([]Ranked[map[string]int]{{"", tr.Repairs.Count}})}
	var b bytes.Buffer
	if err := Inspection(&b, "rank0.json", MetaFacts(tr), tables, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "inspect_100.txt", b.Bytes())
	checkShape(t, b.String(), TextOptions{Width: DefaultWidth})
}

func TestWorldLine(t *testing.T) {
	meta := func(stage string, rank int) *trace.Meta {
		return &trace.Meta{Stage: stage, StageID: -1, Rank: rank, WorldSize: 2}
	}
	list := []*trace.Meta{meta("thinker", 0), meta("thinker", 1), meta("talker", 0)}
	names := []string{"thinker 0", "thinker 1", "talker 0"}
	want := "Ranks are compared within each of 2 groups that ran side by side: thinker 0, thinker 1; talker 0."
	if got := WorldLine(list, names); got != want {
		t.Errorf("got %q", got)
	}
	if got := WorldLine(list[:2], names) + WorldLine(list[1:], names[1:]); got != "" {
		t.Errorf("one world, or one rank in each: %q", got)
	}
}

// A table whose columns have keys alone, or titles alone, is no empty one anywhere.
func TestTableOfOneKindOfHead(t *testing.T) {
	for _, columns := range [][]Column{{{Key: "name"}, {Key: "n"}}, {{Title: "name"}, {Title: "n"}}} {
		tab := &Table{Name: "t", Title: "T", Columns: columns}
		tab.Add(Str("x"), Int(2))
		tab.Add(Str("y"), Int(3))
		var csv, text strings.Builder
		if err := tab.Sort("n", true); err != nil {
			t.Error(err)
		}
		if err := tab.CSV(&csv); err != nil || csv.String() != "name,n\ny,3\nx,2\n" {
			t.Errorf("%v: %v, CSV %q", columns, err, csv.String())
		}
		if err := Page(&text, "", "", []Section{{Tables: []*Table{tab}}}, TextOptions{}); err != nil ||
			!strings.Contains(text.String(), "name n") && !strings.Contains(text.String(), "name  n") {
			t.Errorf("%v: %v, text %q", columns, err, text.String())
		}
	}
}
