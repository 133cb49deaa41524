package plausible

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits of what counts as a time that cannot be: slices are strays if they are few and lie farther
// from all others than any capture pauses, and many times as far as all others reach.
const (
	strayGap   = int64(3600e9) // ns
	strayFar   = 1000          // times the reach of the others
	strayShare = 0.01          // of the slices that strays may be at most
	strayFew   = 4             // strays that a short trace may have as well
)

// strays leaves out few slices whose times have nothing to do with those of all others: the
// profiler had a counter that wrapped, a number that was cut, or the time of another clock. Slices
// at the file's zero are left to noTime.
func (c *checker) strays() {
	base := c.v.Trace.Meta.BaseTimeNs
	var rows []int32
	lo, hi := int64(0), int64(0)
	for i := range int32(len(c.v.Start)) {
		if x := c.v.Start[i]; x != base && x != 0 {
			if len(rows) == 0 {
				lo, hi = x, x
			}
			lo, hi = min(lo, x), max(hi, x)
			rows = append(rows, i)
		}
	}
	if len(rows) < 2 || hi-lo <= strayGap && hi >= lo {
		return
	}
	slices.SortStableFunc(rows, func(a, b int32) int {
		if c.v.Start[a] < c.v.Start[b] {
			return -1
		}
		return stat.One(c.v.Start[a] > c.v.Start[b])
	})
	from, to := c.mainPart(rows)
	first, last := c.v.Start[rows[from]], c.v.Start[rows[to-1]]
	n := len(rows) - (to - from)
	if n == 0 || n > max(strayFew, int(strayShare*float64(len(rows)))) || n >= to-from {
		return
	}
	reach := last - first
	far := func(ns int64) bool { // ns > strayFar*reach, which may not fit
		q := ns / strayFar
		return q > reach || q == reach && ns%strayFar > 0
	}
	var out []int32
	for k, i := range rows {
		if k < from && far(first-c.v.Start[i]) || k >= to && far(c.v.Start[i]-last) {
			out = append(out, i)
		}
	}
	c.sayStrays(out, first, last)
}

// mainPart returns the bounds in rows, which are by start, of the longest run without a gap of strayGap.
func (c *checker) mainPart(rows []int32) (from, to int) {
	begin := 0
	for k := 1; k <= len(rows); k++ {
		if k < len(rows) && c.v.Start[rows[k]]-c.v.Start[rows[k-1]] <= strayGap {
			continue
		}
		if k-begin > to-from {
			from, to = begin, k
		}
		begin = k
	}
	return from, to
}

// sayStrays leaves out the slices of list, by start, which lie far from the others between first and last.
func (c *checker) sayStrays(list []int32, first, last int64) {
	if len(list) == 0 {
		return
	}
	device, shown := 0, list[0]
	for _, i := range list {
		if c.v.LaneOf[i] >= 0 {
			if device++; device == 1 {
				shown = i
			}
		}
		c.drop(i)
	}
	n, what := device, "device slice"
	if n == 0 {
		n, what = len(list), "slice"
	}
	far, where := first-c.v.Start[shown], "before"
	if far < 0 {
		far, where = c.v.Start[shown]-last, "after"
	}
	c.doubt(NoTime, shown, extent{max(0.01, stat.Ratio(int64(device), int64(len(c.v.Work)))), float64(n), "count"},
		"%s %s a time that cannot be, %s %s all others, %s the first: left out of everything",
		units.Plural(n, what), verb(n, "has", "have"), units.Duration(float64(far)), where, c.name(shown))
}
