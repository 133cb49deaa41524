package align

import (
	"math"
	"slices"
)

// Residuals are what is left between a rank's ends of collectives and those of the others, once
// all are on one clock: how far the clocks can be trusted, seen in what they were made of.
type Residuals struct {
	Collectives       int   // that the rank had in common with others, on its own clock or not
	P50Ns, P95Ns, Max int64 // of the distances from the middle of the others' ends
	// Impossible counts collectives that the rank left before another had entered, or entered
	// after another had left, by more than clocks and rounding explain: not the same collective.
	Impossible int
}

// Limits of what residuals mean.
const (
	// impossibleNs is by how much a rank must leave before another enters for the two not to
	// have been in one collective: more than clocks that are aligned are wrong.
	impossibleNs = 50_000
	// fewCollectives is how many tell nothing yet: one may have lost a number.
	fewCollectives = 4
)

// Apart reports whether most of what should be common collectives cannot have been: traces of
// different captures, or numbers that do not belong together.
func (r Residuals) Apart() bool {
	return r.Collectives >= fewCollectives && 2*r.Impossible > r.Collectives
}

// residuals fills in what is left in each clock.
func residuals(events []event, clocks []Clock) {
	dist := make([][]int64, len(clocks))
	var ends, others []float64
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
		for k, r := range e.rank {
			others = append(others[:0], ends[:k]...)
			others = append(others, ends[k+1:]...)
			c := &clocks[r].Residuals
			c.Collectives++
			dist[r] = append(dist[r], int64(math.Abs(ends[k]-median(others))))
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

// sameClock reports whether collectives allow that ranks read one clock, as ranks of one host
// do: "localhost" is the name of many.
func sameClock(members []int, events []event, clocks []Clock) bool {
	in := map[int]bool{}
	for _, i := range members {
		in[i] = true
	}
	n, bad := 0, 0
	for i := range events {
		e := &events[i]
		lastIn, firstOut, both := int64(math.MinInt64), int64(math.MaxInt64), 0
		for k, r := range e.rank {
			if in[r] {
				lastIn, both = max(lastIn, clocks[r].Map(e.start[k])), both+1
				firstOut = min(firstOut, clocks[r].Map(e.end[k]))
			}
		}
		if both < 2 {
			continue
		}
		n++
		if firstOut < lastIn-impossibleNs {
			bad++
		}
	}
	return n < fewCollectives || 2*bad <= n
}
