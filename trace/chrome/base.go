package chrome

import (
	"math"

	"github.com/kinetoscope/kinetoscope/trace"
)

// baseStep is Kineto's grid of base times: three mean months in ns. A base on a
// grid keeps ts small, and equal for the ranks of one job.
const baseStep int64 = 7889238 * 1_000_000_000

// BaseTime returns the baseTimeNanoseconds that Kineto would choose for a trace
// whose first time is firstNs: the last multiple of 7889238 s that is not after it.
func BaseTime(firstNs int64) int64 {
	if firstNs <= 0 {
		return 0
	}
	return firstNs - firstNs%baseStep
}

// base returns what is subtracted from every time of t. A trace without wall time
// has none; a base that t was read with is kept while no event lies before it.
func base(t *trace.Trace) int64 {
	if !t.Meta.WallClock {
		return 0
	}
	first := firstTime(t)
	if b := t.Meta.BaseTimeNs; b > 0 && b <= first {
		return b
	}
	return BaseTime(first)
}

// firstTime returns the earliest time of t, 0 if it has no events.
func firstTime(t *trace.Trace) int64 {
	first := int64(math.MaxInt64)
	for _, column := range [][]int64{t.Slices.Start, t.Instants.Time, t.Counters.Time, t.Flows.Time} {
		for _, ns := range column {
			first = min(first, ns)
		}
	}
	if w := t.Meta.WindowStart; w != 0 {
		first = min(first, w)
	}
	if first == math.MaxInt64 {
		return 0
	}
	return first
}

// appendMicros appends ns as microseconds with three decimals.
func appendMicros(b []byte, ns int64) []byte {
	u := uint64(ns)
	if ns < 0 {
		b = append(b, '-')
		u = -u
	}
	b = appendUint(b, u/1000)
	r := u % 1000
	return append(b, '.', byte('0'+r/100), byte('0'+r/10%10), byte('0'+r%10))
}
