package align

import (
	"math"
	"slices"
)

const (
	// unbounded stands for no bound; sums of a few do not overflow.
	unbounded = int64(math.MaxInt64 / 8)
	// exactUnits is up to how many clocks every two are bounded against each other, which takes
	// time with their cube; of more, each is bounded by way of a few of them.
	exactUnits = 128
	// pivots is how many these are. Each makes bounds closer by a little.
	pivots = 8
	// maxExactParts bounds the pairs of ranks that are compared for that. Leaving collectives
	// out makes bounds wider, not wrong.
	maxExactParts = 1 << 26
)

// bound sets RelativeNs. Let e be the error of a clock as it is mapped. A rank of u
// cannot leave a collective before a rank of v has entered it, so
//
//	e(u) - e(v) <= leave(u) - enter(v)
//
// for every collective of the two; the least is the bound of the pair, and bounds add
// up along a path to clocks without common collectives. RelativeNs is the largest of a
// clock's bounds, in both directions, and no less than the noise of its deviations.
func (c *component) bound(clocks []Clock) {
	var worst []int64
	if len(c.units) <= exactUnits {
		worst = c.exact(clocks)
	} else {
		worst = c.byPivots(clocks)
	}
	for i := range c.units {
		u := &c.units[i]
		_, dev := c.deviations(u)
		if len(dev) == 0 {
			continue
		}
		relative := max(1, worst[i], int64(math.Ceil(3*spread(dev)/math.Sqrt(float64(len(dev))))))
		for _, r := range u.ranks {
			clocks[r].RelativeNs = relative
		}
	}
}

// exact returns the largest bound of each unit against any other.
func (c *component) exact(clocks []Clock) []int64 {
	n := len(c.units)
	limit := c.limits(clocks)
	for via := range n {
		for u := range n {
			for v := range n {
				limit[u*n+v] = min(limit[u*n+v], limit[u*n+via]+limit[via*n+v])
			}
		}
	}
	worst := make([]int64, n)
	for u := range n {
		for v := range n {
			worst[u] = max(worst[u], limit[u*n+v], limit[v*n+u])
		}
	}
	return worst
}

// unitNumbers returns, by rank, the place of its unit.
func (c *component) unitNumbers() map[int]int {
	index := make(map[int]int, len(c.ranks))
	for i, u := range c.units {
		for _, r := range u.ranks {
			index[r] = i
		}
	}
	return index
}

// limits returns, for each pair of units that were in one collective, the bound of
// e(u) - e(v), row by row.
func (c *component) limits(clocks []Clock) []int64 {
	n := len(c.units)
	limit := slices.Repeat([]int64{unbounded}, n*n)
	for i := range n {
		limit[i*n+i] = 0
	}
	index := c.unitNumbers()
	pairs := 0
	for _, e := range c.events {
		pairs += len(e.rank) * len(e.rank)
	}
	stride := 1 + pairs/maxExactParts
	for k := 0; k < len(c.events); k += stride {
		e := &c.events[k]
		for a, r := range e.rank {
			u, leave := index[r], clocks[r].Map(e.end[a])
			for b, s := range e.rank {
				if v := index[s]; v != u {
					room := max(0, leave-clocks[s].Map(e.start[b])) // below 0 is noise
					limit[u*n+v] = min(limit[u*n+v], room)
				}
			}
		}
	}
	return limit
}

// byPivots returns for each unit a bound against any other: by way of a pivot p, every two clocks
// differ by no more than the first from p and p from the second. It is up to twice the exact one
// and takes time with the parts of ranks in collectives.
func (c *component) byPivots(clocks []Clock) []int64 {
	g := c.graph(clocks)
	worst := slices.Repeat([]int64{unbounded}, len(c.units))
	for k := range pivots {
		p := k * len(c.units) / pivots
		from, to := g.distances(p, false), g.distances(p, true)
		mostFrom, mostTo := slices.Max(from), slices.Max(to)
		for u := range worst {
			worst[u] = min(worst[u], max(to[u]+mostFrom, mostTo+from[u]))
		}
	}
	return worst
}

// graph is who may be wrong against whom by way of each collective: from a unit to a collective
// by when it left, from there to a unit by when that entered, both after the collective's base.
type graph struct {
	units  int
	events [][]edge
}

type edge struct {
	unit         int
	leave, enter int64
}

func (c *component) graph(clocks []Clock) *graph {
	g := &graph{units: len(c.units), events: make([][]edge, len(c.events))}
	index := c.unitNumbers()
	for k, e := range c.events {
		base := c.values[k].base
		for n, r := range e.rank {
			g.events[k] = append(g.events[k],
				edge{index[r], clocks[r].Map(e.end[n]) - base, clocks[r].Map(e.start[n]) - base})
		}
	}
	return g
}

// distances returns by how much the error of p may be above that of each unit, or that of each
// unit above p's. It ends early rather than late: a way that is not found yet is a closer bound
// not taken.
func (g *graph) distances(p int, toward bool) []int64 {
	dist := slices.Repeat([]int64{unbounded}, g.units)
	dist[p] = 0
	for range maxRounds {
		changed := false
		for _, edges := range g.events {
			best := unbounded
			for _, e := range edges {
				if d := dist[e.unit]; d < unbounded {
					best = min(best, d+e.out(toward))
				}
			}
			if best == unbounded {
				continue
			}
			for _, e := range edges {
				if d := max(0, best+e.in(toward)); d < dist[e.unit] { // below 0 is noise
					dist[e.unit], changed = d, true
				}
			}
		}
		if !changed {
			break
		}
	}
	return dist
}

// out is the step from a unit into a collective, in the step from there to a unit.
func (e edge) out(toward bool) int64 {
	if toward {
		return -e.enter
	}
	return e.leave
}

func (e edge) in(toward bool) int64 {
	if toward {
		return e.leave
	}
	return -e.enter
}

// exceptOne returns a function that gives the largest of all values but one.
func exceptOne(v []int64) func(i int) int64 {
	first, second := -1, int64(0)
	for i, x := range v {
		switch {
		case first < 0:
			first = i
		case x > v[first]:
			first, second = i, max(second, v[first])
		default:
			second = max(second, x)
		}
	}
	return func(i int) int64 {
		if i == first || first < 0 {
			return second
		}
		return v[first]
	}
}
