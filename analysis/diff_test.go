package analysis

import (
	"fmt"
	"math"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestMannWhitney(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		p    float64
	}{
		// By counting: 4 and 4 wholly apart is 2 of 70 arrangements.
		{[]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{[]float64{5, 6, 7, 8}, []float64{1, 2, 3, 4}, 2.0 / 70},
		// 3 and 3 wholly apart: 2 of 20.
		{[]float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		// U = 1 for 3 and 2: arrangements with U <= 1 are 2 of 10, doubled.
		{[]float64{1, 2, 4}, []float64{3, 5}, 0.4},
		{[]float64{1, 1, 1}, []float64{1, 1, 1}, 1},
		{nil, []float64{1}, 1},
	} {
		if got := mannWhitney(c.a, c.b); math.Abs(got-c.p) > 1e-12 {
			t.Errorf("%v %v: got %v, want %v", c.a, c.b, got, c.p)
		}
	}
	// The approximation meets the exact count at its border.
	a, b := make([]float64, 20), make([]float64, 20)
	for i := range a {
		a[i], b[i] = float64(2*i), float64(2*i+5)
	}
	exact := mannWhitney(a, b)
	approx := mannWhitney(append(a, 100), append(b, 101))
	if math.Abs(exact-approx) > 0.06 {
		t.Errorf("exact %v, approximation of nearly the same %v", exact, approx)
	}
}

func TestBenjaminiHochberg(t *testing.T) {
	got := benjaminiHochberg([]float64{0.04, 0.01, 0.03, 0.5})
	for i, w := range []float64{0.04 * 4 / 3, 0.04, 0.04 * 4 / 3, 0.5} {
		wantNear(t, fmt.Sprint(i), got[i], w)
	}
}

// stepTrace has steps of one operator that takes ns(step) microseconds.
func stepTrace(steps int, us func(int) float64, extra string) *trace.Trace {
	m := newMaker()
	for k := range steps {
		at := float64(k) * 1000
		m.slice(m.host, trace.CatUserAnnotation, fmt.Sprintf("ProfilerStep#%d", k), at, 900, "")
		m.op("aten::mm", at+10, us(k))
		m.op(extra, at+500, 10)
		m.launched(m.s7, "gemm", at+600, 5, at+950, 100) // ends in the next step, belongs to this
	}
	return m.tr
}

func TestDiff(t *testing.T) {
	a := stepTrace(6, func(k int) float64 { return 100 + float64(k) }, "aten::old")
	b := stepTrace(6, func(k int) float64 { return 150 + float64(k) }, "aten::new")
	got := Diff(a, b, Options{}, DiffOptions{})
	want(t, "basis", got.Test, BySteps)
	want(t, "steps", got.StepsA, 6)
	rows := map[string]DiffRow{}
	for _, r := range got.Rows {
		rows[r.Name] = r
	}
	mm := rows["aten::mm"]
	wantNear(t, "slower by", mm.DeltaNs, 50_000)
	wantNear(t, "P", mm.P, 2/924.0)
	want(t, "significant", mm.Significant, true)
	want(t, "changed", mm.Change, Unchanged)
	want(t, "added", rows["aten::new"].Change, Added)
	want(t, "removed", rows["aten::old"].Change, Removed)
	want(t, "steps compare", rows["ProfilerStep"].A.Count, 6)
	want(t, "device work counts", rows["gemm"].A.Count, 6)
	want(t, "same is not significant", rows["gemm"].Significant, false)
	want(t, "first row", got.Rows[0].Name, "aten::mm")
	same := Diff(a, a, Options{}, DiffOptions{})
	for _, r := range same.Rows {
		if r.Change != Unchanged || r.DeltaNs != 0 || r.Significant {
			t.Errorf("a trace differs from itself: %+v", r)
		}
	}
	few := Diff(stepTrace(2, func(int) float64 { return 5 }, "x"), b, Options{}, DiffOptions{})
	want(t, "too few steps", few.Test, ByCalls)
	only := Diff(a, b, Options{}, DiffOptions{DeviceOnly: true})
	want(t, "device rows", len(only.Rows), 1)
}

func TestShortName(t *testing.T) {
	for in, out := range map[string]string{
		"void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<int>, at::detail::Array<char*, 3> >(int, float)": "at::native::vectorized_elementwise_kernel",
		"Memcpy DtoD (Device -> Device)": "Memcpy DtoD (Device -> Device)",
		"## forward ##":                  "## forward ##",
		"void at::native::(anonymous namespace)::copy<float>(float*)": "at::native::copy",
		"ampere_sgemm_128x64_nn": "ampere_sgemm_128x64_nn",
		"<built-in method":       "<built-in method",
		"std::enable_if<!(false), void>::type internal::gemvx::kernel": "std::enable_if::type internal::gemvx::kernel",
	} {
		want(t, in, ShortName(in), out)
	}
}

func TestStragglers(t *testing.T) {
	// Three ranks, four collectives; rank 1 comes last in three, rank 2 in one. The
	// ranks' clocks are hours apart.
	durs := [3][4]float64{{100, 90, 80, 50}, {10, 10, 10, 50}, {70, 110, 60, 5}}
	var trs []*trace.Trace
	for r, row := range durs {
		m := newMaker()
		m.tr.Meta.Rank = r
		for k, d := range row {
			m.slice(m.s20, trace.CatKernel, "ncclDevKernel_AllReduce", float64(r)*3.6e9+float64(k)*1000, d,
				`{"Collective name": "allreduce", "In msg nelems": 10, "dtype": "Float", "Group size": 3, "Process Group Name": "tp"}`)
		}
		trs = append(trs, m.tr)
	}
	got := Stragglers(trs, Options{})
	want(t, "matched", got.Matched, 4)
	first := got.Ranks[0]
	want(t, "blamed", first.Rank, 1)
	want(t, "last in", first.LastCount, 3)
	want(t, "blame", first.BlameNs, int64((90+60)/2+(80+100)/2+(70+50)/2)*1000)
	want(t, "second", got.Ranks[1].Rank, 2)
	want(t, "second's blame", got.Ranks[1].BlameNs, 45_000)
	want(t, "worst", trs[1].Slices.Dur[first.WorstSlice], 10_000)
	want(t, "one rank", Stragglers(trs[:1], Options{}).Matched, 0)
	r := All(trs, Options{})
	found := false
	for _, f := range r.Findings {
		found = found || f.Evidence.Rank == 1 && f.Unit == "ms"
	}
	want(t, "finding", found, true)
}
