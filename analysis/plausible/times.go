package plausible

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// noTimeGap is how far, in ns, all other times must be after the file's zero for the zero to mean
// that a time is missing.
const noTimeGap = 100_000_000 // ns

// noTime leaves out slices at the file's zero that end long before everything else begins, or of which the reader
// knows that they have no time: profilers write 0 if the device's driver gave no time.
func (c *checker) noTime() {
	base := c.v.Trace.Meta.BaseTimeNs
	zero := func(i int32) bool { return c.v.Start[i] == base || c.v.Start[i] == 0 }
	var at []int32
	lo, hi, rest := int64(0), int64(0), false
	for i := range int32(len(c.v.Start)) {
		if !c.kept(i) {
			continue
		}
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
		if !rest || lo-c.v.End(i) <= far && !c.v.Trace.Timeless(int(i)) {
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
	// slices at once that no lane has where the others run one by one: hardware queues behind a stream are four
	// by default, and eight ranks share a lane where somebody merged a host's
	overrunDeep   = 8
	overrunInto   = 20_000 // ns by which a slice must reach into a later one that ends after it
	overrunOfName = 2      // times the shortest slice of its name that it must last then, see reaches
	overrunOthers = 3      // slices of its name that are needed to know that
)

// overruns finds slices that enclose later slices of their stream. A stream runs one thing after
// the other; only the nodes of one graph may run side by side. Such a slice is cut where the next
// begins, and so is one that reaches far into the next and lasts much longer than others of its name.
// Other slices that overlap in part are left as they are, because dependent launches of recent
// devices begin early, and last the longer for it.
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
	var reach []int32         // slices that reach into the next
	var open []int32          // slices that have not ended, their ends descending
	var sum, overlap, end int64
	for k, i := range rows {
		sum += c.v.Dur[i]
		if k > 0 && c.v.Start[i] < end {
			overlap += min(end, c.v.End(i)) - c.v.Start[i]
		}
		end = max(end, c.v.End(i))
		for len(open) > 0 && (c.v.End(open[len(open)-1]) <= c.v.Start[i] || c.v.End(open[len(open)-1]) < c.v.End(i)) {
			if last := open[len(open)-1]; c.v.End(last)-c.v.Start[i] > overrunInto && !c.mates(last, i) {
				reach = append(reach, last)
			}
			open = open[:len(open)-1]
		}
		if n := len(open); n > 0 && !c.mates(open[n-1], i) && c.v.End(open[n-1])-c.v.Start[i] > overrunSlack &&
			c.v.Start[open[n-1]] < c.v.Start[i] {
			inside[open[n-1]]++
		}
		open = append(open, i)
	}
	short := c.shortest(rows, len(reach) > 0)
	for _, i := range reach {
		if s := short[c.v.Trace.Slices.Name[i]]; inside[i] == 0 && s.n > overrunOthers &&
			c.v.Dur[i] >= overrunOfName*s.ns {
			inside[i] = 0 // encloses none, and is cut all the same
		}
	}
	few := len(inside) <= max(overrunFew, int(overrunShare*float64(len(rows))))
	if len(inside) == 0 || !few && (c.atOnce(rows) <= overrunDeep || !c.serial(rows, inside)) {
		if part := stat.Ratio(overlap, sum); part >= overlapNotice {
			c.shared = append(c.shared, c.v.Lanes[l])
			least, busy, span := c.busy(l, rows)
			c.doubt(SharedLane, rows[0], extent{min(part, 0.3), 100 * part, "%"},
				"%s: its slices overlap for %s of their summed time: it is no single stream (several queues, ranks or graphs in one lane), or many ends were lost. Sums of kernel times can exceed the time; the stream is taken as busy for %s of its time, %s if each slice ended where the next begins",
				c.lane(l), units.Share(part), units.Share(stat.Ratio(busy, span)), units.Share(stat.Ratio(least, span)))
		}
		return
	}
	c.cut(l, rows, inside, all)
}

// busy is for how long lane l is busy with rows, which are by start: most if slices may overlap, and
// least if each ended where the next begins; span is the time from the first to the last.
func (c *checker) busy(l int32, rows []int32) (least, most, span int64) {
	list := c.v.Busy(rows)
	from, to := list[0].Start, list[len(list)-1].End
	return view.Within(c.v.BusyCut(rows, c.v.Lanes[l:l+1]), from, to), view.Within(list, from, to), to - from
}

// shortestOf is the shortest of n slices.
type shortestOf struct {
	ns int64
	n  int
}

// shortest is by name the shortest of rows that has a duration; nil unless it is needed.
func (c *checker) shortest(rows []int32, needed bool) map[trace.StringID]shortestOf {
	if !needed {
		return nil
	}
	out := map[trace.StringID]shortestOf{}
	for _, i := range rows {
		name := c.v.Trace.Slices.Name[i]
		s := out[name]
		if c.v.Dur[i] > 0 && (s.n == 0 || c.v.Dur[i] < s.ns) {
			s.ns = c.v.Dur[i]
		}
		s.n++
		out[name] = s
	}
	return out
}

// atOnce is the most of rows, which are by start, that run at one time.
func (c *checker) atOnce(rows []int32) int {
	ends := make([]int64, len(rows))
	for k, i := range rows {
		ends[k] = c.v.End(i)
	}
	slices.Sort(ends)
	most, ended := 0, 0
	for k, i := range rows {
		for ended < len(ends) && ends[ended] <= c.v.Start[i] {
			ended++
		}
		most = max(most, k+1-ended)
	}
	return most
}

// serial reports whether the rows of a lane run one after the other without those in but.
func (c *checker) serial(rows []int32, but map[int32]int) bool {
	last := view.None
	for _, i := range rows {
		if _, out := but[i]; out {
			continue
		}
		if last >= 0 && c.v.End(last)-c.v.Start[i] > overrunSlack && !c.mates(last, i) {
			return false
		}
		last = i
	}
	return true
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
	next := int64(math.MinInt64) // the first start after that of the row
	for k := len(rows) - 1; k >= 0; k-- {
		i := rows[k]
		if k+1 < len(rows) && c.v.Start[rows[k+1]] > c.v.Start[i] {
			next = c.v.Start[rows[k+1]]
		}
		if _, ok := inside[i]; !ok {
			continue
		}
		was += c.v.Dur[i]
		if worst < 0 || c.v.Dur[i] >= c.v.Dur[worst] {
			worst = i
		}
		if next > c.v.Start[i] {
			c.dur[i] = next - c.v.Start[i]
		}
	}
	part := min(1, stat.Ratio(was, all))
	others := ""
	if n := len(inside) - 1; n > 0 {
		others = " (" + units.Plural(n, "more such slice") + ")"
	}
	what := fmt.Sprintf("and %s of the stream %s inside it", units.Plural(inside[worst], "later slice"),
		verb(inside[worst], "begins and ends", "begin and end"))
	if inside[worst] == 0 {
		what = "past the begin of the next slice of the stream"
	}
	c.doubt(Overrun, worst, extent{part, float64(c.v.Dur[worst]) / 1e3, "us"},
		"%s: %s lasts %s, %s, which is impossible; it is counted up to the next start, %s%s. As it stands it would be %s of the summed device time",
		c.lane(l), c.name(worst), units.Duration(float64(c.v.Dur[worst])), what,
		units.Duration(float64(c.dur[worst])), others, units.Share(part))
}

// Limits of what counts as a lost duration.
const (
	noDurationShare  = 0.01   // of device work, in a file whose times are finer than a microsecond
	noDurationUsual  = 10_000 // ns that the other work of a name takes, which no rounding makes 0
	noDurationOthers = 2      // slices of the name with a duration that are needed to know that
)

// noDuration reports how much device work has no length. Files of whole microseconds round short
// work to 0: in these only work counts whose name takes long elsewhere.
func (c *checker) noDuration() {
	fine := slices.ContainsFunc(c.v.Work, func(i int32) bool { return c.v.Dur[i]%1000 != 0 })
	var zero []int32
	for _, i := range c.v.Work {
		if c.kept(i) && c.v.Dur[i] == 0 && !strings.HasPrefix(c.v.Name(i), "Memset") {
			zero = append(zero, i)
		}
	}
	if len(zero) == 0 {
		return
	}
	if !fine || stat.Ratio(int64(len(zero)), int64(len(c.v.Work))) < noDurationShare {
		long := c.usuallyLong()
		zero = slices.DeleteFunc(zero, func(i int32) bool { return !long[c.v.Trace.Slices.Name[i]] })
	}
	if len(zero) == 0 {
		return
	}
	part := stat.Ratio(int64(len(zero)), int64(len(c.v.Work)))
	c.doubt(NoDuration, zero[0], extent{min(part, 0.3), float64(len(zero)), "count"},
		"%s of %d %s a duration of 0, %s the first: their time is in no sum and counts as idle",
		units.Plural(len(zero), "device slice"), len(c.v.Work), verb(len(zero), "has", "have"), c.name(zero[0]))
}

// usuallyLong are the names of which all work that has a duration takes noDurationUsual or more.
func (c *checker) usuallyLong() map[trace.StringID]bool {
	least, n := map[trace.StringID]int64{}, map[trace.StringID]int{}
	for _, i := range c.v.Work {
		name := c.v.Trace.Slices.Name[i]
		if c.v.Dur[i] == 0 || !c.kept(i) {
			continue
		}
		if n[name]++; n[name] == 1 || c.v.Dur[i] < least[name] {
			least[name] = c.v.Dur[i]
		}
	}
	long := map[trace.StringID]bool{}
	for name, ns := range least {
		long[name] = ns >= noDurationUsual && n[name] >= noDurationOthers
	}
	return long
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
