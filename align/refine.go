package align

import (
	"cmp"
	"math"
	"slices"
)

// component is a set of clocks that collectives connect, and these collectives.
type component struct {
	ranks  []int
	units  []unitOf
	events []event
	// values are, by event, the ranks' ends on the hub's clock after the event's base.
	values []endings
}

// unitOf is the ranks that share a clock, and where they are in the events.
type unitOf struct {
	ranks []int
	parts []part // in order of the events
}

// part is the ranks of one unit in one event, by their places there.
type part struct {
	event int
	at    []int
}

// event is one collective: who was in it, when they came and left.
type event struct {
	rank       []int
	start, end []int64 // rank's clock
}

// endings are the ends of one event after base, by rank of the event and in order.
type endings struct {
	base   int64
	of     []float64
	sorted []float64
}

// components matches the collectives and returns the ranks that these connect.
// Collectives within one clock tell nothing and are left out.
func components(ranks []Rank, unit []int, all []event) []*component {
	root := slices.Clone(unit)
	events := slices.DeleteFunc(slices.Clone(all), func(e event) bool {
		return !slices.ContainsFunc(e.rank, func(r int) bool { return unit[r] != unit[e.rank[0]] })
	})
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.end[0], b.end[0]) })
	for _, e := range events {
		for _, r := range e.rank[1:] {
			root[find(root, r)] = find(root, e.rank[0])
		}
	}
	at := map[int]*component{}
	var out []*component
	for _, e := range events {
		r := find(root, e.rank[0])
		if at[r] == nil {
			at[r] = &component{}
			out = append(out, at[r])
		}
		at[r].events = append(at[r].events, e)
	}
	number := make([]int, len(ranks)) // by unit: its place in its component
	for i := range ranks {
		c := at[find(root, i)]
		if c == nil {
			continue
		}
		c.ranks = append(c.ranks, i)
		if unit[i] == i {
			number[i] = len(c.units)
			c.units = append(c.units, unitOf{})
		}
		u := &c.units[number[unit[i]]]
		u.ranks = append(u.ranks, i)
	}
	for _, c := range out {
		c.thin()
		for k, e := range c.events {
			for n, r := range e.rank {
				u := &c.units[number[unit[r]]]
				if m := len(u.parts); m == 0 || u.parts[m-1].event != k {
					u.parts = append(u.parts, part{event: k})
				}
				last := &u.parts[len(u.parts)-1]
				last.at = append(last.at, n)
			}
		}
	}
	return out
}

// find returns the root of i and shortens the way there.
func find(root []int, i int) int {
	for root[i] != i {
		root[i] = root[root[i]]
		i = root[i]
	}
	return i
}

// thin leaves out collectives, evenly, until the parts of all ranks in them are maxParts at
// most. That makes bounds wider, not wrong.
func (c *component) thin() {
	parts := 0
	for _, e := range c.events {
		parts += len(e.rank)
	}
	if stride := 1 + parts/maxParts; stride > 1 {
		kept := c.events[:0]
		for k := 0; k < len(c.events); k += stride {
			kept = append(kept, c.events[k])
		}
		c.events = kept
	}
}

// look maps the ends of all events.
func (c *component) look(clocks []Clock) {
	c.values = make([]endings, len(c.events))
	for k, e := range c.events {
		v := endings{base: clocks[e.rank[0]].Map(e.end[0]), of: make([]float64, len(e.rank))}
		for n, r := range e.rank {
			v.of[n] = float64(clocks[r].Map(e.end[n]) - v.base)
		}
		v.sorted = slices.Clone(v.of)
		slices.Sort(v.sorted)
		c.values[k] = v
	}
}

// update maps the ends of one unit again, after it was moved.
func (c *component) update(u *unitOf, clocks []Clock) {
	for _, p := range u.parts {
		e, v := &c.events[p.event], &c.values[p.event]
		for _, n := range p.at {
			was, is := v.of[n], float64(clocks[e.rank[n]].Map(e.end[n])-v.base)
			v.of[n] = is
			from, _ := slices.BinarySearch(v.sorted, was)
			to, _ := slices.BinarySearch(v.sorted, is)
			if to > from {
				to--
				copy(v.sorted[from:to], v.sorted[from+1:to+1])
			} else {
				copy(v.sorted[to+1:from+1], v.sorted[to:from])
			}
			v.sorted[to] = is
		}
	}
}

// refine moves the clocks against each other until the ends of the collectives agree.
func (c *component) refine(clocks []Clock) {
	c.look(clocks)
	for range maxRounds {
		moved := int64(0)
		for i := range c.units {
			u := &c.units[i]
			at, dev := c.deviations(u)
			if len(dev) == 0 {
				continue
			}
			slope := drift(at, dev)
			for i := range dev {
				dev[i] -= slope * float64(at[i]-clocks[u.ranks[0]].RefNs)
			}
			step := int64(math.Round(median(dev)))
			for _, r := range u.ranks {
				clocks[r].Matched = len(dev)
				clocks[r].Drift -= slope
				clocks[r].OffsetNs -= step
			}
			if slope != 0 || step != 0 {
				c.update(u, clocks)
			}
			moved = max(moved, abs(step), int64(math.Abs(slope)*float64(at[len(at)-1]-at[0])))
		}
		if moved <= 1 {
			return
		}
	}
}

// deviations returns, for each collective between a unit and others, in order of time,
// its end on the unit's clock and how much later than that of the others it lies on the hub's.
func (c *component) deviations(u *unitOf) (at []int64, dev []float64) {
	var own []float64
	for _, p := range u.parts {
		e, v := &c.events[p.event], &c.values[p.event]
		if len(p.at) == len(e.rank) {
			continue
		}
		own = own[:0]
		for _, n := range p.at {
			own = append(own, v.of[n])
		}
		at, dev = append(at, e.end[p.at[0]]), append(dev, median(own)-medianWithout(v.sorted, own))
	}
	return at, dev
}

// medianWithout returns the median of what is left of sorted values without some of them, which
// it sorts.
func medianWithout(sorted, without []float64) float64 {
	slices.Sort(without)
	rest := len(sorted) - len(without)
	upper := nthWithout(sorted, without, rest/2)
	if rest%2 == 1 {
		return upper
	}
	return (nthWithout(sorted, without, rest/2-1) + upper) / 2
}

// nthWithout returns the value at place k of sorted without some of its values, which are sorted too.
func nthWithout(sorted, without []float64, k int) float64 {
	same := 0 // values before that are equal to the one looked at
	for i, w := range without {
		if same++; i == 0 || w != without[i-1] {
			same = 0
		}
		if at, _ := slices.BinarySearch(sorted, w); at+same <= k {
			k++
		}
	}
	return sorted[k]
}
