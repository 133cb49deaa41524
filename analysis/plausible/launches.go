package plausible

import (
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/units"
)

// missingShare is the part of the launches, of kernels or of graphs, that must lack device work for
// a doubt. Less may be a call that failed, or a window that ended before the work.
const missingShare = 0.02

// launches looks for launch calls whose work is not in the trace.
func (c *checker) launches() {
	all := c.v.Launches()
	if len(all) == 0 {
		return
	}
	if len(c.v.Work) == 0 {
		c.doubt(NoWork, all[0], extent{0.2, float64(len(all)), "count"},
			"%s (%s) %s in the trace and no device work: the device's activities were not recorded, by choice (activities without CUDA, HIP or XPU), for lack of rights or of the driver's tracing library, or because another profiler held it",
			units.Plural(len(all), "launch call"), c.name(all[0]), verb(len(all), "is", "are"))
		return
	}
	linked := func(i int32) bool { return c.v.Partner[i] >= 0 }
	var missing []int32
	for _, i := range all {
		switch {
		case !linked(i):
			missing = append(missing, i)
			c.missing = append(c.missing, i)
		case !c.kept(c.v.Partner[i]):
			c.missing = append(c.missing, i) // its work was left out, and said so
		}
	}
	if len(missing) == 0 {
		return
	}
	orphans := 0
	for _, i := range c.v.Work {
		if c.v.Launch(i) < 0 {
			orphans++
		}
	}
	if 2*orphans >= len(missing) && orphans > 0 && len(missing) == len(all) {
		c.doubt(Unmatched, missing[0], extent{0.2, float64(len(missing)), "count"},
			"%s and %s have no correlation in common: who launched what is not known, and neither is what the device waited for",
			units.Plural(len(missing), "launch call"), units.Plural(orphans, "device slice"))
		c.missing = nil
		return
	}
	c.missingWork(all, missing, linked)
}

// missingWork reports the launches that have no work. all and missing are sorted by start.
func (c *checker) missingWork(all, missing []int32, linked func(int32) bool) {
	graphs, graphsMissing, deviceWork := 0, 0, 0
	for _, i := range all {
		if isGraph := view.IsGraphLaunch(c.v.Name(i)); isGraph {
			graphs++
			graphsMissing += stat.One(!linked(i))
		}
		deviceWork += stat.One(linked(i))
	}
	part := max(stat.Ratio(int64(len(missing)), int64(len(all))), stat.Ratio(int64(graphsMissing), int64(graphs)))
	if part < missingShare {
		return
	}
	n, of, what := len(missing), len(all), "launches have"
	where := c.whereMissing(all, linked)
	switch {
	case graphsMissing == n:
		of, what = graphs, "graph launches have"
		if graphsMissing == graphs {
			where = "not one graph has (the kernels of graphs were not recorded)"
		}
	case graphsMissing > 0:
		what = fmt.Sprintf("launches (%d of %d of graphs) have", graphsMissing, graphs)
	}
	c.doubt(MissingWork, missing[0], extent{part, float64(n), "count"},
		"%d of %d %s no device work in the trace, %s: idle time, kernels a step and the verdict are unreliable and rest on what is there",
		n, of, what, where)
}

// whereMissing says in which part of the trace launches have no work, and what is the likely
// cause of that.
func (c *checker) whereMissing(all []int32, linked func(int32) bool) string {
	first, last := 0, len(all)-1
	for first < len(all) && !linked(all[first]) {
		first++
	}
	for last >= 0 && !linked(all[last]) {
		last--
	}
	head, tail := first, len(all)-1-last
	if first > last {
		return "not one launch has (kernels were not recorded, the device work that is here is of other calls)"
	}
	middle := 0
	for _, i := range all[first : last+1] {
		middle += stat.One(!linked(i))
	}
	var where []string
	if head > 0 {
		where = append(where, fmt.Sprintf("%d at the start (the device's recording began late)", head))
	}
	if middle > 0 {
		where = append(where, fmt.Sprintf("%d in between (activity buffers overflowed)", middle))
	}
	if tail > 0 {
		where = append(where,
			fmt.Sprintf("%d at the end (activity buffers overflowed, or the window ended before the work)", tail))
	}
	return strings.Join(where, ", ")
}
