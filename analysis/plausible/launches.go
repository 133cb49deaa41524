package plausible

import (
	"cmp"
	"fmt"
	"slices"
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
	graphs, graphsMissing := 0, 0
	for _, i := range all {
		if view.IsGraphLaunch(c.v.Name(i)) {
			graphs++
			graphsMissing += stat.One(!linked(i))
		}
	}
	partial := c.partial(stat.Ratio(int64(graphsMissing), int64(graphs)) >= missingShare)
	if len(missing)+len(partial.calls) == 0 {
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
	c.missing = append(c.missing, partial.calls...)
	slices.SortStableFunc(c.missing, func(a, b int32) int { return cmp.Compare(c.v.Start[a], c.v.Start[b]) })
	c.missingWork(all, missing, lost{graphs, graphsMissing, partial}, linked)
}

// lost is what is missing of graphs.
type lost struct {
	graphs, missing int // replays, and those without any work
	partial         part
}

// missingWork reports the launches that have no work, or a part of it. all and missing are sorted by start.
func (c *checker) missingWork(all, missing []int32, x lost, linked func(int32) bool) {
	n, partly := len(missing), len(x.partial.calls)
	part := max(stat.Ratio(int64(n+partly), int64(len(all))), stat.Ratio(int64(x.missing+partly), int64(x.graphs)))
	if part < missingShare {
		return
	}
	const so = "idle time, kernels a step and the verdict are unreliable and rest on what is there"
	if n == 0 {
		c.doubt(MissingWork, x.partial.calls[0], extent{part, float64(partly), "count"},
			"%d of %d graph launches have only a part of their device work in the trace, %s that others of the same graph have (activity buffers overflowed): %s",
			partly, x.graphs, x.partial, so)
		return
	}
	of, what := len(all), "launches have"
	where := c.whereMissing(all, linked)
	switch {
	case x.missing == n:
		of, what = x.graphs, "graph launches have"
		if x.missing == x.graphs {
			where = "not one graph has (the kernels of graphs were not recorded)"
		}
	case x.missing > 0:
		what = fmt.Sprintf("launches (%d of %d of graphs) have", x.missing, x.graphs)
	}
	if partly > 0 {
		where += fmt.Sprintf(", and %d more graph launches only a part, %s", partly, x.partial)
	}
	c.doubt(MissingWork, missing[0], extent{part, float64(n + partly), "count"},
		"%d of %d %s no device work in the trace, %s: %s", n, of, what, where, so)
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
