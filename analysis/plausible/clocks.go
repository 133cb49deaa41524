package plausible

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits of what is plausible for two clocks.
const (
	// ns by which work may begin before its launch call, or end after the call that waited for it: the error of clocks
	// that agree
	clockSlack = 10_000
	// the part of a device's launched work that must be early for its clock to count as behind; if
	// less is early, single links are wrong
	clockShare = 0.05
	clockFew   = 3  // early slices that are needed as well
	clockFar   = 10 // times the median by which a slice must be early to be a wrong link all the same
)

// clocks compares each device's clock with the host's. Work cannot begin before the call that
// launched it, and must have ended when a call that waits for it returns. Both give bounds of what
// has to be added to the device's times. If these bounds exclude 0, the clocks differ: the device's
// times are moved by the smallest constant within the bounds or, if there is none, along a line. If
// little work is early, its links to launches are wrong.
func (c *checker) clocks() {
	devices := c.devices()
	ids := make([]int64, len(devices))
	for k := range devices {
		ids[k] = devices[k].id
	}
	waits := c.waits(ids)
	moved := map[int64]line{}
	for i := range devices {
		k := &devices[i]
		k.ends, k.alone = waits[k.id], len(devices) == 1
		if by, ok := k.compare(); ok {
			moved[k.id] = by
		}
	}
	if len(moved) == 0 {
		return
	}
	c.own()
	s := &c.v.Trace.Slices
	for i := range int32(len(c.start)) {
		tk := &c.v.Trace.Tracks[s.Track[i]]
		if by, ok := moved[tk.Device]; ok && tk.Kind == trace.TrackGPU && c.kept(i) {
			end := c.start[i] + c.dur[i]
			c.start[i], c.dur[i] = c.start[i]+by.at(c.start[i]), c.dur[i]+by.at(end)-by.at(c.start[i])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(moved)) {
		c.clocksFound = append(c.clocksFound, DeviceClock{Device: id, line: moved[id]})
	}
}

// DeviceClock is the clock of a device that differs from the host's: what its trace says of launches, and of calls
// that waited for work, cannot be true with it.
type DeviceClock struct {
	Device int64
	line   line
}

// Host returns the host's time at time ns of the device.
func (d DeviceClock) Host(ns int64) int64 { return ns + d.line.at(ns) }

// line is what is added to a device's times.
type line struct {
	from int64   // the instant at which the correction is by
	by   int64   // ns to add at from
	rate float64 // ns to add more for each ns after from
}

func (l line) at(t int64) int64 { return l.by + int64(l.rate*float64(t-l.from)) }

// bound limits what must be added to the device's clock, in ns, at an instant of that clock.
type bound struct {
	at, ns int64
	slice  int32
}

// clock is the comparison of one device's clock with the host's.
type clock struct {
	c     *checker
	id    int64
	alone bool    // no other device has launched work, for which this one may wait
	rows  []int32 // launched work of the device, by start
	all   []int32 // all its work, by start
	ends  []bound // at most: from calls that waited for work
}

// devices are the clocks of the devices that have launched work, in order of their ids. There can
// be as many devices as slices: their work is counted first and then laid into one block.
func (c *checker) devices() []clock {
	number := map[int64]int32{}
	of := make([]int32, len(c.v.Lanes)) // by lane: number of its device
	for l := range c.v.Lanes {
		id := c.v.Lanes[l].Device
		k, ok := number[id]
		if !ok {
			k = int32(len(number))
			number[id] = k
		}
		of[l] = k
	}
	list := make([]clock, len(number))
	for id, k := range number {
		list[k] = clock{c: c, id: id}
	}
	each := func(f func(d int32, i int32, launched bool)) {
		for _, i := range c.v.ByStart {
			if c.kept(i) && c.v.OnDevice(i) {
				f(of[c.v.LaneOf[i]], i, c.v.Launch(i) >= 0)
			}
		}
	}
	all, launched := make([]int32, len(list)), make([]int32, len(list))
	sum := 0
	each(func(d, _ int32, has bool) {
		all[d]++
		launched[d] += int32(stat.One(has))
		sum += 1 + stat.One(has)
	})
	block := make([]int32, 0, sum)
	room := func(n int32) []int32 {
		at := len(block)
		block = block[:at+int(n)]
		return block[at:at:len(block)]
	}
	for d := range list {
		list[d].all, list[d].rows = room(all[d]), room(launched[d])
	}
	each(func(d, i int32, has bool) {
		k := &list[d]
		if k.all = append(k.all, i); has {
			k.rows = append(k.rows, i)
		}
	})
	list = slices.DeleteFunc(list, func(k clock) bool { return len(k.rows) == 0 })
	slices.SortFunc(list, func(a, b clock) int { return cmp.Compare(a.id, b.id) })
	return list
}

// lead returns how long after the start of its launch call work i began, in ns; negative if it
// began before.
func (c *checker) lead(i int32) int64 { return c.v.Start[i] - c.v.Start[c.v.Launch(i)] }

// compare returns what to add to the device's times; ok is false if nothing.
func (k *clock) compare() (by line, ok bool) {
	early := k.early()
	var late []bound // by the most first
	for _, b := range k.ends {
		if b.ns < -clockSlack {
			late = append(late, b)
		}
	}
	slices.SortFunc(late, func(a, b bound) int {
		return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.slice, b.slice))
	})
	least := k.least()
	if len(early) == 0 && len(least) > 0 {
		if by, ok := k.slides(least, len(late)); ok {
			return k.sayDrift(by, least[0].slice, len(k.rows))
		}
	}
	if len(early) == 0 && len(late) == 0 {
		return k.promptly()
	}
	worst := least[0]
	for _, b := range least {
		if b.ns > worst.ns {
			worst = b
		}
	}
	most, consistent := k.most(worst.ns)
	fits := !consistent || worst.ns <= most+clockSlack
	switch {
	case len(early) > 0 && fits:
		if by, ok := k.drifts(least, k.tight()); ok {
			return k.sayDrift(by, early[0], len(early))
		}
		return k.sayBehind(worst, early, most, consistent)
	case len(early) == 0 && fits && 2*k.lost(late, worst.ns) <= len(late):
		return k.sayAhead(worst.ns, late)
	}
	if by, ok := k.between(least); ok {
		first := worst.slice
		if len(early) == 0 {
			first = late[0].slice
		}
		return k.sayDrift(by, first, len(early)+len(late))
	}
	if len(early) > 0 {
		return k.sayBehind(worst, early, most, false)
	}
	k.sayLate(late)
	return line{}, false
}

// early returns the work that begins before its launch by more than the clocks' error, the earliest
// first. Work that is early because its link is wrong is separated from its launch and removed from
// k.rows.
func (k *clock) early() []int32 {
	c := k.c
	var early []int32
	for _, i := range k.rows {
		if c.lead(i) < -clockSlack {
			early = append(early, i)
		}
	}
	if len(early) == 0 {
		return nil
	}
	slices.SortFunc(early, func(a, b int32) int { return cmp.Or(cmp.Compare(c.lead(a), c.lead(b)), cmp.Compare(a, b)) })
	wrong := 0
	few := stat.Ratio(int64(len(early)), int64(len(k.rows))) < clockShare && !k.mostTight() &&
		!k.noneWaited(-c.lead(early[len(early)/2]))
	if few || len(early) < clockFew {
		wrong = len(early)
	} else {
		// A wrong link can make work early by any amount, a clock moves all work by the same. So
		// work that is much earlier than the median has a wrong link, and does not measure the
		// clock.
		for middle := c.lead(early[len(early)/2]); c.lead(early[wrong])/clockFar < middle; {
			wrong++
		}
	}
	if wrong > 0 {
		c.earlyWork(early[:wrong], len(k.rows), -c.lead(early[0]))
		k.rows = slices.DeleteFunc(slices.Clone(k.rows), func(i int32) bool { return c.apart[i] })
	}
	return early[wrong:]
}

// mostTight reports whether most of the work that began on an idle device is early. Work that
// waited in a queue does not show a clock that is behind.
func (k *clock) mostTight() bool {
	rows, n := k.tight(), 0
	for _, i := range rows {
		n += stat.One(k.c.lead(i) < -clockSlack)
	}
	return n >= clockFew && 2*n > len(rows)
}

// noneWaited reports whether several calls wait for work and none of them returns within ns of the
// work's end. With clocks that agree, some would.
func (k *clock) noneWaited(ns int64) bool {
	return len(k.ends) >= clockFew && ns > clockFar*clockSlack &&
		!slices.ContainsFunc(k.ends, func(b bound) bool { return b.ns < ns-clockSlack })
}

// earlyWork separates work from launches that cannot be its own.
func (c *checker) earlyWork(rows []int32, of int, most int64) {
	if c.apart == nil {
		c.apart = map[int32]bool{}
	}
	for _, i := range rows {
		c.apart[i] = true
	}
	c.own()
	c.doubt(EarlyWork, rows[0], extent{stat.Ratio(int64(len(rows)), int64(of)), float64(len(rows)), "count"},
		"%s of %d %s before the call with the same correlation, by up to %s: who launched %s is taken as unknown",
		units.Plural(len(rows), "device slice"), of, verb(len(rows), "begins", "begin"), units.Duration(float64(most)),
		verb(len(rows), "it", "them"))
}

// least returns the lower bounds, which launches give.
func (k *clock) least() []bound {
	out := make([]bound, len(k.rows))
	for n, i := range k.rows {
		out[n] = bound{k.c.v.Start[i], -k.c.lead(i), i}
	}
	return out
}

// most returns the lowest upper bound that does not contradict the lower bound lo; ok is false if
// there is none.
func (k *clock) most(lo int64) (ns int64, ok bool) {
	for _, b := range k.ends {
		if b.ns >= lo-clockSlack && (!ok || b.ns < ns) {
			ns, ok = b.ns, true
		}
	}
	return ns, ok
}

// lost counts the bounds that contradict lo.
func (k *clock) lost(late []bound, lo int64) int {
	n := 0
	for _, b := range late {
		if b.ns < lo-clockSlack {
			n++
		}
	}
	return n
}

func (k *clock) sayBehind(worst bound, early []int32, most int64, bounded bool) (line, bool) {
	limit := ""
	if bounded {
		limit = fmt.Sprintf(" and, by the calls that waited for it, at most %s",
			units.Duration(float64(max(most, worst.ns))))
	}
	part := stat.Ratio(int64(len(early)), int64(len(k.rows)))
	k.c.doubt(Clock, worst.slice, extent{max(0.1, min(part, 0.4)), float64(worst.ns) / 1e3, "us"},
		"device %d: %s of %d begin before the call that launched them, so the device's clock is behind the host's by at least %s%s; its times are moved by that, and a wait for a launch may be longer than it seems",
		k.id, units.Plural(len(early), "slice"), len(k.rows), units.Duration(float64(worst.ns)), limit)
	return line{by: worst.ns}, true
}

// sayAhead moves a clock back by the smallest amount with which calls return after the work that
// they waited for has ended. lo is the most by which it may be moved, negative.
func (k *clock) sayAhead(lo int64, late []bound) (line, bool) {
	worst := late[0]
	for _, b := range late {
		if b.ns >= lo-clockSlack {
			worst = b
			break
		}
	}
	by := max(worst.ns, lo)
	part := stat.Ratio(int64(len(late)), int64(len(k.ends)))
	k.c.doubt(Clock, worst.slice, extent{max(0.1, min(part, 0.4)), float64(by) / 1e3, "us"},
		"device %d: work ends after %s returned that waited for it, so the device's clock is ahead of the host's by at least %s and, by the launches, at most %s; its times are moved back by the least, and the delay of a launch may be shorter than it seems",
		k.id, units.Plural(len(late), "call"), units.Duration(float64(-by)), units.Duration(float64(-lo)))
	return line{by: by}, true
}

// sayLate reports calls that return before the work they waited for has ended, if no move of the
// clock explains them.
func (k *clock) sayLate(late []bound) {
	k.c.doubt(Clock, late[0].slice, extent{0.05, float64(late[0].ns) / 1e3, "us"},
		"device %d: work ends up to %s after a call returned that waited for it (%d of %d such calls), and launches contradict that the device's clock is ahead: times are left as they are",
		k.id, units.Duration(float64(-late[0].ns)), len(late), len(k.ends))
}
