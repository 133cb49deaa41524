package plausible

import (
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits of what counts as the drift of a clock.
const (
	driftMost    = 0.02    // ns a ns: beyond what a quartz does by far, so that damage is no drift
	driftLeast   = 25_000  // ns over the window below which a constant does: a few times what a launch takes
	driftWindows = 16      // parts of the window whose floors must lie on a line
	driftFew     = 4       // parts that are needed
	driftOff     = 0.1     // of the drift by which a floor may miss the line
	driftParts   = 8       // parts of the window that are needed then
	driftClose   = 0.05    // of the drift by which a floor may miss the line then
	driftSaid    = 100_000 // ns of drift from which a reader must know of it before anything else
	driftSmall   = 0.2     // the same where that is less than the error of clocks
	driftSteps   = 60      // of the search for a rate, each of which leaves two thirds of the range
	tightGap     = 5_000   // ns without work on the device before work that did not wait in a queue
	tightFew     = 20      // such work that is needed to say that launches take too long
	tightSome    = 6       // the same where the shortest delay is tightLong or more
	tightLong    = 500_000 // ns that no launch on an idle device takes
	tightSaid    = 40_000  // ns that hardly a card takes: twice as long as slow ones do
	tightOff     = 0.1     // of the delay by which most of them may differ
	tightShare   = 0.05    // of the launched work that must be such
)

// tight returns, by start, the launched work that began on an idle device: the time from its launch
// call to its begin is the delay of the launch alone. Graphs are left out because they take long to
// start.
func (k *clock) tight() []int32 {
	v := k.c.v
	var out []int32
	end, have := int64(0), false
	for _, i := range k.all {
		if l := v.Launch(i); l >= 0 && !k.c.apart[i] && (!have || v.Start[i]-end >= tightGap) &&
			!view.IsGraphLaunch(v.Name(l)) {
			out = append(out, i)
		}
		end, have = max(end, v.Start[i]+k.c.durOf(i)), true
	}
	return out
}

// slides finds a clock that drifts although no work is early: work on an idle device begins later
// and later after its launch, or sooner and sooner, along a line. Calls that waited for work must
// agree with it.
func (k *clock) slides(least []bound, late int) (line, bool) {
	rows := k.tight()
	if k.c.waitsForEvents || len(rows) < tightFew || float64(len(rows)) < tightShare*float64(len(k.rows)) {
		return line{}, false
	}
	by, ok := k.drifts(least, rows)
	if !ok || late > 0 {
		return by, ok
	}
	parts := min(driftWindows, len(rows)/2)
	first, last := k.c.v.Start[rows[0]], k.c.v.Start[rows[len(rows)-1]]
	far := abs(by.rate) * float64(last-first)
	if parts < driftParts {
		return line{}, false
	}
	for _, b := range k.floors(rows, parts) {
		if float64(by.at(b.at)-b.ns) > max(min(clockSlack, driftSmall/2*far), driftClose*far) {
			return line{}, false
		}
	}
	if least := -max(by.at(first), by.at(last)); least > 0 && least < tightSaid {
		by.by += least // what a launch takes where the clock is nearest
	}
	return by, true
}

// floors are the shortest delays of launches in parts of the window.
func (k *clock) floors(rows []int32, parts int) []bound {
	var out []bound
	for p := range parts {
		in := rows[p*len(rows)/parts : (p+1)*len(rows)/parts]
		best := slices.MinFunc(in, func(a, b int32) int { return int(k.c.lead(a) - k.c.lead(b)) })
		out = append(out, bound{k.c.v.Start[best], -k.c.lead(best), best})
	}
	return out
}

// idle returns the work that was launched when the device had nothing left to do, also if the
// device's clock is ahead by all that the launches allow: what was launched into a queue begins
// late for other reasons.
func (k *clock) idle() []int32 {
	rows := k.tight()
	v := k.c.v
	least := int64(math.MaxInt64)
	for _, i := range rows {
		least = min(least, max(0, v.Start[i]-v.End(v.Launch(i))))
	}
	at, end := 0, int64(math.MinInt64/2)
	return slices.DeleteFunc(rows, func(i int32) bool {
		for ; k.all[at] != i; at++ { // both are by start
			end = max(end, v.Start[k.all[at]]+k.c.durOf(k.all[at]))
		}
		return v.End(v.Launch(i)) < end-least
	})
}

// promptly finds a clock that is ahead although no call waited for work: all that an idle
// device begins comes late, and by the same time. Where that could be the device as well, it is
// said how much depends on it, and nothing is moved.
func (k *clock) promptly() (line, bool) {
	if k.c.waitsForEvents || !k.alone {
		return line{}, false
	}
	rows := k.idle()
	if len(rows) < tightSome || float64(len(rows)) < tightShare*float64(len(k.rows)) {
		return line{}, false
	}
	leads := make([]int64, len(rows))
	for n, i := range rows {
		leads[n] = max(0, k.c.v.Start[i]-k.c.v.End(k.c.v.Launch(i)))
	}
	slices.Sort(leads)
	least, usual := leads[0], leads[3*len(leads)/4]
	if least < tightSaid || least < tightLong && len(rows) < tightFew {
		return line{}, false
	}
	for _, b := range k.ends {
		if b.ns < least/2 {
			return line{}, false
		}
	}
	if least < tightLong || float64(usual-least) > tightOff*float64(least) {
		k.sayOpen(rows, least)
		return line{}, false
	}
	k.c.doubt(Clock, rows[0], extent{0.1, -float64(least) / 1e3, "us"},
		"device %d: each of %s that found the device idle begins %s or more after its launch, and most within %s of that: the device's clock is ahead of the host's by about as much, at most; its times are moved back by that. No call that waits for the device bounds it better",
		k.id, units.Plural(len(rows), "slice"), units.Duration(float64(least)), units.Duration(float64(usual-least)))
	return line{by: -least}, true
}

// sayOpen says that a clock may be ahead by least, and how much of the device's span would be no
// wait then.
func (k *clock) sayOpen(rows []int32, least int64) {
	first, last := k.c.v.Start[k.rows[0]], k.c.v.Start[k.rows[0]]
	for _, i := range k.rows {
		first, last = min(first, k.c.v.Start[i]), max(last, k.c.v.End(i))
	}
	open := int64(len(rows)) * least
	part := stat.Ratio(open, last-first)
	k.c.doubt(Clock, rows[0], extent{part, -float64(least) / 1e3, "us"},
		"device %d: each of %s that found the device idle begins %s or more after its launch, where cards begin within 20 µs: the device is slow to start, or its clock is ahead of the host's by up to that. Times are left as they are; up to %s of its span (%s) of starting and waiting for launches depend on it",
		k.id, units.Plural(len(rows), "slice"), units.Duration(float64(least)), units.Duration(float64(open)),
		units.Share(part))
}

// between finds the line with the most distance from the lower bounds least and from the upper
// bounds; ok is false if no line lies between all of them. Upper bounds that a wrong link caused
// are not removed, so one wrong link can make ok false.
func (k *clock) between(least []bound) (line, bool) {
	if len(k.ends) < driftFew || len(least) < driftFew {
		return line{}, false
	}
	from := least[0].at
	room := func(rate float64) (lo, hi int64) {
		l := line{from: from, rate: rate}
		lo, hi = least[0].ns-l.at(least[0].at), k.ends[0].ns-l.at(k.ends[0].at)
		for _, b := range least {
			lo = max(lo, b.ns-l.at(b.at))
		}
		for _, b := range k.ends {
			hi = min(hi, b.ns-l.at(b.at))
		}
		return lo, hi
	}
	width := func(rate float64) int64 { lo, hi := room(rate); return hi - lo }
	a, b := -driftMost, driftMost
	for range driftSteps { // the width is concave in the rate
		x, y := a+(b-a)/3, b-(b-a)/3
		if width(x) < width(y) {
			a = x
		} else {
			b = y
		}
	}
	rate := (a + b) / 2
	lo, hi := room(rate)
	if hi-lo < -clockSlack || rate < -0.99*driftMost || rate > 0.99*driftMost {
		return line{}, false
	}
	return line{from: from, by: min(lo, hi) + max(0, (hi-lo)/2), rate: rate}, true
}

// drifts finds the line below which the delays of tight launches begin, if they do so
// along a line.
func (k *clock) drifts(least []bound, rows []int32) (line, bool) {
	parts := min(driftWindows, len(rows)/2)
	if parts < driftFew {
		return line{}, false
	}
	floor := k.floors(rows, parts)
	var rates []float64
	for n, a := range floor {
		for _, b := range floor[n+1:] {
			if b.at > a.at {
				rates = append(rates, float64(b.ns-a.ns)/float64(b.at-a.at))
			}
		}
	}
	if len(rates) == 0 {
		return line{}, false
	}
	slices.Sort(rates)
	by := line{from: floor[0].at, rate: rates[len(rates)/2]}
	far := abs(by.rate) * float64(floor[len(floor)-1].at-floor[0].at)
	if far < driftLeast || abs(by.rate) > driftMost {
		return line{}, false
	}
	off := func(b bound) int64 { return b.ns - by.at(b.at) }
	by.by = off(slices.MaxFunc(least, func(a, b bound) int { return int(off(a) - off(b)) }))
	for _, b := range floor {
		if float64(-off(b)) > max(min(2*clockSlack, driftSmall*far), driftOff*far) {
			return line{}, false
		}
	}
	for _, b := range k.ends {
		if off(b) < -clockSlack {
			return line{}, false // it contradicts a call that waited
		}
	}
	return by, true
}

func abs(x float64) float64 { return max(x, -x) }

// sayDrift says by how much the clock differs at the begin and at the end of the device's work.
func (k *clock) sayDrift(by line, slice int32, n int) (line, bool) {
	first, last := k.c.v.Start[k.rows[0]], k.c.v.Start[k.rows[0]]
	for _, i := range k.rows {
		first, last = min(first, k.c.v.Start[i]), max(last, k.c.v.End(i))
	}
	most := by.at(last)
	if abs(float64(by.at(first))) > abs(float64(most)) {
		most = by.at(first)
	}
	part, bounds := max(0.1, min(stat.Ratio(int64(n), int64(len(k.rows))), 0.4)),
		"launches and the calls that waited for work bound it"
	if len(k.ends) == 0 {
		bounds = "launches bound it"
	}
	if abs(float64(most)) < driftSaid {
		part = 0.05 // it is set right, and less than what most answers can show
	}
	k.c.doubt(Clock, slice, extent{part, float64(most) / 1e3, "us"},
		"device %d: its clock runs away from the host's: %s at the begin of its work and %s at the end (%+.0f ppm), as %s; its times are moved by that",
		k.id, offset(by.at(first)), offset(by.at(last)), 1e6*by.rate, bounds)
	return by, true
}

// offset says by how much a clock is ahead or behind to which ns are added.
func offset(ns int64) string {
	if ns == 0 {
		return "right"
	}
	if ns < 0 {
		return units.Duration(float64(-ns)) + " ahead"
	}
	return units.Duration(float64(ns)) + " behind"
}
