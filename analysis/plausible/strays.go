package plausible

import (
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/units"
)

// strays leaves out few slices whose times have nothing to do with those of all others, see
// trace.Trace.Strays. Slices at the file's zero are left to noTime.
func (c *checker) strays() {
	x := c.v.Trace.Strays()
	c.sayStrays(x.Slices, x.First, x.Last)
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
