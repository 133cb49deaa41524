package drift

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// loop is n steps: the first takes first, the others go from head by slope a step.
func loop(n int, first, head, slope int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = head + int64(i)*slope
	}
	out[0] = first
	return out
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		ns     []int64
		change float64
		slope  float64
	}{
		{"none", nil, 0, 0},
		{"too few", loop(MinSteps-1, 9000, 1000, 100), 0, 0},
		{"even", loop(16, 1000, 1000, 0), 0, 0},
		{"a cold first step is no drift", loop(16, 50_000, 1000, 0), 0, 0},
		// Steps 1 to 4 of 1000+100i have a mean of 1250, steps 12 to 15 one of 2350.
		{"slower", loop(16, 1000, 1000, 100), 2350.0/1250 - 1, 100},
		{"faster", loop(16, 1000, 2000, -100), 650.0/1750 - 1, -100},
	} {
		d := Of(c.ns)
		if math.Abs(d.Change-c.change) > 1e-12 || math.Abs(d.SlopeNs-c.slope) > 1e-6 {
			t.Errorf("%s: change %g and %g a step, want %g and %g", c.name, d.Change, d.SlopeNs, c.change, c.slope)
		}
		if d.Steps != len(c.ns) || len(c.ns) > 0 && d.FirstStepNs != c.ns[0] {
			t.Errorf("%s: %d steps, the first of %d ns", c.name, d.Steps, d.FirstStepNs)
		}
	}
}

// Drift is a ratio: the clock's unit does not matter. The first step changes the mean only.
func TestOfProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.SliceOfN(rapid.Int64Range(1, 1_000_000), MinSteps, 64).Draw(t, "ns")
		twice, cold := make([]int64, len(ns)), append([]int64{}, ns...)
		for i, v := range ns {
			twice[i] = 2 * v
		}
		cold[0] *= 10
		d, d2, c := Of(ns), Of(twice), Of(cold)
		near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(1, math.Abs(a), math.Abs(b)) }
		if !near(d.Change, d2.Change) || !near(d.VariationCoef, d2.VariationCoef) || !near(2*d.SlopeNs, d2.SlopeNs) {
			t.Errorf("twice as long: %+v, %+v", d, d2)
		}
		if !near(d.Change, c.Change) || !near(d.SlopeNs, c.SlopeNs) || c.MeanNs <= d.MeanNs {
			t.Errorf("a longer first step: %+v, %+v", d, c)
		}
	})
}

func TestLoops(t *testing.T) {
	// steps are n steps of 1000 ns that follow each other; join, pause: before which one a request
	// joins, the device pauses.
	steps := func(n int, join, pause map[int]bool) []Step {
		out := make([]Step, n)
		at := int64(0)
		for i := range out {
			if pause[i] {
				at += 4000
			}
			out[i] = Step{AtNs: at, Ns: 1000, HostNs: 1000, Same: i > 0 && !join[i]}
			at += 1000
		}
		return out
	}
	at := func(list ...int) map[int]bool {
		out := map[int]bool{}
		for _, i := range list {
			out[i] = true
		}
		return out
	}
	for _, c := range []struct {
		name  string
		steps []Step
		want  [][2]int
	}{
		{"none", nil, nil},
		{"one loop", steps(10, nil, nil), [][2]int{{0, 9}}},
		{"too few steps", steps(MinSteps-1, nil, nil), nil},
		{"a request joins and leaves", steps(30, at(10, 20), nil), [][2]int{{0, 9}, {10, 19}, {20, 29}}},
		{"a short stretch between", steps(23, at(10, 13), nil), [][2]int{{0, 9}, {13, 22}}},
		{"a pause", steps(20, nil, at(8)), [][2]int{{0, 7}, {8, 19}}},
	} {
		var got [][2]int
		for _, l := range Loops(c.steps) {
			got = append(got, [2]int{l.First, l.Last})
			if l.Steps != l.Last-l.First+1 || l.MeanNs != 1000 || l.Change != 0 {
				t.Errorf("%s: %+v", c.name, l)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: loops %v, want %v", c.name, got, c.want)
		}
	}
}
