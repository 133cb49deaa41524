package profiler

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	for i := 1; i < histogramBuckets-1; i++ {
		if bound(i) <= bound(i-1) || bound(i) > bound(i-1)*1.25+1 {
			t.Fatalf("bound %d is %v after %v", i, bound(i), bound(i-1))
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	values := []int64{0, 1, 1024, 1025, 1280, 1281, 1 << 41, 1<<42 - 1, 1 << 42, 1<<42 + 1, math.MaxInt64}
	for range 10_000 {
		values = append(values, int64(math.Exp(rng.Float64()*30)))
	}
	for _, v := range values {
		i := bucketOf(v)
		if float64(v) > bound(i) || i > 0 && float64(v) <= bound(i-1) {
			t.Fatalf("%d is in bucket %d (%v, %v]", v, i, bound(max(i-1, 0)), bound(i))
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("quantile of nothing")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const n, goroutines = 5000, 4
	var all []time.Duration
	var sum time.Duration
	for range n * goroutines {
		d := time.Duration(1000 + math.Exp(rng.NormFloat64()*2)*1e6)
		all = append(all, d)
		sum += d
	}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for _, d := range all[g*n : (g+1)*n] {
				h.Observe(d)
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	s := h.Snapshot()
	if s.Count != uint64(len(all)) || math.Abs(s.SumSeconds-sum.Seconds()) > 1e-9 {
		t.Errorf("count %d, sum %v, want %v", s.Count, s.SumSeconds, sum.Seconds())
	}
	for _, b := range s.Buckets {
		want, _ := slices.BinarySearchFunc(all, b.UpperSeconds, func(d time.Duration, up float64) int {
			if float64(d) <= up*1e9 {
				return -1
			}
			return 1
		})
		if b.Count != uint64(want) {
			t.Errorf("%d up to %v, counted %d", b.Count, b.UpperSeconds, want)
		}
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
		exact := all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
		if got := h.Quantile(q); got < exact || float64(got) > float64(exact)*1.26+1024 {
			t.Errorf("quantile %v: %v, exact %v", q, got, exact)
		}
	}
	bounds := []float64{bound(0) / 1e9, bound(20) / 1e9, bound(60) / 1e9, math.Inf(1)}
	for i, c := range h.Buckets(bounds) {
		want := 0
		for _, d := range all {
			if float64(d) <= bounds[i]*1e9 {
				want++
			}
		}
		if c != uint64(want) {
			t.Errorf("%d up to %v, counted %d", c, bounds[i], want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	h.Observe(-1)
	if h.counts[0].Load() == 0 {
		t.Error("a negative duration is not in the first bucket")
	}
}
