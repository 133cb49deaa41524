package steps

import (
	"math"
	"sort"

	"github.com/kinetoscope/kinetoscope/analysis/view"
)

// turn is the turn of a step on the devices, [lo, hi) in ns.
type turn struct {
	st     *Step
	lo, hi int64
}

// ledger divides the time of turns, which are in order and do not overlap, on each of the devices.
//
// A process may have many devices and take many steps. What a device does in a turn is looked at only
// where one of its stretches of work begins or ends in the turn, or a launch call of it ends. The turns
// between these, in which it was busy or idle throughout, are counted by their first and last: so
// the cost grows with the work and the turns, not with devices times turns.
type ledger struct {
	turns []turn
	idle  []int64 // by turn: how long no device worked in it
	// The time of what was looked at, by turn, summed over the devices, and the most of one device.
	sums               []idleness
	busiest, surest    []int64
	busy, surely, host ranges // how many devices are so for the whole of a turn
	blind              ranges
	// Sums over the turns of whole steps before each turn: their time, and their idle.
	wholeNs, wholeIdle []int64
	// starved is, by turn, the first device for which all of the turn's idle counts for the host;
	// unpainted leads from a turn to the next one without such a device.
	starved   []starved
	unpainted []int32
	by        []int32 // by turn: the device of the step's longest wait
}

// starved is a device that had no work in a turn because nothing was launched for it.
type starved struct {
	device int32 // -1 if there is none
	next   int32 // the slice that ended it; view.None if nothing did
}

// ranges counts how many ranges of turns hold each turn: by turn, the change from the one before.
type ranges []int32

func (r ranges) add(from, to int) {
	r[from]++
	r[to]--
}

// fill sets the times of the steps of the turns, and of d's devices in whole steps.
func (l *ledger) fill(d *device) {
	if len(l.turns) == 0 {
		return
	}
	l.begin(d)
	for k := range d.units {
		l.device(d, k)
	}
	var busy, surely, host, blind int32
	n := int64(len(d.units))
	for x := range l.turns {
		t := &l.turns[x]
		busy, surely = busy+l.busy[x], surely+l.surely[x]
		host, blind = host+l.host[x], blind+l.blind[x]
		span := t.hi - t.lo
		all := &l.sums[x]
		all.add(idleness{busy: span * int64(busy), surely: span * int64(surely),
			host: l.idle[x] * int64(host), blind: span * int64(blind)})
		if busy > 0 {
			l.busiest[x] = span
		}
		if surely > 0 {
			l.surest[x] = span
		}
		st := t.st
		if s := l.starved[x]; s.device >= 0 && l.idle[x] > 0 &&
			(l.idle[x] > st.gapNs || l.idle[x] == st.gapNs && s.device < l.by[x]) {
			st.gapNs, st.worstGap = l.idle[x], s.next
		}
		st.BusyNs, st.HostIdleNs, st.BlindIdleNs = all.busy/n, all.host/n, all.blind/n
		if st.MissingLaunches == 0 {
			st.Bound = boundOfDevices(st.SpanNs, st.BusyNs, st.HostIdleNs, l.busiest[x], l.surest[x])
		}
	}
}

func (l *ledger) begin(d *device) {
	n := len(l.turns)
	l.idle, l.sums = make([]int64, n), make([]idleness, n)
	l.busiest, l.surest = make([]int64, n), make([]int64, n)
	l.busy, l.surely = make(ranges, n+1), make(ranges, n+1)
	l.host, l.blind = make(ranges, n+1), make(ranges, n+1)
	l.wholeNs, l.wholeIdle = make([]int64, n+1), make([]int64, n+1)
	l.starved, l.unpainted, l.by = make([]starved, n), make([]int32, n+1), make([]int32, n)
	for x := range l.turns {
		t := &l.turns[x]
		l.idle[x] = max(0, d.idleIn(t.lo, t.hi))
		l.starved[x].device, l.unpainted[x] = -1, int32(x)
		l.wholeNs[x+1], l.wholeIdle[x+1] = l.wholeNs[x], l.wholeIdle[x]
		if t.st.whole() {
			l.wholeNs[x+1] += t.hi - t.lo
			l.wholeIdle[x+1] += l.idle[x]
		}
	}
	l.unpainted[n] = int32(n)
}

// idleIn is how long of [lo, hi) a device without work waited while no other worked, ns; below 0 if hi is before lo.
func (d *device) idleIn(lo, hi int64) int64 {
	if hi > lo && len(d.units) > 1 {
		return hi - lo - d.any.In(lo, hi)
	}
	return hi - lo
}

// device adds what device k did.
func (l *ledger) device(d *device, k int) {
	u := &d.units[k]
	l.walk(u.busy, func(n, from, to int) {
		l.gap(d, k, n, from, to)
	}, func(from, to int) {
		l.busy.add(from, to)
		u.inSteps.busy += l.wholeNs[to] - l.wholeNs[from]
		if u.surely == nil {
			l.surely.add(from, to)
			u.inSteps.surely += l.wholeNs[to] - l.wholeNs[from]
		}
	}, func(x int) {
		t := &l.turns[x]
		a := idleness{busy: u.In(t.lo, t.hi)}
		if u.surely == nil {
			a.surely = a.busy
		}
		at := t.lo
		n := sort.Search(len(u.busy), func(n int) bool { return u.busy[n].End > t.lo })
		for ; n < len(u.busy) && u.busy[n].Start < t.hi; n++ {
			if b := &u.busy[n]; b.Start > at {
				l.wait(d, x, &a, pause{k, n, at, b.Start})
			}
			at = max(at, u.busy[n].End)
		}
		if at < t.hi {
			l.wait(d, x, &a, pause{k, n, at, t.hi})
		}
		l.put(u, x, a)
	})
	if u.surely == nil {
		return
	}
	l.walk(u.surely.Stretches(), func(int, int, int) {}, func(from, to int) {
		l.surely.add(from, to)
		u.inSteps.surely += l.wholeNs[to] - l.wholeNs[from]
	}, func(x int) {
		l.put(u, x, idleness{surely: u.surely.In(l.turns[x].lo, l.turns[x].hi)})
	})
}

// put adds what a device did in turn x.
func (l *ledger) put(u *unit, x int, a idleness) {
	l.sums[x].add(a)
	l.busiest[x], l.surest[x] = max(l.busiest[x], a.busy), max(l.surest[x], a.surely)
	if l.turns[x].st.whole() {
		u.inSteps.add(a)
	}
}

// walk divides the turns by how the stretches lie in them: idle is called with turns [from, to) that
// lie wholly before stretch n and behind the one before, which n may be past the last for; full
// with turns that lie within one stretch; part with each other turn.
func (l *ledger) walk(list []view.Stretch, idle func(n, from, to int), full func(from, to int), part func(x int)) {
	x := 0
	for n := range list {
		b := &list[n]
		from := x
		x += sort.Search(len(l.turns)-x, func(i int) bool { return l.turns[x+i].hi > b.Start })
		if x > from {
			idle(n, from, x)
		}
		if x < len(l.turns) && l.turns[x].lo < b.Start {
			part(x)
			x++
		}
		from = x
		x += sort.Search(len(l.turns)-x, func(i int) bool { return l.turns[x+i].hi > b.End })
		if x > from {
			full(from, x)
		}
		if x < len(l.turns) && l.turns[x].lo < b.End {
			part(x)
			x++
		}
	}
	if x < len(l.turns) {
		idle(len(list), x, len(l.turns))
	}
}

// told says of the idle time before stretch n of u whether it is known why, and until when the
// call had not returned that launched what ended it. ended is that slice, view.None if nothing followed.
type told struct {
	ended int32
	known bool
	until int64 // the end of time if nothing was launched afterwards: all of it is the host's
}

// before answers for the idle time before stretch n that ends at to.
func (d *device) before(u *unit, n int, to int64) told {
	before, out := view.None, told{ended: view.None, until: math.MaxInt64}
	if n > 0 {
		before = u.busy[n-1].Last
	}
	if n < len(u.busy) {
		out.ended = u.busy[n].First
		l := u.v.Launch(out.ended)
		if l < 0 {
			return out
		}
		out.until = u.v.End(l)
	}
	out.known = !d.seen.Unknown(before, out.ended, to)
	return out
}

// pause is idle time [from, to) of device k before its stretch n.
type pause struct {
	k, n     int
	from, to int64
}

// wait accounts for a pause in turn x. It counts for the host as long as the call that launched the stretch's
// first work had not returned and no other device worked. If no stretch follows, nothing was launched, and
// all of it counts for the host.
func (l *ledger) wait(d *device, x int, a *idleness, p pause) {
	why := d.before(&d.units[p.k], p.n, p.to)
	if !why.known {
		a.blind += p.to - p.from
		return
	}
	host := d.idleIn(p.from, min(p.to, why.until))
	if host <= 0 {
		return // the work was launched in time and waited for something else
	}
	a.host += host
	if st := l.turns[x].st; host > st.gapNs {
		st.gapNs, st.worstGap, l.by[x] = host, why.ended, int32(p.k)
	}
}

// gap accounts for turns [from, to), which lie wholly in the idle time of device k before stretch n.
func (l *ledger) gap(d *device, k, n, from, to int) {
	u := &d.units[k]
	why := d.before(u, n, l.turns[from].hi)
	if why.ended == view.None && why.known {
		// Of a time that nothing ends, what comes behind a launch without work is not known.
		all := to
		to = from + sort.Search(to-from, func(i int) bool { return !d.before(u, n, l.turns[from+i].hi).known })
		l.unknown(u, to, all)
	}
	if !why.known {
		l.unknown(u, from, to)
		return
	}
	end := from + sort.Search(to-from, func(i int) bool { return l.turns[from+i].hi > why.until })
	if end > from {
		l.host.add(from, end)
		u.inSteps.host += l.wholeIdle[end] - l.wholeIdle[from]
		l.paint(from, end, starved{int32(k), why.ended})
	}
	if end < to && l.turns[end].lo < why.until {
		var a idleness
		l.wait(d, end, &a, pause{k, n, l.turns[end].lo, l.turns[end].hi})
		l.put(u, end, a)
	}
}

func (l *ledger) unknown(u *unit, from, to int) {
	if from < to {
		l.blind.add(from, to)
		u.inSteps.blind += l.wholeNs[to] - l.wholeNs[from]
	}
}

// paint notes s for the turns in [from, to) that have none yet.
func (l *ledger) paint(from, to int, s starved) {
	for x := l.next(from); x < to; x = l.next(x) {
		l.starved[x] = s
		l.unpainted[x] = int32(x) + 1
	}
}

// next returns the first turn from x on that is not painted, and shortens the way there.
func (l *ledger) next(x int) int {
	end := x
	for int(l.unpainted[end]) != end {
		end = int(l.unpainted[end])
	}
	for x != end {
		x, l.unpainted[x] = int(l.unpainted[x]), int32(end)
	}
	return end
}
