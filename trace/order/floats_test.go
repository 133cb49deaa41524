package order_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace/order"
)

// TestFloats: numbers come in the order of slices.Sort, few or many, of any sign and size.
func TestFloats(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		some := rapid.SliceOfN(rapid.OneOf(rapid.Float64(), rapid.Just(math.Inf(1)), rapid.Just(math.Inf(-1)),
			rapid.Map(rapid.IntRange(-5, 5), func(n int) float64 { return float64(n) })), 1, 200).Draw(rt, "numbers")
		var v []float64
		for k := range rapid.SampledFrom([]int{1, 20}).Draw(rt, "times") {
			for _, x := range some {
				v = append(v, x+float64(k))
			}
		}
		want := slices.Clone(v)
		slices.Sort(want)
		if order.Floats(v); !slices.Equal(v, want) {
			rt.Fatalf("sorted %v, want %v", v, want)
		}
	})
}

// TestFloatsUnknown: numbers that are none come first, as with slices.Sort.
func TestFloatsUnknown(t *testing.T) {
	v := make([]float64, 5000)
	for i := range v {
		v[i] = float64(len(v) - i)
	}
	v[100] = math.NaN()
	if order.Floats(v); !math.IsNaN(v[0]) || !slices.IsSorted(v) {
		t.Errorf("begins with %v", v[:3])
	}
}
