package analysis

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
)

// rowOf returns the row of a name.
func rowOf(t *testing.T, rows []OpRow, name string) OpRow {
	t.Helper()
	for _, r := range rows {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no row %q", name)
	return OpRow{}
}

func TestNest(t *testing.T) {
	m := newMaker()
	outer := m.op("outer", 0, 100)
	a := m.op("a", 10, 20)
	b := m.op("b", 30, 10) // begins where a ends
	zero := m.op("zero", 40, 0)
	late := m.op("late", 90, 10.5) // outlasts by rounding: still a child
	far := m.op("far", 95, 20)     // outlasts by far: a sibling
	twin := m.op("twin", 200, 5)
	twin2 := m.op("twin", 200, 5)
	end := m.op("end", 205, 0) // at the end of the twins, nothing begins
	f := newFrame(m.tr, Options{})
	tr := f.nest(f.hostWork)
	got := map[int]int32{}
	for _, i := range []int{outer, a, b, zero, late, far, twin, twin2, end} {
		got[i] = tr.parent[i]
	}
	if diff := cmp.Diff(map[int]int32{outer: -1, a: int32(outer), b: int32(outer), zero: int32(b), late: int32(outer),
		far:  -1,
		twin: -1, twin2: int32(twin), end: int32(twin2)}, got); diff != "" {
		t.Errorf("parents (-want +got):\n%s", diff)
	}
}

func TestOps(t *testing.T) {
	m := newMaker()
	m.slice(m.host, trace.CatPythonFunction, "model.py(1): forward", 0, 200, "")
	m.slice(m.host, trace.CatUserAnnotation, "step", 0, 100, "")
	m.slice(m.host, trace.CatCPUOp, "aten::linear", 10, 40,
		`{"Input Dims": [[2, 3], [4, 3]], "Input type": ["float", "float"]}`)
	m.slice(m.host, trace.CatPythonFunction, "inner.py(2): f", 12, 30, "")
	m.op("aten::linear", 15, 20) // the same name inside
	m.launched(m.s7, "gemm", 20, 5, 30, 50)
	m.slice(m.host, trace.CatCPUOp, "aten::linear", 60, 10,
		`{"Input Dims": [[8, 3], [4, 3]], "Input type": ["float", "float"]}`)
	m.kernel(m.s7, "orphan", 90, 7)
	got := Ops(m.tr, Options{}, OpOptions{})
	l := rowOf(t, got.Rows, "aten::linear")
	want(t, "count", l.Count, 3)
	want(t, "total", l.CPUNs, 50_000) // nested call not twice
	want(t, "self", l.SelfCPUNs, 20_000+15_000+10_000)
	want(t, "device", l.DeviceNs, 50_000)
	want(t, "self device", l.SelfDeviceNs, 50_000)
	want(t, "flops", l.FLOPs, 2*2*3*4+2*8*3*4)
	s := rowOf(t, got.Labels, "step") // a label is no operator
	want(t, "step self", s.SelfCPUNs, 50_000)
	want(t, "step device", s.DeviceNs, 50_000)
	want(t, "step self device", s.SelfDeviceNs, 0)
	want(t, "all self", got.CPUNs, 100_000)
	want(t, "unattributed", got.UnattributedNs, 7_000)
	want(t, "by shape", len(Ops(m.tr, Options{}, OpOptions{ByShape: true}).Rows), 4)
	for _, r := range Ops(m.tr, Options{}, OpOptions{ByStack: true}).Rows {
		if r.Name == "cudaLaunchKernel" {
			want(t, "stack", r.Stack, "inner.py(2): f\nmodel.py(1): forward")
		}
	}
	one := Ops(m.tr, Options{}, OpOptions{ByStack: true, StackDepth: 1})
	for _, r := range one.Rows {
		if r.Name == "cudaLaunchKernel" {
			want(t, "one frame", r.Stack, "inner.py(2): f")
		}
	}
}

func TestOpsStackArgument(t *testing.T) {
	m := newMaker()
	m.slice(m.host, trace.CatCPUOp, "aten::add", 0, 10, `{"Call stack": "a.py(1): f;b.py(2): g;c.py(3): h"}`)
	got := Ops(m.tr, Options{}, OpOptions{ByStack: true, StackDepth: 2})
	want(t, "stack", got.Rows[0].Stack, "a.py(1): f\nb.py(2): g")
}

func TestAnnotations(t *testing.T) {
	m := newMaker()
	m.slice(m.host, trace.CatUserAnnotation, "step", 0, 100, "")
	m.slice(m.host, trace.CatUserAnnotation, "forward", 10, 40, "")
	m.slice(m.host, trace.CatUserAnnotation, "forward", 60, 20, "")
	m.launched(m.s7, "k", 20, 5, 30, 8)
	m.launched(m.s7, "k", 90, 5, 200, 3)
	m.slice(m.s7, trace.CatGPUUserAnnotation, "step", 29, 200, "")
	m.slice(m.s7, trace.CatGPUUserAnnotation, "forward", 30, 10, "")
	got := AnnotationBreakdown(m.tr, Options{})
	want(t, "first", got.CPU[0].Name, "step")
	want(t, "step busy", got.CPU[0].BusyNs, 3_000)
	f := got.CPU[1]
	want(t, "count", f.Count, 2)
	want(t, "sum", f.SumNs, 60_000)
	want(t, "max", f.MaxNs, 40_000)
	want(t, "busy", f.BusyNs, 8_000)
	want(t, "device rows", len(got.GPU), 2)
	want(t, "device step busy", got.GPU[0].BusyNs, 3_000)
	want(t, "device forward busy", got.GPU[1].BusyNs, 8_000)
}

func TestSequences(t *testing.T) {
	m := newMaker()
	at := 0.0
	call := func(op string, kernels ...string) {
		m.op(op, at, 50)
		m.op("aten::inner", at+1, 40)
		for i, k := range kernels {
			m.launched(m.s7, k, at+2+float64(i)*5, 2, at+10+float64(i)*10, 4)
		}
		at += 100
	}
	call("aten::layer_norm", "mean", "var", "scale")
	call("aten::layer_norm", "mean", "var", "scale")
	call("aten::layer_norm", "fused", "var", "scale")
	call("aten::layer_norm", "mean", "var") // too short
	call("aten::softmax", "max", "sum", "div")
	got := Sequences(m.tr, Options{}, "layer_norm", 0)
	want(t, "patterns", len(got), 2)
	want(t, "pattern", got[0].Pattern(), "aten::layer_norm|mean|var|scale")
	want(t, "count", got[0].Count, 2)
	want(t, "gpu", got[0].GPUNs, 24_000)
	want(t, "cpu", got[0].CPUNs, 100_000)
	want(t, "every operator", len(Sequences(m.tr, Options{}, "", 3)), 3)
	want(t, "nothing", len(Sequences(m.tr, Options{}, "conv", 3)), 0)
}

func TestMemory(t *testing.T) {
	m := newMaker()
	m.op("aten::mm", 0, 10)
	m.op("aten::relu", 20, 10)
	ev := func(at float64, bytes, addr, total string) {
		m.tr.AddInstant(int64(at*1000), trace.NameMemory, trace.CatCPUInstant, m.host,
			[]byte(`{"Device Type": 1, "Device Id": 0, "Bytes": `+bytes+`, "Addr": `+addr+`, "Total Allocated": `+total+
				`, "Total Reserved": 4096}`))
	}
	ev(5, "100", "1", "600") // 500 were there before
	ev(25, "300", "2", "900")
	ev(40, "-100", "1", "800")
	ev(50, "-500", "9", "300") // allocated before the trace
	got := Memory(m.tr, Options{})
	want(t, "devices", len(got.Devices), 1)
	d := got.Devices[0]
	want(t, "base", d.BaseBytes, 500)
	want(t, "peak", d.PeakBytes, 900)
	want(t, "peak at", d.PeakTimeNs, 25_000)
	want(t, "end", d.EndBytes, 300)
	want(t, "freed early", d.FreedBeforeTime, 500)
	want(t, "reserved", d.PeakReserved, 4096)
	if diff := cmp.Diff([]MemoryOp{{"aten::relu", 1, 300, 300, 300}, {"aten::mm", 1, 100, 100, 0}},
		d.ByOp); diff != "" {
		t.Errorf("by op (-want +got):\n%s", diff)
	}
}

func TestMemoryWithoutTotals(t *testing.T) {
	m := newMaker()
	for i, b := range []string{"10", "-30", "50"} {
		m.tr.AddInstant(int64(i), trace.NameMemory, trace.CatCPUInstant, m.host,
			[]byte(`{"Device Type": 0, "Device Id": -1, "Bytes": `+b+`}`))
	}
	d := Memory(m.tr, Options{}).Devices[0]
	want(t, "base", d.BaseBytes, 20)
	want(t, "peak", d.PeakBytes, 50)
	want(t, "device", d.DeviceID, -1)
}

func TestRoofline(t *testing.T) {
	m := newMaker()
	arg := func(dims string) string { return `{"Input Dims": ` + dims + `, "Input type": ["c10::Half"]}` }
	m.slice(m.host, trace.CatCPUOp, "aten::linear", 0, 50, arg("[[8, 16, 32], [64, 32], [64]]"))
	m.slice(m.host, trace.CatCPUOp, "aten::addmm", 5, 40, arg("[[64], [128, 32], [32, 64]]")) // inside: not again
	m.launched(m.s7, "gemm", 10, 5, 100, 2)
	m.slice(m.host, trace.CatCPUOp, "aten::bmm", 60, 10, arg("[[2, 3, 4], [2, 4, 5]]"))
	m.slice(m.host, trace.CatCPUOp, "native::gemv", 80, 10, `{"flops": 1000, "bytes": 500}`)
	m.slice(m.host, trace.CatCPUOp, "aten::mm", 95, 1, arg("[[2, 3], [4, 5]]")) // shapes do not fit
	got := Roofline(m.tr, Options{}, FixedRoof(Roof{FLOPs: 1e15, Bytes: 1e12}))
	rows := map[string]RooflineRow{}
	for _, r := range got.Rows {
		rows[r.Name] = r
	}
	want(t, "rows", len(rows), 3)
	l := rows["aten::linear"]
	want(t, "linear", l.FLOPs, 2*128*32*64)
	want(t, "bytes", l.Bytes, 2*(128*32+64*32+128*64))
	want(t, "ns", l.Ns, 2_000)
	wantNear(t, "rate", l.GFLOPs, 2*128*32*64/2000.0)
	want(t, "bound", l.Bound, "memory")
	wantNear(t, "of the roof", l.RoofShare, l.GFLOPs*1e9/(l.Intensity*1e12))
	want(t, "bmm", rows["aten::bmm"].FLOPs, 2*2*3*4*5)
	want(t, "native", rows["native::gemv"].FLOPs, 1000)
	want(t, "native on host", rows["native::gemv"].Ns, 10_000)
}

func TestRoofsOf(t *testing.T) {
	m := newMaker()
	if RoofsOf(m.tr) != nil {
		t.Error("an unknown card has a roof")
	}
	m.tr.Meta.Devices = []trace.Device{{Name: "NVIDIA A100-SXM4-80GB"}}
	r, ok := RoofsOf(m.tr)("c10::BFloat16")
	want(t, "known", ok, true)
	want(t, "FLOPs", r.FLOPs, 312e12)
	_, ok = RoofsOf(m.tr)("c10::Float8_e4m3fn") // an A100 has none
	want(t, "no such type", ok, false)
}

func TestConvolutionWork(t *testing.T) {
	dims := [][]int64{{1, 3, 224, 224}, {64, 3, 7, 7}, {}}
	in := []string{"", "", "", "[2, 2]", "[3, 3]", "[1, 1]", "1"}
	flops, _, ok := convWork(dims, in)
	want(t, "known", ok, true)
	want(t, "ResNet's first layer", flops, int64(2*64*112*112*3*7*7)) // 236 MFLOPs
	_, _, ok = convWork(dims, nil)
	want(t, "no stride known", ok, false)
	back := [][]int64{{1, 64, 112, 112}, {1, 3, 224, 224}, {64, 3, 7, 7}}
	flops, _, _ = convBackwardWork(back, nil)
	want(t, "both gradients", flops, int64(2*2*64*112*112*3*7*7))
	mask := append(make([]string, 10), "[False, True, False]")
	flops, _, _ = convBackwardWork(back, mask)
	want(t, "weight's gradient", flops, int64(2*64*112*112*3*7*7))
}

func TestComms(t *testing.T) {
	m := newMaker()
	args := `"Collective name": "allreduce", "In msg nelems": 1000000, "Out msg nelems": 1000000, "dtype": "BFloat16", "Group size": 4, "Process Group Name": "0"`
	m.slice(m.s20, trace.CatKernel, "ncclDevKernel_AllReduce", 0, 100, "{"+args+"}")
	m.slice(m.s20, trace.CatKernel, "ncclDevKernel_AllReduce", 200, 50, "{"+args+"}")
	// An older file has the arguments on the host only.
	m.slice(m.host, trace.CatCPUOp, "record_param_comms", 300, 20,
		`{"Collective name": "_allgather_base", "In msg nelems": 10, "Out msg nelems": 40, "dtype": "Float", "Group size": 4, "Process Group Name": "0"}`)
	m.launched(m.s20, "ncclKernel_AllGather", 305, 5, 330, 4)
	m.kernel(m.s20, "ncclDevKernel_SendRecv", 500, 10)
	got := Comms(m.tr, Options{})
	want(t, "rows", len(got.Rows), 3)
	want(t, "unknown", got.Unknown, 1)
	want(t, "by its name", got.Rows[1].Op, "sendrecv")
	r := got.Rows[0]
	want(t, "bytes", r.Bytes, 2_000_000)
	want(t, "count", r.Count, 2)
	wantNear(t, "best bus bandwidth", r.BestBusGBs, 2_000_000.0/50_000*2*3/4)
	g := got.Rows[2]
	want(t, "op", g.Op, "allgather")
	want(t, "size", g.Bytes, 160)
	wantNear(t, "bus bandwidth", g.BusGBs, 160.0/4_000*3/4)
}

func TestHostComms(t *testing.T) {
	m := newMaker()
	m.slice(m.host, trace.CatCPUOp, trace.NameAllReduce, 0, 100,
		`{"Collective name": "allreduce", "In msg nelems": 256, "dtype": "Float", "Group size": 2, "Seq": 7}`)
	m.slice(m.host, trace.CatCPUOp, "record_param_comms", 200, 1, `{"Collective name": "wait"}`)
	got := Comms(m.tr, Options{})
	want(t, "collectives", len(got.Collectives), 1)
	want(t, "number", got.Collectives[0].Seq, 7)
	want(t, "bytes", got.Rows[0].Bytes, 1024)
}

func TestCounters(t *testing.T) {
	m := newMaker()
	for _, v := range []string{"10", "30"} {
		m.slice(m.s7, trace.CatProfilerRange, "gemm", 0, 5, `{"smsp__inst_executed.sum": `+v+`, "text": "x"}`)
	}
	got := Counters(m.tr, Options{})
	want(t, "rows", len(got.Rows), 1)
	want(t, "metrics", len(got.Rows[0].Metrics), 1)
	want(t, "mean", got.Rows[0].Metrics[0].Stats.Mean, 20)
	want(t, "time", got.Rows[0].Ns, 10_000)
}
