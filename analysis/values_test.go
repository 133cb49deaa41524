package analysis

import (
	"fmt"
	"math"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Each test works one formula out by hand. Inputs are chosen so that a sum taken for a difference,
// a product for a quotient and a bound off by one give another number.

func TestDescribe(t *testing.T) {
	// Mean 6; squared deviations 16+4+4+9+49+0 = 82 of 6 numbers; quartiles at places 1.25, 2.5, 3.75.
	got := describe([]float64{2, 4, 8, 9, 13, 0})
	want(t, "count", got.Count, 6)
	wantNear(t, "sum", got.Sum, 36)
	wantNear(t, "mean", got.Mean, 6)
	wantNear(t, "std", got.Std, math.Sqrt((16+4+4+9+49+36)/5.0))
	wantNear(t, "min", got.Min, 0)
	wantNear(t, "p25", got.P25, 2+0.25*2)
	wantNear(t, "p50", got.P50, 6)
	wantNear(t, "p75", got.P75, 8+0.75*1)
	wantNear(t, "p99", got.P99, 9+0.95*4)
	wantNear(t, "max", got.Max, 13)
	one := describe([]float64{7})
	want(t, "one number", one, Stats{Count: 1, Sum: 7, Mean: 7, Min: 7, P25: 7, P50: 7, P75: 7, P99: 7, Max: 7})

	var a agg
	for _, d := range []int64{8, 2, 4, 9, 13, 0} {
		a.add(d)
	}
	want(t, "accumulated", [4]int64{a.n, a.sum, a.min, a.max}, [4]int64{6, 36, 0, 13})
	wantNear(t, "accumulated std", a.std(), got.Std)
}

func TestWeigh(t *testing.T) {
	// 4 for 10 ns, 0 for 20, 2 for 60, 10 for 10; then the end.
	w := weigh([]Point{{100, 4}, {110, 0}, {130, 2}, {190, 10}, {200, 77}})
	want(t, "weighed", w, Weighted{SpanNs: 100, Mean: 2.6, P50: 2, P90: 4, P99: 10, Max: 77, ActiveNs: 80,
		ActiveMean: 3.25})
	want(t, "a moment", weigh([]Point{{100, 4}}), Weighted{Max: 4})
	want(t, "nothing", weigh(nil), Weighted{})

	// At one time one point, the last; what is all off again is exactly 0.
	got := accumulate([]step{{at: 10, delta: 0.1}, {at: 20, delta: 0.2}, {at: 30, delta: -0.1}, {at: 30, delta: 0.4},
		{at: 40, delta: -0.2}, {at: 50, delta: -0.4}})
	at := []int64{10, 20, 30, 40, 50}
	for i, v := range []float64{0.1, 0.3, 0.6, 0.4, 0} {
		want(t, "time of a point", got[i].TimeNs, at[i])
		wantNear(t, "value of a point", got[i].Value, v)
	}
	if len(got) != 5 || got[4].Value != 0 {
		t.Errorf("points %v", got)
	}
}

func TestMannWhitneyApproximation(t *testing.T) {
	// 20 and 30 numbers without ties are more than are counted out: the ranks of a are 1 … 10 and
	// 21 … 30, 310 in sum, so U is 310 - 210 = 100 of 600, 199.5 below the mean with the correction.
	var a, b []float64
	for i := range 50 {
		if i < 10 || i >= 20 && i < 30 {
			a = append(a, float64(i))
		} else {
			b = append(b, float64(i))
		}
	}
	sd := math.Sqrt(20 * 30 / 12.0 * 51)
	wantNear(t, "without ties", mannWhitney(a, b), math.Erfc((300-100-0.5)/sd/math.Sqrt2))
	// Four numbers a side, two values: ranks 2 (of 1, 1, 1) and 6 (of five): a has 2+2+6+6 = 16, U 6
	// of 16; ties 27-3 + 125-5 = 144.
	sd = math.Sqrt(4 * 4 / 12.0 * (9 - 144/(8*7.0)))
	wantNear(t, "with ties", mannWhitney([]float64{1, 1, 5, 5}, []float64{1, 5, 5, 5}),
		math.Erfc((8-6-0.5)/sd/math.Sqrt2))
	wantNear(t, "all alike", mannWhitney([]float64{3, 3}, []float64{3, 3, 3}), 1)
}

func TestOperatorWork(t *testing.T) {
	for _, c := range []struct {
		op              string
		dims            string
		flops, elements int64 // 0: not known
	}{
		{"aten::mm", "[[2,3],[3,5]]", 2 * 2 * 3 * 5, 2*3 + 3*5 + 2*5},
		{"aten::mm", "[[2,3],[4,5]]", 0, 0}, {"aten::mm", "[[2,3]]", 0, 0}, {"aten::mm", "[[],[3,5]]", 0, 0},
		{"aten::_int_mm", "[[2,3],[3,5]]", 60, 31}, {"aten::_scaled_mm", "[[2,3],[3,5]]", 60, 31},
		{"aten::addmm", "[[5],[2,3],[3,5]]", 60, 31}, {"aten::addmm", "[[2,3],[3,5]]", 0, 0},
		{"aten::_addmm_activation", "[[5],[2,3],[3,5]]", 60, 31},
		{"aten::bmm", "[[7,2,3],[7,3,5]]", 7 * 60, 7 * 31}, {"aten::bmm", "[[7,2,3],[6,3,5]]", 0, 0},
		{"aten::bmm", "[[7,2,3],[7,4,5]]", 0, 0}, {"aten::bmm", "[[7,2,3]]", 0, 0},
		{"aten::baddbmm", "[[1],[7,2,3],[7,3,5]]", 7 * 60, 7 * 31},
		{"aten::linear", "[[4,2,3],[5,3],[5]]", 2 * 8 * 3 * 5, 8*3 + 5*3 + 8*5},
		{"aten::linear", "[[3],[5,3]]", 30, 3 + 15 + 5},
		{"aten::linear", "[[4,2],[5,3]]", 0, 0}, {"aten::linear", "[[],[5,3]]", 0, 0},
		{"aten::linear", "[[4,3]]", 0, 0},
		// 2 · batch·heads · queries · keys · (size of a key + size of a value)
		{"aten::scaled_dot_product_attention", "[[2,3,5,7],[2,3,11,7],[2,3,11,13]]", 2 * 6 * 5 * 11 * (7 + 13),
			6*5*7 + 6*11*7 + 6*11*13 + 6*5*13},
		{"aten::_scaled_dot_product_flash_attention", "[[2,3,5,7],[2,3,11,7],[2,3,11,13]]", 13200,
			210 + 462 + 858 + 390},
		{"aten::_scaled_dot_product_flash_attention_backward", "[[2,3,5,7],[2,3,11,7],[2,3,11,13]]", 0, 0},
		{"aten::scaled_dot_product_attention", "[[2,3,5,7],[2,3,11,7]]", 0, 0},
		{"aten::scaled_dot_product_attention", "[[2,3,5,7],[3,11,7],[2,3,11,13]]", 0, 0},
		{"aten::scaled_dot_product_attention", "[[5,7],[2,3,11,7],[2,3,11,13]]", 0, 0},
		{"aten::add", "[[2,3],[3,5]]", 0, 0},
	} {
		flops, elements, ok := flopKindOf(c.op).work(parseDims([]byte(c.dims)))
		if flops != c.flops || elements != c.elements || ok != (c.flops > 0) {
			t.Errorf("%s of %s: %d FLOPs, %d elements, %v; want %d and %d", c.op, c.dims, flops, elements, ok, c.flops,
				c.elements)
		}
	}
}

func TestConvolutionGradients(t *testing.T) {
	// The gradient of [2,5,4,4] through weights [5,3,2,2]: 2 · 160 · 12 = 3840 for each that is wanted.
	dims := parseDims([]byte("[[2,5,4,4],[2,3,5,5],[5,3,2,2]]"))
	mask := func(m string) []string {
		in := make([]string, 11)
		in[10] = m
		return in
	}
	const moved = 2*5*4*4 + 2*3*5*5 + 5*3*2*2
	for _, c := range []struct {
		in              []string
		flops, elements int64
	}{
		{nil, 2 * 3840, moved + 2*150}, {mask("[True, False, True]"), 3840, moved + 150},
		{mask("[1, 1, 0]"), 7680, moved + 300},
		{mask("[False, False, True]"), 0, moved}, {mask("[false,true]"), 3840, moved + 150},
		{mask(""), 7680, moved + 300},
	} {
		flops, elements, ok := convBackwardWork(dims, c.in)
		if flops != c.flops || elements != c.elements || ok != (c.flops > 0) {
			t.Errorf("%q: %d FLOPs, %d elements, %v; want %d and %d", c.in, flops, elements, ok, c.flops, c.elements)
		}
	}
	for _, odd := range []string{"[[2,5,4,4],[2,3,5,5]]", "[[2,5],[2,3],[5,3]]", "[[2,5,4],[2,3,5,5],[5,3,2,2]]",
		"[[2,5,4,4],[2,3,5],[5,3,2,2]]"} {
		if _, _, ok := convBackwardWork(parseDims([]byte(odd)), nil); ok {
			t.Errorf("the work of %s is known", odd)
		}
	}
	// 8 long, padded by 1, 3 wide, dilated by 2, each second: (8 + 2 - 4 - 1)/2 + 1 = 3 places.
	in := []string{"", "", "", "[2]", "[1]", "[2]", "False"}
	flops, elements, ok := convWork(parseDims([]byte("[[4,6,8],[10,6,3]]")), in)
	if flops != 2*4*10*3*6*3 || elements != 4*6*8+10*6*3+4*10*3 || !ok {
		t.Errorf("a convolution: %d FLOPs, %d elements, %v", flops, elements, ok)
	}
	for k, text := range map[int]string{3: "[0]", 4: "x", 5: "[]", 1: "", 0: ""} {
		bad := append([]string{}, in...)
		bad[k] = text
		if _, _, ok := convWork(parseDims([]byte("[[4,6,8],[10,6,3]]")), bad); ok == (k > 2) {
			t.Errorf("input %d %q: known is %v", k, text, ok)
		}
	}
	for _, odd := range []string{"[[4,6,8]]", "[[4,6],[10,6]]", "[[4,6,8],[10,6,3,3]]", "[[4,6,1],[10,6,9]]"} {
		if _, _, ok := convWork(parseDims([]byte(odd)), in); ok {
			t.Errorf("the work of %s is known", odd)
		}
	}
	if _, _, ok := convWork(parseDims([]byte("[[4,6,8],[10,6,3]]")), in[:5]); ok {
		t.Error("the work of a convolution without a dilation is known")
	}
}

func TestRooflineValues(t *testing.T) {
	m := newMaker()
	const dims = `{"Input Dims": [[100, 100], [100, 100]], "Input type": ["float", "float"]}`
	mm := m.slice(m.host, trace.CatCPUOp, "aten::mm", 0, 50, dims)
	m.slice(m.host, trace.CatCPUOp, "aten::mm", 100, 30, dims)
	m.slice(m.host, trace.CatCPUOp, "aten::add", 200, 20, "")
	// 2 calls of 2·10⁶ FLOPs, 30000 elements of 4 bytes each, in 80 µs of the host.
	got := Roofline(m.tr, Options{}, func(string) (Roof, bool) { return Roof{FLOPs: 1e11, Bytes: 1e9}, true })
	wantNear(t, "known share", got.KnownShare, 0.8)
	want(t, "all FLOPs", got.FLOPs, 4_000_000)
	row := got.Rows[0]
	want(t, "calls, FLOPs, bytes, time", [4]int64{row.Count, row.FLOPs, row.Bytes, row.Ns},
		[4]int64{2, 4_000_000, 240_000, 80_000})
	want(t, "first, on a device, bound", fmt.Sprint(row.First, row.OnDevice, row.Bound),
		fmt.Sprint(mm, false, "memory"))
	wantNear(t, "GFLOP/s", row.GFLOPs, 50)
	wantNear(t, "FLOP a byte", row.Intensity, 4_000_000/240_000.0)
	wantNear(t, "of the roof", row.RoofShare, 50e9/(1e9*4_000_000/240_000.0))
	// A card with more traffic is bound by its arithmetic.
	got = Roofline(m.tr, Options{}, func(string) (Roof, bool) { return Roof{FLOPs: 1e11, Bytes: 1e12}, true })
	want(t, "bound", got.Rows[0].Bound, "compute")
	wantNear(t, "of the roof", got.Rows[0].RoofShare, 0.5)
	for _, roof := range []Roof{{FLOPs: 1e11}, {Bytes: 1e9}, {FLOPs: -1, Bytes: 1e9}} {
		got = Roofline(m.tr, Options{}, func(string) (Roof, bool) { return roof, true })
		want(t, "bound of a card of which one figure is missing", got.Rows[0].Bound, "")
	}
	// With device work its time counts, launched or not by what is known.
	host, dev := m.launched(m.s7, "gemm", 10, 5, 20, 10)
	m.launched(m.s7, "add", 205, 5, 220, 30)
	m.kernel(m.s7, "unlaunched", 400, 500)
	got = Roofline(m.tr, Options{}, nil)
	row = got.Rows[0]
	want(t, "time and place", fmt.Sprint(row.Ns, row.OnDevice, host < dev), fmt.Sprint(10_000, true, true))
	wantNear(t, "known share", got.KnownShare, 0.25)
	wantNear(t, "GFLOP/s", row.GFLOPs, 400)
	want(t, "bound without a card", row.Bound, "")
}

func TestTemporalValues(t *testing.T) {
	m := newMaker()
	m.kernel(m.s7, "gemm", 100, 40)                                                // compute [100,140)
	m.slice(m.s20, trace.CatKernel, "ncclDevKernel_AllReduce_Sum", 120, 40, "")    // communication [120,160)
	m.slice(m.other, trace.CatGPUMemcpy, "Memcpy DtoH (Device -> X)", 150, 30, "") // memory [150,180), another device
	m.kernel(m.s7, "gemm", 190, 10)                                                // compute [190,200)
	m.op("aten::mm", 50, 250)                                                      // the window is [50,300)
	got := TemporalBreakdown(m.tr, Options{})
	want(t, "span", got.Window, Window{100_000, 200_000})
	want(t, "compute, exposed communication, exposed memory, other, idle",
		[5]int64{got.ComputeNs, got.ExposedCommunicationNs, got.ExposedMemoryNs, got.OtherNs, got.IdleNs},
		[5]int64{50_000, 20_000, 20_000, 0, 10_000})
	want(t, "communication, memory, busy, not compute, window",
		[5]int64{got.CommunicationNs, got.MemoryNs, got.BusyNs, got.NonComputeNs, got.WindowNs},
		[5]int64{40_000, 30_000, 90_000, 40_000, 250_000})
	wantNear(t, "compute", got.ComputeShare, 0.5)
	wantNear(t, "idle", got.IdleShare, 0.1)
	want(t, "devices", fmt.Sprint(got.Devices), fmt.Sprint([]DeviceTime{{0, 70_000, 0.7, 3}, {1, 30_000, 0.3, 1}}))
	wantNear(t, "mean over devices", got.MeanBusyShare, 0.5)
	want(t, "both devices", got.TogetherNs, 10_000)
	o := CommComputeOverlap(m.tr, Options{})
	want(t, "behind compute", [2]int64{o.CommunicationNs, o.OverlappedNs}, [2]int64{40_000, 20_000})
	wantNear(t, "share behind compute", o.Share, 0.5)
	w := TemporalBreakdown(m.tr, Options{Window: &Window{110_000, 155_000}})
	want(t, "of a window: compute, exposed communication, exposed memory, idle, window",
		[5]int64{w.ComputeNs, w.ExposedCommunicationNs, w.ExposedMemoryNs, w.IdleNs, w.WindowNs},
		[5]int64{30_000, 15_000, 0, 0, 45_000})
}

func TestLaunchValues(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "a", 0, 50, 60, 20)    // a call of the limit, which is short work: delay 10
	m.launched(m.s7, "b", 100, 51, 251, 60) // a call over it: delay 100, the limit
	m.launched(m.s7, "c", 400, 10, 520, 10) // as long as its call: delay 110
	h, _ := m.launched(m.s7, "d", 600, 20, 610, 30)
	e := m.kernel(m.s7, "e", 700, 5) // a second slice of the call: a graph
	m.tr.Slices.Corr[e] = m.tr.Slices.Corr[h]
	m.kernel(m.s7, "f", 900, 5) // no launch
	got := Launches(m.tr, Options{}, LaunchOptions{})
	want(t, "launches, short, slow calls, late, unlinked, graphs", [6]int{got.Count, got.Short, got.RuntimeOutliers,
		got.DelayOutliers, got.Unlinked, got.GraphLaunches}, [6]int{5, 2, 1, 1, 1, 1})
	want(t, "by call", fmt.Sprint(got.Types), fmt.Sprint([]ByCall{{"cudaLaunchKernel", 4, 5, 131_000}}))
	wantNear(t, "mean of a call", got.CPU.Mean, (50_000+51_000+10_000+20_000+20_000)/5.0)
	wantNear(t, "mean of the work", got.GPU.Mean, (20_000+60_000+10_000+30_000+5_000)/5.0)
	// The work of d begins before its call returns; e's delay is 700-620.
	wantNear(t, "mean of the delays", got.Delay.Mean, (10_000+100_000+110_000+0+80_000)/5.0)
}

func TestKernelValues(t *testing.T) {
	m := newMaker()
	m.kernel(m.s7, "a", 0, 10)
	longest := m.kernel(m.s7, "a", 20, 40)
	m.kernel(m.s7, "a", 80, 40)
	m.kernel(m.s20, "ncclKernel_x", 90, 10)
	got := Kernels(m.tr, Options{})
	a := got.Kernels[0]
	want(t, "calls, sum, least, most, longest", [5]int64{a.Count, a.SumNs, a.MinNs, a.MaxNs, int64(a.Worst)},
		[5]int64{3, 90_000, 10_000, 40_000, int64(longest)})
	wantNear(t, "mean", a.MeanNs, 30_000)
	wantNear(t, "std", a.StdNs, 10_000*math.Sqrt((4+1+1)/2.0))
	wantNear(t, "share", a.Share, 0.9)
	want(t, "kinds", fmt.Sprint(got.Types), fmt.Sprint([]KernelType{{[]Kind{KindCompute}, 80_000, 80_000 / 90_000.0},
		{[]Kind{KindCompute, KindCommunication}, 10_000, 10_000 / 90_000.0}}))
	// The rest of a kind is as if its slices had one name.
	rows := LumpKernels([]KernelRow{{Name: "x", Count: 1, SumNs: 9, MaxNs: 9, MinNs: 9, MeanNs: 9},
		{Name: "y", Count: 2, SumNs: 8, MaxNs: 6, MinNs: 2, MeanNs: 4, StdNs: math.Sqrt(8), Share: 0.25, Worst: 3},
		{Name: "z", Count: 3, SumNs: 3, MaxNs: 2, MinNs: 0, MeanNs: 1, StdNs: 1, Share: 0.125, Worst: 5}}, 1)
	// 2, 6 and 0, 1, 2: mean 2.2, squared deviations 0.04+14.44+4.84+1.44+0.04 = 20.8 of 5.
	o := rows[1]
	want(t, "others", fmt.Sprint(o.Name, o.Count, o.SumNs, o.MaxNs, o.MinNs, o.Worst, o.Share),
		"others5 11 6 0 3 0.375")
	wantNear(t, "mean of others", o.MeanNs, 2.2)
	wantNear(t, "std of others", o.StdNs, math.Sqrt(20.8/4))
	if one := LumpKernels(rows[:1], 0)[0]; one.StdNs != 0 || one.Count != 1 {
		t.Errorf("one slice as others: %+v", one)
	}
}

func TestBandwidthValues(t *testing.T) {
	m := newMaker()
	cp := func(name string, start, dur float64, args string) {
		m.slice(m.s7, trace.CatGPUMemcpy, name, start, dur, args)
	}
	cp("Memcpy HtoD (Pinned -> Device)", 0, 10, `{"bytes": 40000}`)                                // 4 GB/s
	cp("Memcpy HtoD (Pinned -> Device)", 5, 10, `{"bytes": 20000, "memory bandwidth (GB/s)": 99}`) // 2 GB/s
	cp("Memcpy HtoD (Pinned -> Device)", 30, 10, `{"memory bandwidth (GB/s)": 1}`)                 // as the file says
	cp("Memcpy HtoD (Pinned -> Device)", 40, 0, `{"bytes": 8, "memory bandwidth (GB/s)": "inf"}`)  // no rate
	cp("Memset (Device)", 50, 10, ``)
	got := Bandwidth(m.tr, Options{})
	want(t, "directions", len(got.Directions), 2)
	d := got.Directions[0]
	want(t, "direction", fmt.Sprint(d.Name, d.Count, d.Bytes, d.BusyNs), fmt.Sprint("Memcpy HtoD", 4, 60_008, 30_000))
	wantNear(t, "mean", d.MeanGBs, 60_008/30_000.0)
	// 4 for 5 µs, 6 for 5, 2 for 5, nothing for 15, 1 for 10.
	want(t, "by time", d.ByTime, Weighted{SpanNs: 40_000, Mean: 70 / 40.0, P50: 1, P90: 6, P99: 6, Max: 6,
		ActiveNs: 25_000, ActiveMean: 2.8})
	want(t, "after each change", fmt.Sprint(d.Points.Count, d.Points.Sum), fmt.Sprint(4, 4+6+2+1.0))
	s := got.Directions[1]
	want(t, "fills", fmt.Sprint(s.Name, s.Count, s.Bytes, s.BusyNs, s.MeanGBs), "Memset1 0 10000 0")
	want(t, "a short name", direction("Memcpy"), "Memcpy")
	want(t, "a name of eleven", direction("Memcpy DtoH"), "Memcpy DtoH")
}

func TestFrameValues(t *testing.T) {
	m := newMaker()
	py := func(track trace.TrackID, name string, start, dur float64) int {
		return m.slice(track, trace.CatPythonFunction, name, start, dur, "")
	}
	py(m.host, "f", 0, 100)
	py(m.host, "g", 10, 20)
	inner := py(m.host, "f", 40, 50) // f inside f: its time is in the outer call's already
	py(m.host, "g", 45, 10)
	py(m.aux, "g", 0, 70)
	m.op("aten::mm", 5, 195) // the window is [0,200)
	got := Frames(m.tr, Options{})
	want(t, "names and time", fmt.Sprint(got.Count, got.SelfNs), fmt.Sprint(2, 170_000))
	g, f := got.Rows[0], got.Rows[1]
	want(t, "g", fmt.Sprint(g.Name, g.Calls, g.SelfNs, g.TotalNs, g.MaxNs),
		fmt.Sprint("g", 3, 100_000, 100_000, 70_000))
	want(t, "f", fmt.Sprint(f.Name, f.Calls, f.SelfNs, f.TotalNs, f.MaxNs, f.Worst < inner),
		fmt.Sprint("f", 2, 70_000, 100_000, 100_000, true))
	wantNear(t, "g of two threads' windows", g.Share, 0.25)
	wantNear(t, "median of g", g.P50Ns, 20_000)
	wantNear(t, "p99 of g", g.P99Ns, 20_000+0.98*50_000)
}

func TestQueueValues(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "a", 0, 1, 10, 5)
	_, second := m.launched(m.s7, "b", 5, 1, 20, 5)
	m.launched(m.s7, "c", 30, 1, 30, 5) // begins with its call: queued for no time
	got := QueueLength(m.tr, Options{}).Streams[0]
	// 1 from 0, 2 from 5, 1 from 10, 0 from 20 to 30.
	want(t, "by time", got.ByTime, Weighted{SpanNs: 30_000, Mean: (5 + 2*5 + 10) / 30.0, P50: 1, P90: 2, P99: 2, Max: 2,
		ActiveNs: 20_000, ActiveMean: 1.25})
	want(t, "longest at", got.MaxAt, second)
	ns, part := got.Blocked(2)
	want(t, "two or more", ns, 5_000)
	wantNear(t, "two or more, of the span", part, 5/30.0)
	want(t, "full", fmt.Sprint(got.BlockedNs, got.FullLength), "0 0")
}

func TestIdleValues(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "a", 0, 1, 10, 10)
	m.launched(m.s7, "b", 2, 1, 25, 5)      // queued, after 5: the start of a kernel
	m.launched(m.s7, "c", 31, 1, 40, 10)    // launched after b's end: 10 for the host
	m.launched(m.s7, "d", 5, 1, 80, 10)     // queued, after 30, the limit: something else
	m.launched(m.s7, "e", 85, 36, 130, 10)  // its call takes 31 of 40: the host
	m.launched(m.s7, "f", 100, 59, 180, 10) // its call takes 19 of 40: something else
	m.kernel(m.s7, "over", 182, 20)         // over f, and longer
	m.launched(m.s7, "g", 100, 1, 203, 1)   // 1 after it
	got := IdleCauses(m.tr, Options{})
	s := got.Streams[0]
	want(t, "idle", s.IdleNs, (5+10+30+40+40+1)*1000)
	for c, ns := range map[IdleCause]int64{HostWait: 50_000, KernelWait: 6_000, OtherWait: 70_000, Unknown: 0} {
		want(t, c.String(), s.Causes[c].Ns, ns)
		wantNear(t, c.String()+", share", s.Causes[c].Share, float64(ns)/126_000)
	}
	want(t, "gaps", [3]int{s.Causes[0].Gaps.Count, s.Causes[1].Gaps.Count, s.Causes[2].Gaps.Count}, [3]int{2, 2, 2})
	var lengths []int64
	for _, g := range got.Longest {
		lengths = append(lengths, g.EndNs-g.StartNs)
	}
	want(t, "longest first, of equal ones the first", fmt.Sprint(lengths, got.Longest[0].Cause),
		fmt.Sprint([]int64{40_000, 40_000, 30_000, 10_000, 5_000, 1_000}, HostWait))
	// Only the longest are kept.
	m = newMaker()
	at := 0.0
	for k := range maxGaps + 5 {
		m.kernel(m.s7, "k", at, 1)
		at += 2 + float64((k*7)%(maxGaps+5))
	}
	m.kernel(m.s7, "k", at, 1)
	list := IdleCauses(m.tr, Options{}).Longest
	want(t, "gaps kept", len(list), maxGaps)
	for k, g := range list {
		want(t, "a gap", g.EndNs-g.StartNs, int64(maxGaps+5-k)*1000)
	}
}

func TestOpValues(t *testing.T) {
	m := newMaker()
	outer := m.op("aten::linear", 0, 100)
	m.op("aten::mm", 10, 30)
	m.op("aten::mm", 30, 20) // over the first by 10: together they cover 40 of linear
	m.op("aten::linear", 200, 60)
	m.op("aten::linear", 210, 40) // inside one of its own
	m.slice(m.host, trace.CatUserAnnotation, "step", 400, 100, "")
	m.launched(m.s7, "k1", 15, 2, 20, 7)
	m.launched(m.s7, "k2", 60, 2, 70, 5)
	m.launched(m.s7, "k3", 450, 2, 460, 3)
	m.launched(m.s7, "k4", 600, 2, 610, 2)
	m.kernel(m.s7, "k5", 700, 11)
	got := Ops(m.tr, Options{}, OpOptions{})
	rows := map[string]OpRow{}
	for _, r := range append(got.Rows, got.Labels...) {
		rows[r.Name] = r
	}
	show := func(r OpRow) string {
		return fmt.Sprint(r.Count, r.CPUNs, r.SelfCPUNs, r.DeviceNs, r.SelfDeviceNs, r.Kernels)
	}
	// linear: calls 100, 60 and 40 in it; its own is 100 - 40 - 2 (a launch) + 60 - 40 + 40.
	want(t, "aten::linear", show(rows["aten::linear"]), fmt.Sprint(3, 160_000, 118_000, 12_000, 5_000, 1))
	want(t, "longest call", rows["aten::linear"].Worst, outer)
	want(t, "aten::mm", show(rows["aten::mm"]), fmt.Sprint(2, 50_000, 48_000, 7_000, 7_000, 1))
	want(t, "a label", show(rows["step"]), fmt.Sprint(1, 100_000, 98_000, 3_000, 3_000, 1))
	want(t, "launches", show(rows["cudaLaunchKernel"]), fmt.Sprint(4, 8_000, 8_000, 17_000, 0, 0))
	want(t, "device time, and what no operator launched", [2]int64{got.DeviceNs, got.UnattributedNs},
		[2]int64{15_000, 13_000})
	var self int64
	for _, r := range rows {
		self += r.SelfCPUNs
	}
	want(t, "host time", got.CPUNs, self)
}

func TestAnnotationValues(t *testing.T) {
	m := newMaker()
	label := func(track trace.TrackID, cat trace.Category, name string, start, dur float64) int {
		return m.slice(track, cat, name, start, dur, "")
	}
	label(m.host, trace.CatUserAnnotation, "outer", 0, 100)
	label(m.host, trace.CatUserAnnotation, "inner", 20, 30)
	label(m.host, trace.CatUserAnnotation, "inner", 60, 10)
	m.launched(m.s7, "k1", 5, 1, 10, 4)  // in outer
	m.launched(m.s7, "k2", 25, 1, 30, 8) // in inner
	label(m.s7, trace.CatGPUUserAnnotation, "outer", 10, 40)
	label(m.s7, trace.CatGPUUserAnnotation, "inner", 30, 8)
	m.kernel(m.s7, "k3", 50, 16) // where outer has ended
	got := AnnotationBreakdown(m.tr, Options{})
	show := func(rows []AnnotationRow) (out string) {
		for _, r := range rows {
			out += fmt.Sprintln(r.Name, r.Count, r.SumNs, r.MaxNs, r.MinNs, r.MeanNs, r.BusyNs, r.Kernels)
		}
		return out
	}
	want(t, "host", show(got.CPU),
		"outer 1 100000 100000 100000 100000 4000 1\ninner 2 40000 30000 10000 20000 8000 1\n")
	want(t, "device", show(got.GPU), "outer 1 40000 40000 40000 40000 4000 1\ninner 1 8000 8000 8000 8000 8000 1\n")
	wantNear(t, "std", got.CPU[1].StdNs, 10_000*math.Sqrt2)
}

func TestMemoryValues(t *testing.T) {
	m := newMaker()
	m.op("aten::mm", 10, 10)
	ev := func(at float64, args string) {
		m.tr.AddInstant(int64(at*1000), trace.NameMemory, trace.CatCPUInstant, m.host, []byte(args))
	}
	ev(10, `{"Device Type": 1, "Device Id": 0, "Bytes": 100, "Addr": 1}`)  // at its begin: aten::mm's
	ev(20, `{"Device Type": 1, "Device Id": 0, "Bytes": 40, "Addr": 2}`)   // at its end: aten::mm's too
	ev(21, `{"Device Type": 1, "Device Id": 0, "Bytes": 7, "Addr": 3}`)    // after it
	ev(30, `{"Device Type": 1, "Device Id": 0, "Bytes": -100, "Addr": 1}`) // 47 are left
	ev(31, `{"Device Type": 1, "Device Id": 0, "Bytes": -7, "Addr": 3}`)
	ev(40, `{"Device Type": 1, "Device Id": 1, "Bytes": -5, "Addr": 9}`) // another device's, from before
	ev(41, `{"Device Type": 1, "Device Id": 1, "Bytes": 2, "Addr": 18446744073709551615}`)
	ev(50, `{"Device Type": 1, "Device Id": 0, "Bytes": 35184372088833, "Addr": 4}`) // 32 TiB and one
	ev(51, `{"Device Type": 1, "Device Id": 0, "Bytes": -9223372036854775808, "Addr": 4}`)
	ev(52, `{"Device Type": 1, "Device Id": 0, "Addr": 4}`)
	got := Memory(m.tr, Options{})
	want(t, "allocators and events left out", [2]int{len(got.Devices), got.LeftOut}, [2]int{2, 3})
	d := got.Devices[0]
	want(t, "allocations, frees, their bytes, peak, its time, end, base", [8]int64{d.Allocs, d.Frees, d.AllocatedBytes,
		d.FreedBytes, d.PeakBytes, d.PeakTimeNs, d.EndBytes, d.BaseBytes}, [8]int64{3, 2, 147, 107, 147, 21_000, 40, 0})
	want(t, "by operator", fmt.Sprint(d.ByOp), fmt.Sprint([]MemoryOp{{"aten::mm", 2, 140, 140, 40}, {"", 1, 7, 7, 0}}))
	e := got.Devices[1]
	want(t, "what was there before is the peak", [5]int64{e.BaseBytes, e.PeakBytes, e.PeakTimeNs, e.EndBytes,
		e.FreedBeforeTime}, [5]int64{5, 5, 40_000, 2, 5})
	w := Memory(m.tr, Options{Window: &Window{20_000, 30_000}}).Devices[0]
	want(t, "in a window, from its begin to before its end", [3]int64{w.Allocs, w.Frees, w.AllocatedBytes},
		[3]int64{2, 0, 47})
}

func TestPathByName(t *testing.T) {
	m := newMaker()
	m.op("host", 0, 10) // 2 of it until the launch
	m.launched(m.s7, "gemm", 2, 2, 6, 20)
	_, longest := m.launched(m.s7, "gemm", 5, 2, 28, 40)
	m.launched(m.s7, "ncclDevKernel_AllReduce", 7, 2, 68, 30)
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// 2 host, 4 launch, 20 gemm, 2 between, 40 gemm, nothing between, 30 all-reduce.
	want(t, "total", got.TotalNs, 98_000)
	want(t, "by name", len(got.ByName), 3)
	g := got.ByName[0]
	want(t, "most time", fmt.Sprint(g.Name, g.Ns, g.Count, g.Worst, g.Bound), fmt.Sprint("gemm", 60_000, 2, longest,
		BoundCompute))
	want(t, "next", fmt.Sprint(got.ByName[1].Name, got.ByName[1].Ns, got.ByName[1].Bound),
		fmt.Sprint("ncclDevKernel_AllReduce", 30_000, BoundCommunicate))
	for _, b := range got.Bounds {
		wantNear(t, "share of "+b.Bound.String(), b.Share, float64(b.Ns)/98_000)
	}
	want(t, "resources", len(got.Bounds), 5)
}
