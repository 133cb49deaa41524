package plausible

import (
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// noTimeGap is how far, in ns, all other times must be after the file's zero for the zero to mean
// that a time is missing.
const noTimeGap = 100_000_000 // ns

// noTime leaves out slices at the file's zero that end long before everything else begins:
// profilers write 0 if the device's driver gave no time.
func (c *checker) noTime() {
	base := c.v.Trace.Meta.BaseTimeNs
	zero := func(i int32) bool { return c.v.Start[i] == base || c.v.Start[i] == 0 }
	var at []int32
	lo, hi, rest := int64(0), int64(0), false
	for i := range int32(len(c.v.Start)) {
		if zero(i) {
			at = append(at, i)
			continue
		}
		if !rest {
			lo, hi, rest = c.v.Start[i], c.v.End(i), true
		}
		lo, hi = min(lo, c.v.Start[i]), max(hi, c.v.End(i))
	}
	far := max(noTimeGap, hi-lo)
	device, first := 0, int32(-1)
	for _, i := range at {
		if !rest || lo-c.v.End(i) <= far {
			continue
		}
		c.drop(i)
		if first < 0 || c.v.LaneOf[i] >= 0 && c.v.LaneOf[first] < 0 {
			first = i
		}
		if c.v.LaneOf[i] >= 0 {
			device++
		}
	}
	if first < 0 {
		return
	}
	n, what := device, "device slice"
	if n == 0 {
		n, what = len(at), "slice"
	}
	c.doubt(NoTime, first, extent{max(0.01, stat.Ratio(int64(device), int64(len(c.v.Work)))), float64(n), "count"},
		"%s %s no time (ts 0), %s the first: left out of everything", units.Plural(n, what), verb(n, "has", "have"),
		c.name(first))
}

// Limits of what counts as an overrun.
const (
	// ns by which an enclosed slice must begin before its encloser ends; files can round to microseconds
	overrunSlack  = 5_000
	overrunShare  = 0.25 // of a lane's slices that enclose others: more, and the lane is no single stream
	overrunFew    = 2    // that are overruns in a short lane as well
	overlapNotice = 0.1  // of a lane's summed time in partial overlaps, from which it is said
)

// overruns finds slices that enclose later slices of their stream. A stream runs one thing after
// the other; only the nodes of one graph may run side by side. Such a slice is cut where the next
// begins. Slices that overlap in part are left as they are, because dependent launches of recent
// devices begin early.
func (c *checker) overruns() {
	var all int64
	for _, i := range c.v.Work {
		if c.kept(i) {
			all += c.v.Dur[i]
		}
	}
	for l, rows := range c.v.ByLane() {
		rows = slices.DeleteFunc(rows, func(i int32) bool { return !c.kept(i) })
		if len(rows) > 1 && c.v.OnDevice(rows[0]) && !c.nests(rows[0]) {
			c.overrunsOf(int32(l), rows, all)
		}
	}
}

// nests reports whether work i lies on a lane whose rows enclose each other by design.
func (c *checker) nests(i int32) bool { return c.v.Trace.Slices.Cat[i] == trace.CatMTIACCP }

// overrunsOf checks the slices of one lane, which are by start; all is the summed time of all
// device work.
func (c *checker) overrunsOf(l int32, rows []int32, all int64) {
	inside := map[int32]int{} // by slice: how many later ones it encloses
	var open []int32          // slices that have not ended, their ends descending
	var sum, overlap, end int64
	for k, i := range rows {
		sum += c.v.Dur[i]
		if k > 0 && c.v.Start[i] < end {
			overlap += min(end, c.v.End(i)) - c.v.Start[i]
		}
		end = max(end, c.v.End(i))
		for len(open) > 0 && (c.v.End(open[len(open)-1]) <= c.v.Start[i] || c.v.End(open[len(open)-1]) < c.v.End(i)) {
			open = open[:len(open)-1]
		}
		if n := len(open); n > 0 && !c.mates(open[n-1], i) && c.v.End(open[n-1])-c.v.Start[i] > overrunSlack &&
			c.v.Start[open[n-1]] < c.v.Start[i] {
			inside[open[n-1]]++
		}
		open = append(open, i)
	}
	if len(inside) == 0 || len(inside) > max(overrunFew, int(overrunShare*float64(len(rows)))) {
		if part := stat.Ratio(overlap, sum); part >= overlapNotice {
			c.doubt(SharedLane, rows[0], extent{min(part, 0.3), 100 * part, "%"},
				"%s: its slices overlap for %s of their summed time, so it is no single stream (several queues, ranks or graphs in one lane): sums of kernel times can exceed the time, busy time does not",
				c.lane(l), units.Share(part))
		}
		return
	}
	c.cut(l, rows, inside, all)
}

// mates says whether a and b were launched by one call, as the nodes of a graph are.
func (c *checker) mates(a, b int32) bool {
	corr := c.v.Trace.Slices.Corr
	if la, lb := c.v.Launch(a), c.v.Launch(b); la >= 0 || lb >= 0 {
		return la == lb
	}
	return corr[a] >= 0 && corr[a] == corr[b]
}

// cut ends each slice of inside where the next of its lane begins.
func (c *checker) cut(l int32, rows []int32, inside map[int32]int, all int64) {
	c.own()
	worst, was := int32(-1), int64(0)
	for k, i := range rows {
		if inside[i] == 0 {
			continue
		}
		was += c.v.Dur[i]
		if worst < 0 || c.v.Dur[i] > c.v.Dur[worst] {
			worst = i
		}
		for _, next := range rows[k+1:] {
			if c.v.Start[next] > c.v.Start[i] {
				c.dur[i] = c.v.Start[next] - c.v.Start[i]
				break
			}
		}
	}
	part := stat.Ratio(was, all)
	others := ""
	if n := len(inside) - 1; n > 0 {
		others = " (" + units.Plural(n, "more such slice") + ")"
	}
	c.doubt(Overrun, worst, extent{part, float64(c.v.Dur[worst]) / 1e3, "us"},
		"%s: %s lasts %s, and %s of the stream begin and end inside it, which is impossible; it is counted up to the next start, %s%s. As it stands it would be %s of the summed device time",
		c.lane(l), c.name(worst), units.Duration(float64(c.v.Dur[worst])), units.Plural(inside[worst], "later slice"),
		units.Duration(float64(c.dur[worst])), others, units.Share(part))
}

// noDurationShare is the share of device work of no length from which it is said, in a file
// whose times are finer than a microsecond.
const noDurationShare = 0.01

// noDuration reports how much device work has no length. Files of whole microseconds round short
// work to 0, so for these it reports nothing.
func (c *checker) noDuration() {
	n, first, fine := 0, int32(-1), false
	for _, i := range c.v.Work {
		fine = fine || c.v.Dur[i]%1000 != 0
		if c.kept(i) && c.v.Dur[i] == 0 && !strings.HasPrefix(c.v.Name(i), "Memset") {
			if n++; first < 0 {
				first = i
			}
		}
	}
	if part := stat.Ratio(int64(n), int64(len(c.v.Work))); fine && part >= noDurationShare {
		c.doubt(NoDuration, first, extent{min(part, 0.3), float64(n), "count"},
			"%s of %d %s a duration of 0, %s the first: their time is in no sum", units.Plural(n, "device slice"),
			len(c.v.Work), verb(n, "has", "have"), c.name(first))
	}
}

// Limits beyond which one slice is suspicious: it takes this part of the summed time, of at least
// this many slices, and lasts this many times as long as the next one of its name, or as any other
// slice if no other has its name.
const (
	dominantShare  = 0.5
	dominantSlices = 10
	dominantRatio  = 20
)

// dominant reports a slice that takes most of the device's time. If it lasts far beyond everything
// else in the trace it is left out, because a program that waited for it would show something at
// its end.
func (c *checker) dominant() {
	worst, n := int32(-1), 0
	var all int64
	for _, i := range c.v.Work {
		if !c.kept(i) {
			continue
		}
		n++
		all += c.durOf(i)
		if worst < 0 || c.durOf(i) > c.durOf(worst) {
			worst = i
		}
	}
	if n < dominantSlices || float64(c.durOf(worst)) < dominantShare*float64(all) {
		return
	}
	var next, nextNamed, end int64
	named := false
	names := c.v.Trace.Slices.Name
	lead, leadNs := int32(-1), map[int32]int64{}
	for _, i := range c.v.Work {
		if i == worst || !c.kept(i) {
			continue
		}
		next = max(next, c.durOf(i))
		if names[i] == names[worst] {
			named, nextNamed = true, max(nextNamed, c.durOf(i))
		}
		leadNs[int32(names[i])] += c.durOf(i)
		if lead < 0 || leadNs[int32(names[i])] > leadNs[int32(names[lead])] {
			lead = i
		}
	}
	if named {
		next = nextNamed
	}
	if c.durOf(worst) < dominantRatio*max(1, next) {
		return
	}
	for i := range int32(len(c.v.Start)) {
		if i != worst && c.kept(i) {
			end = max(end, c.startOf(i)+c.durOf(i))
		}
	}
	rest := all - c.durOf(worst)
	beyond := c.startOf(worst) + c.durOf(worst) - end
	tail, left := "", "without it"
	if 2*beyond > c.durOf(worst) {
		tail = ". It ends " + units.Duration(float64(beyond)) + " after everything else in the trace and is left out"
		left = "the rest"
	}
	c.doubt(Dominant, worst, extent{0.3, 100 * stat.Ratio(c.durOf(worst), all), "%"},
		"%s: one slice of %s lasts %s, %s of the summed device time and %.0f times as long as the next%s%s; %s, %s of %s is %s",
		c.lane(c.v.LaneOf[worst]), c.name(worst), units.Duration(float64(c.durOf(worst))),
		units.Share(stat.Ratio(c.durOf(worst), all)),
		stat.Ratio(c.durOf(worst), max(1, next)), ofName(named), tail, left,
		units.Duration(float64(leadNs[int32(names[lead])])), units.Duration(float64(rest)), c.name(lead))
	if tail != "" {
		c.drop(worst)
	}
}

func ofName(named bool) string {
	if named {
		return " of its name"
	}
	return ""
}
