package hta

import (
	"cmp"
	"math/bits"
	"slices"
)

// Edge is where a span of one of several sets begins or ends.
type Edge struct {
	AtNs int64
	Set  int // bit of the mask
	Ends bool
}

// Sweep returns the time in ns for which each combination of n sets was active; bit i of
// the index stands for set i. It runs a sum over all edges by time, the edges of a span
// following each other in the argument, so that spans of negative length count as they
// do in HTA.
func Sweep(n int, edges []Edge) []int64 {
	es := slices.Clone(edges)
	slices.SortStableFunc(es, func(a, b Edge) int { return cmp.Compare(a.AtNs, b.AtNs) })
	out := make([]int64, 1<<n)
	run := int64(0)
	for i, e := range es {
		if e.Ends {
			run -= 1 << e.Set
		} else {
			run += 1 << e.Set
		}
		if run > 0 && i+1 < len(es) && bits.Len64(uint64(run)) <= n {
			out[run] += es[i+1].AtNs - e.AtNs
		}
	}
	return out
}
