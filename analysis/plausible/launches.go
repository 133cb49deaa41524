package plausible

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits of what is believed of two clocks.
const (
	clockSlack = 10_000 // ns by which work may begin before its launch call: the error of clocks that agree
	clockShare = 0.05   // of a device's launched work that must be early for its clock to be behind; less are wrong links
	clockFew   = 3      // early slices that are needed as well
	clockFar   = 10     // times the median by which a slice must be early to be a wrong link all the same
)

// clocks compares each device's clock with the host's. Work cannot begin before the call that
// launched it: where much of it does, the device's clock is behind by at least the most
// that work is early, and its times are moved. Where little does, the link is wrong.
func (c *checker) clocks() {
	byDevice := map[int64][]int32{}
	var ids []int64
	for _, i := range c.v.Work {
		if !c.kept(i) || c.v.Launch(i) < 0 || !c.v.OnDevice(i) {
			continue
		}
		id := c.v.Lanes[c.v.LaneOf[i]].Device
		if byDevice[id] == nil {
			ids = append(ids, id)
		}
		byDevice[id] = append(byDevice[id], i)
	}
	slices.Sort(ids)
	moved := map[int64]int64{}
	for _, id := range ids {
		if by := c.clockOf(id, byDevice[id]); by != 0 {
			moved[id] = by
		}
	}
	if len(moved) == 0 {
		return
	}
	c.own()
	s := &c.v.Trace.Slices
	for i := range int32(len(c.start)) {
		if tk := &c.v.Trace.Tracks[s.Track[i]]; tk.Kind == trace.TrackGPU && c.kept(i) {
			c.start[i] += moved[tk.Device]
		}
	}
}

// lead is how long after the start of its launch call work i began; negative if before.
func (c *checker) lead(i int32) int64 { return c.v.Start[i] - c.v.Start[c.v.Launch(i)] }

// clockOf checks the launched work of one device and returns by how much its clock is behind.
func (c *checker) clockOf(id int64, rows []int32) int64 {
	var early []int32
	for _, i := range rows {
		if c.lead(i) < -clockSlack {
			early = append(early, i)
		}
	}
	if len(early) == 0 {
		return 0
	}
	slices.SortFunc(early, func(a, b int32) int { return cmp.Or(cmp.Compare(c.lead(a), c.lead(b)), cmp.Compare(a, b)) })
	if len(early) < clockFew || stat.Ratio(int64(len(early)), int64(len(rows))) < clockShare {
		c.earlyWork(early, len(rows), -c.lead(early[0]))
		return 0
	}
	// A wrong link is early by any amount, a clock by one: what is much earlier than the
	// middle of the early ones is no measure of it.
	middle, wrong := c.lead(early[len(early)/2]), 0
	for c.lead(early[wrong])/clockFar < middle {
		wrong++
	}
	behind := -c.lead(early[wrong])
	part := stat.Ratio(int64(len(early)-wrong), int64(len(rows)))
	c.doubt(Clock, early[wrong], max(0.1, min(part, 0.4)), float64(behind)/1e3, "us",
		"device %d: %s of %d begin before the call that launched them, so the device's clock is behind the host's by at least %s; its times are moved by that, and a wait for a launch may be longer than it seems",
		id, plural(len(early)-wrong, "slice"), len(rows), units.Duration(float64(behind)))
	if wrong > 0 {
		c.earlyWork(early[:wrong], len(rows), -c.lead(early[0]))
	}
	return behind
}

// earlyWork parts work from a launch that it cannot have.
func (c *checker) earlyWork(rows []int32, of int, most int64) {
	if c.apart == nil {
		c.apart = map[int32]bool{}
	}
	for _, i := range rows {
		c.apart[i] = true
	}
	c.own()
	c.doubt(EarlyWork, rows[0], stat.Ratio(int64(len(rows)), int64(of)), float64(len(rows)), "count",
		"%s of %d %s before the call with the same correlation, by up to %s: who launched %s is taken as unknown",
		plural(len(rows), "device slice"), of, verb(len(rows), "begins", "begin"), units.Duration(float64(most)), verb(len(rows), "it", "them"))
}

// missingShare is the part of the launches, of kernels or of graphs, without device work from
// which it is said: a call that failed, or a window that ended before the work, is nothing.
const missingShare = 0.02

// launches looks for launch calls whose work is not in the trace.
func (c *checker) launches() {
	all := c.v.Launches()
	if len(all) == 0 {
		return
	}
	if len(c.v.Work) == 0 {
		c.doubt(NoWork, all[0], 0.2, float64(len(all)), "count",
			"%s (%s) %s in the trace and no device work: the device's activities were not recorded, by choice (activities without CUDA, HIP or XPU), for lack of rights or of the driver's tracing library, or because another profiler held it. What follows is the host's time",
			plural(len(all), "launch call"), c.name(all[0]), verb(len(all), "is", "are"))
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
		c.doubt(Unmatched, missing[0], 0.2, float64(len(missing)), "count",
			"%s and %s have no correlation in common: who launched what is not known, and neither is what the device waited for",
			plural(len(missing), "launch call"), plural(orphans, "device slice"))
		c.missing = nil
		return
	}
	c.missingWork(all, missing, linked)
}

// missingWork says which launches have no work. all and missing are by start.
func (c *checker) missingWork(all, missing []int32, linked func(int32) bool) {
	graphs, graphsMissing, deviceWork := 0, 0, 0
	for _, i := range all {
		if isGraph := view.IsGraphLaunch(c.v.Name(i)); isGraph {
			graphs++
			graphsMissing += b2i(!linked(i))
		}
		deviceWork += b2i(linked(i))
	}
	part := max(stat.Ratio(int64(len(missing)), int64(len(all))), stat.Ratio(int64(graphsMissing), int64(graphs)))
	if part < missingShare {
		return
	}
	n, of, what := len(missing), len(all), "launches have"
	if graphsMissing == n {
		of, what = graphs, "graph launches have"
	} else if graphsMissing > 0 {
		what = fmt.Sprintf("launches (%d of %d of graphs) have", graphsMissing, graphs)
	}
	c.doubt(MissingWork, missing[0], part, float64(n), "count",
		"%d of %d %s no device work in the trace, %s: idle time, kernels a step and the verdict are unreliable and rest on the others",
		n, of, what, c.whereMissing(all, linked))
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
		return "none of them (their device's activities were not recorded)"
	}
	middle := 0
	for _, i := range all[first : last+1] {
		middle += b2i(!linked(i))
	}
	var where []string
	if head > 0 {
		where = append(where, fmt.Sprintf("%d at the start (the device's recording began late)", head))
	}
	if middle > 0 {
		where = append(where, fmt.Sprintf("%d in between (activity buffers overflowed)", middle))
	}
	if tail > 0 {
		where = append(where, fmt.Sprintf("%d at the end (activity buffers overflowed, or the window ended before the work)", tail))
	}
	return strings.Join(where, ", ")
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
