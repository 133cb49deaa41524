package profiler

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in fixed buckets, for the durations that are always
// measured, recording or not. Observe takes no lock and allocates nothing; all methods are safe for
// concurrent use. The zero value is ready.
//
// Buckets grow by powers of two and each is divided into four equal parts, so a bound is
// at most 25 % above the value; they reach from 1 µs to about 1 h 11 min.
type Histogram struct {
	counts [histogramBuckets]atomic.Uint64
	sum    atomic.Int64 // ns
}

const (
	histogramShift   = 10 // the first octave starts at 1,024 ns
	histogramOctaves = 32
	histogramParts   = 4
	histogramBuckets = histogramOctaves*histogramParts + 2 // one below, one above
)

// Observe counts d; a negative one counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	ns := max(int64(d), 0)
	h.counts[bucketOf(ns)].Add(1)
	h.sum.Add(ns)
}

// Since observes the time since start, and returns it.
func (h *Histogram) Since(start time.Time) time.Duration {
	d := time.Since(start)
	h.Observe(d)
	return d
}

// bucketOf returns the bucket of ns: bucket i holds bound(i-1) < ns <= bound(i).
func bucketOf(ns int64) int {
	if ns <= 1<<histogramShift {
		return 0
	}
	v := uint64(ns - 1)
	octave := bits.Len64(v) - 1
	part := int(v>>(octave-2)) & (histogramParts - 1)
	return min((octave-histogramShift)*histogramParts+part+1, histogramBuckets-1)
}

// bound returns the upper bound of bucket i in ns, inclusive.
func bound(i int) float64 {
	if i >= histogramBuckets-1 {
		return math.Inf(1)
	}
	if i == 0 {
		return 1 << histogramShift
	}
	octave, part := (i-1)/histogramParts, (i-1)%histogramParts
	return math.Ldexp(1+float64(part+1)/histogramParts, octave+histogramShift)
}

// HistogramBucket is a cumulative count, as Prometheus has it.
type HistogramBucket struct {
	UpperSeconds float64 // inclusive; the last is +Inf
	Count        uint64  // observations up to it
}

// HistogramSnapshot is a Histogram at one moment. Observations that run meanwhile may be
// in the count and not yet in the sum.
type HistogramSnapshot struct {
	Buckets    []HistogramBucket // those in which the count grows, and +Inf
	Count      uint64
	SumSeconds float64
}

// Snapshot reads the histogram.
func (h *Histogram) Snapshot() HistogramSnapshot {
	var s HistogramSnapshot
	for i := range h.counts {
		n := h.counts[i].Load()
		s.Count += n
		if n > 0 || i == histogramBuckets-1 {
			s.Buckets = append(s.Buckets, HistogramBucket{bound(i) / 1e9, s.Count})
		}
	}
	s.SumSeconds = float64(h.sum.Load()) / 1e9
	return s
}

// Buckets reads the cumulative counts at bounds, ascending in seconds: what a fixed set
// of Prometheus buckets needs. A bound inside one of the histogram's buckets counts what
// lies in buckets that end at or below it.
func (h *Histogram) Buckets(bounds []float64) []uint64 {
	out := make([]uint64, len(bounds))
	var n uint64
	i := 0
	for k, b := range bounds {
		for ; i < histogramBuckets && bound(i) <= b*1e9; i++ {
			n += h.counts[i].Load()
		}
		out[k] = n
	}
	return out
}

// Quantile returns an upper bound of the q-quantile, 0 <= q <= 1: at most 25 % above the
// value, for values from 1 µs. Without observations it is 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	var counts [histogramBuckets]uint64
	var total uint64
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
		total += counts[i]
	}
	if total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(total)))
	rank = min(max(rank, 1), total)
	for i, n := range counts {
		if rank <= n {
			if b := bound(i); b < math.MaxInt64 {
				return time.Duration(b)
			}
			return math.MaxInt64
		}
		rank -= n
	}
	return math.MaxInt64
}
