package overhead

import (
	"math"
	"slices"
	"testing"
)

func TestCompare(t *testing.T) {
	ones := slices.Repeat([]float64{1}, 9)
	for _, c := range []struct {
		name       string
		base, with []float64
		want       *Ratio
	}{
		{"nothing", nil, nil, nil},
		{"no round with both", []float64{0, 1}, []float64{1, 0}, nil},
		{"too few rounds to tell", []float64{1, 2, 4}, []float64{2, 4, 8}, &Ratio{2, 2, 2, 2, 2, 3, true}},
		{"drift is no noise", []float64{1, 10, 100, 1000, 1e4, 1e5}, []float64{1.5, 15, 150, 1500, 1.5e4, 1.5e5},
			&Ratio{1.5, 1.5, 1.5, 1.5, 1.5, 6, false}},
		{"no effect at all", ones, ones, &Ratio{1, 1, 1, 1, 1, 9, true}},
		{"noise", ones, []float64{0.5, 2, 0.75, 1.25, 1.125, 1.5, 0.875, 1.75, 1},
			&Ratio{1.125, 0.75, 1.75, 0.5, 2, 9, true}},
		{"an effect and one slow round", ones, []float64{1.25, 1.5, 1.5, 9, 1.25, 0.5, 1.5, 1.5, 2},
			&Ratio{1.5, 1.25, 2, 0.5, 9, 9, false}},
		{"faster is an effect, too", []float64{4, 4, 4, 4, 4, 4}, []float64{2, 2, 2, 2, 2, 2},
			&Ratio{0.5, 0.5, 0.5, 0.5, 0.5, 6, false}},
		{"rounds without a step are left out", []float64{1, math.NaN(), 1, 1, 1, 1, 1}, []float64{2, 7, 2, 2, 2, 2, 2},
			&Ratio{2, 2, 2, 2, 2, 6, false}},
	} {
		got := Compare(c.base, c.with)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// The interval's ends are those of the tables for the sign test.
func TestTrim(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 0, 5: 0, 6: 0, 8: 0, 9: 1, 11: 1, 12: 2, 16: 3, 20: 5, 30: 9, 100: 39,
		1000: 468} {
		if got := trim(n); got != want {
			t.Errorf("of %d values %d may be left out at either end, want %d", n, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.25, 7}, {[]float64{1, 2}, 0.5, 1.5}, {[]float64{1, 2, 3, 4}, 0.25, 1.75},
		{[]float64{1, 2, 3, 4}, 0.75, 3.25}, {[]float64{1, 2, 3}, 1, 3}, {[]float64{1, 2, 3}, 0, 1},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.values, got, c.want)
		}
	}
	if got := median([]float64{3, 0, math.NaN(), 1}); got != 2 {
		t.Errorf("the median of what there is: %v, want 2", got)
	}
}

// Every state stands everywhere and follows every other, equally often.
func TestOrderIsBalanced(t *testing.T) {
	for n := 1; n <= 7; n++ {
		rounds := n * (1 + n%2)
		place, follows := map[[2]int]int{}, map[[2]int]int{}
		for r := range rounds {
			o := order(n, r)
			if sorted := slices.Sorted(slices.Values(o)); len(o) != n || sorted[0] != 0 || sorted[n-1] != n-1 ||
				len(slices.Compact(sorted)) != n {
				t.Fatalf("order(%d, %d) = %v is no permutation", n, r, o)
			}
			for i, s := range o {
				place[[2]int{i, s}]++
				if i > 0 {
					follows[[2]int{o[i-1], s}]++
				}
			}
		}
		for i := range n {
			for s := range n {
				if got := place[[2]int{i, s}]; got != rounds/n {
					t.Errorf("%d states: state %d stands %d times at place %d, want %d", n, s, got, i, rounds/n)
				}
				if got := follows[[2]int{i, s}]; i != s && got != rounds/n {
					t.Errorf("%d states: %d follows %d %d times, want %d", n, s, i, got, rounds/n)
				}
			}
		}
	}
}
