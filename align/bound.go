package align

import (
	"math"
	"slices"
)

// unbounded stands for no bound; sums of two do not overflow.
const unbounded = int64(math.MaxInt64 / 4)

// bound sets RelativeNs. Let e be the error of a clock as it is mapped. A rank of u
// cannot leave a collective before a rank of v has entered it, so
//
//	e(u) - e(v) <= leave(u) - enter(v)
//
// for every collective of the two; the least is the bound of the pair, and bounds add
// up along a path to clocks without common collectives. RelativeNs is the largest of a
// clock's bounds, in both directions, and no less than the noise of its deviations.
func (c *component) bound(clocks []Clock) {
	n := len(c.units)
	limit := c.limits(clocks)
	for via := range n {
		for u := range n {
			for v := range n {
				limit[u*n+v] = min(limit[u*n+v], limit[u*n+via]+limit[via*n+v])
			}
		}
	}
	for i, u := range c.units {
		_, dev := c.deviations(u, clocks)
		if len(dev) == 0 {
			continue
		}
		relative := max(1, int64(math.Ceil(3*spread(dev)/math.Sqrt(float64(len(dev))))))
		for v := range n {
			relative = max(relative, limit[i*n+v], limit[v*n+i])
		}
		c.each(u, func(r int) { clocks[r].RelativeNs = relative })
	}
}

// limits returns, for each pair of units that were in one collective, the bound of
// e(u) - e(v), row by row.
func (c *component) limits(clocks []Clock) []int64 {
	n := len(c.units)
	limit := slices.Repeat([]int64{unbounded}, n*n)
	for i := range n {
		limit[i*n+i] = 0
	}
	index := map[int]int{}
	for i, u := range c.units {
		index[u] = i
	}
	pairs := 0
	for _, e := range c.events {
		pairs += len(e.rank) * len(e.rank)
	}
	stride := 1 + pairs/maxPairs
	for k := 0; k < len(c.events); k += stride {
		e := &c.events[k]
		for a, r := range e.rank {
			u, leave := index[c.unit[r]], clocks[r].Map(e.end[a])
			for b, s := range e.rank {
				if v := index[c.unit[s]]; v != u {
					room := max(0, leave-clocks[s].Map(e.start[b])) // below 0 is noise
					limit[u*n+v] = min(limit[u*n+v], room)
				}
			}
		}
	}
	return limit
}
