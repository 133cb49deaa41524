package align

import (
	"math"
	"slices"
)

// Residuals describe how far a rank's ends of collectives still are from those of the other ranks
// after alignment: a measure of how far the clocks can be trusted.
type Residuals struct {
	Collectives       int   // that the rank had in common with others, on its own clock or not
	P50Ns, P95Ns, Max int64 // of the distances from the middle of the others' ends
	// Impossible counts collectives that the rank left before another had entered, or entered
	// after another had left, by more than clocks and rounding explain: not the same collective.
	Impossible int
	// Sent counts the hand-offs that the rank sent to or had from others of the traces; Early are
	// those that arrived before they were sent, by more than clocks and rounding explain.
	Sent, Early int
	// TransitNs is how long the fastest hand-off to the rank took; 0 if it had none.
	TransitNs int64
}

// Limits of what residuals mean.
const (
	// impossibleNs is by how much a rank must leave before another enters for the two not to
	// have been in one collective: more than clocks that are aligned are wrong.
	impossibleNs = 50_000
	// fewCollectives is how many tell nothing yet: one may have lost a number.
	fewCollectives = 4
	// doubtfulPart is the part of a rank's collectives, one in so many, that are impossible by chance
	// where clocks are right to within what they are known to.
	doubtfulPart = 10
)

// Apart reports whether most of what should be common collectives, or hand-offs, cannot have been:
// traces of different captures, or numbers that do not belong together.
func (r Residuals) Apart() bool {
	return r.Collectives >= fewCollectives && 2*r.Impossible > r.Collectives ||
		r.Sent >= fewCollectives && 2*r.Early > r.Sent
}

// Doubtful reports whether so many of them cannot have been that the clock is wrong, or the numbers by which they were
// found: a rank that only lost one has fewer.
func (r Residuals) Doubtful() bool {
	return r.Impossible >= fewCollectives && doubtfulPart*r.Impossible > r.Collectives ||
		r.Early >= fewCollectives && doubtfulPart*r.Early > r.Sent
}

// residuals sets the residuals of each clock.
func residuals(events []event, clocks []Clock) {
	dist := make([][]int64, len(clocks))
	var ends, sorted []float64
	for i := range events {
		e := &events[i]
		n := len(e.rank)
		if n < 2 {
			continue
		}
		ends = ends[:0]
		base := clocks[e.rank[0]].Map(e.end[0])
		lastIn, firstOut := int64(math.MinInt64), int64(math.MaxInt64)
		for k, r := range e.rank {
			end := clocks[r].Map(e.end[k])
			ends = append(ends, float64(end-base))
			lastIn, firstOut = max(lastIn, clocks[r].Map(e.start[k])), min(firstOut, end)
		}
		sorted = append(sorted[:0], ends...)
		slices.Sort(sorted)
		for k, r := range e.rank {
			others := medianWithout(sorted, ends[k:k+1])
			c := &clocks[r].Residuals
			c.Collectives++
			dist[r] = append(dist[r], int64(math.Abs(ends[k]-others)))
			if base+int64(ends[k]) < lastIn-impossibleNs || clocks[r].Map(e.start[k]) > firstOut+impossibleNs {
				c.Impossible++
			}
		}
	}
	for r, d := range dist {
		if len(d) == 0 {
			continue
		}
		slices.Sort(d)
		c := &clocks[r].Residuals
		c.P50Ns, c.P95Ns, c.Max = d[len(d)/2], d[len(d)*95/100], d[len(d)-1]
	}
}

// sameClocks reports, by host, whether collectives and hand-offs allow that its ranks read one
// clock, as ranks of one host do: "localhost" is the name of many. host is, by rank, its host's
// number, or -1.
func sameClocks(host []int, hosts int, events []event, sent []message, clocks []Clock) []bool {
	type evidence struct {
		n, bad            int
		lastIn, firstOut  int64
		both, lastVisited int
	}
	seen := make([]evidence, hosts)
	var here []int // hosts of the event
	for i := range events {
		e := &events[i]
		here = here[:0]
		for k, r := range e.rank {
			if host[r] < 0 {
				continue
			}
			h := &seen[host[r]]
			if h.lastVisited != i+1 {
				h.lastVisited, h.both, h.lastIn, h.firstOut = i+1, 0, math.MinInt64, math.MaxInt64
				here = append(here, host[r])
			}
			h.lastIn, h.both = max(h.lastIn, clocks[r].Map(e.start[k])), h.both+1
			h.firstOut = min(h.firstOut, clocks[r].Map(e.end[k]))
		}
		for _, n := range here {
			h := &seen[n]
			if h.both < 2 {
				continue
			}
			h.n++
			if h.firstOut < h.lastIn-impossibleNs {
				h.bad++
			}
		}
	}
	for _, m := range sent {
		if n := host[m.from]; n >= 0 && n == host[m.to] {
			seen[n].n++
			if clocks[m.to].Map(m.arrived) < clocks[m.from].Map(m.sent)-impossibleNs {
				seen[n].bad++
			}
		}
	}
	one := make([]bool, hosts)
	for n := range seen {
		one[n] = seen[n].n < fewCollectives || 2*seen[n].bad <= seen[n].n
	}
	return one
}
