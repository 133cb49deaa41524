package plausible

import (
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// unreadShare is the part of a trace's events that has no usable time from which that is doubted: a few such events
// are a repair.
const unreadShare = 0.1

// unread doubts a trace of which many events, or all, have a time that its format does not have. Readers drop them.
func (c *checker) unread() {
	n := c.v.Trace.Repairs.Count[trace.RepairNoTime]
	if part := stat.Ratio(int64(n), int64(n+len(c.v.Start))); n > 0 && part >= unreadShare {
		c.doubt(NoTime, view.None, extent{part, float64(n), "count"},
			"%s of %d %s no time that can be used (none, no number, or one beyond the year 2198, as nanoseconds are in a file of microseconds): left out of everything",
			units.Plural(n, "event"), n+len(c.v.Start), verb(n, "has", "have"))
	}
}

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
