package analysis

import (
	"math"

	"github.com/kinetoscope/kinetoscope/trace/order"
)

// Stats describes a set of numbers. The unit is that of the field which holds it.
type Stats struct {
	Count int     `json:"count"`
	Sum   float64 `json:"sum"`
	Mean  float64 `json:"mean"`
	Std   float64 `json:"std"` // of the sample (n-1); 0 for fewer than two numbers
	Min   float64 `json:"min"`
	P25   float64 `json:"p25"`
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// describe computes the statistics of v, which it sorts. Percentiles interpolate
// linearly between neighbours. An empty set gives the zero Stats.
func describe(v []float64) Stats {
	if len(v) == 0 {
		return Stats{}
	}
	s := Stats{Count: len(v)}
	mean, m2 := 0.0, 0.0
	for i, x := range v { // Welford: one pass, no cancellation
		s.Sum += x
		d := x - mean
		mean += d / float64(i+1)
		m2 += d * (x - mean)
	}
	s.Mean = s.Sum / float64(len(v))
	if len(v) > 1 {
		s.Std = math.Sqrt(m2 / float64(len(v)-1))
	}
	order.Floats(v)
	s.Min, s.Max = v[0], v[len(v)-1]
	s.P25, s.P50, s.P75, s.P99 = percentile(v, .25), percentile(v, .5), percentile(v, .75), percentile(v, .99)
	return s
}

// percentile interpolates linearly in the sorted, non-empty v; p is 0…1.
func percentile(v []float64, p float64) float64 {
	x := p * float64(len(v)-1)
	i := int(x)
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	return v[i] + (v[i+1]-v[i])*(x-float64(i))
}

// agg accumulates durations in ns.
type agg struct {
	n        int64
	sum      int64
	min, max int64
	mean, m2 float64
}

func (a *agg) add(d int64) {
	if a.n == 0 || d < a.min {
		a.min = d
	}
	if a.n == 0 || d > a.max {
		a.max = d
	}
	a.n++
	a.sum += d
	x := float64(d)
	delta := x - a.mean
	a.mean += delta / float64(a.n)
	a.m2 += delta * (x - a.mean)
}

func (a *agg) std() float64 {
	if a.n < 2 {
		return 0
	}
	return math.Sqrt(a.m2 / float64(a.n-1))
}

// share is a/b, or 0 if b is 0.
func share[T int64 | float64](a, b T) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func sqrt(x float64) float64 { return math.Sqrt(max(0, x)) }
