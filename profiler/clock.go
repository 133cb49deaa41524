package profiler

import (
	"slices"
	"sync"
	"time"
)

// Clock names a source of time stamps.
type Clock uint8

// The clocks that a Recorder can use.
const (
	ClockAuto      Clock = iota // ClockTSC where it is trustworthy, else ClockMonotonic
	ClockMonotonic              // the operating system's monotonic clock, about 25 ns a read
	ClockTSC                    // the processor's time stamp counter, about 10 ns a read; amd64 only
)

// String returns the name that recordings carry.
func (c Clock) String() string {
	if c == ClockTSC {
		return "tsc"
	}
	return "monotonic"
}

// clockOrigin is the origin of the process's monotonic nanoseconds. Its wall reading is
// part of no time stamp.
var clockOrigin = time.Now()

func monoNow() int64 { return int64(time.Since(clockOrigin)) }

// resolve picks the clock that will be used for c.
func (c Clock) resolve() Clock {
	if c == ClockMonotonic || !tscUsable() {
		return ClockMonotonic
	}
	return ClockTSC
}

// anchor is one instant on the ticking clock, the monotonic clock and, if asked, the wall.
type anchor struct{ tick, mono, unix int64 }

// anchorTries is how often an anchor is read; the reading with the shortest bracket wins,
// so that a preemption between two clocks does not count.
const anchorTries = 5

func readAnchor(useTSC bool) anchor {
	if !useTSC {
		best := anchor{}
		bracket := int64(1<<63 - 1)
		for range anchorTries {
			m0 := monoNow()
			u := time.Now().UnixNano()
			m1 := monoNow()
			if m1-m0 < bracket {
				bracket = m1 - m0
				best = anchor{tick: m0 + (m1-m0)/2, mono: m0 + (m1-m0)/2, unix: u}
			}
		}
		return best
	}
	best := anchor{}
	bracket := int64(1<<63 - 1)
	for range anchorTries {
		t0 := tsc()
		now := time.Now()
		t1 := tsc()
		if t1-t0 < bracket {
			bracket = t1 - t0
			best = anchor{tick: t0 + (t1-t0)/2, mono: int64(now.Sub(clockOrigin)), unix: now.UnixNano()}
		}
	}
	return best
}

// The line by which ticks become nanoseconds goes through two anchors, each known to some
// ten nanoseconds. If they lay close together, or the events outside them, the error
// would grow with the distance. So the first is chosen at least baselineSpan before the
// second and before all events; it is not much older, because the rate of the monotonic
// clock is adjusted now and then.
const (
	baselineSpan = int64(250 * time.Millisecond)
	maxBaselines = 256 // a minute of backlog; older events use the oldest
)

// baselines are anchors from the past, oldest first.
type baselines struct{ kept []anchor }

// clockBirth is the first anchor that the process took of its time stamp counter.
var clockBirth = sync.OnceValue(func() anchor { return readAnchor(true) })

func newBaselines(useTSC bool) baselines {
	if useTSC {
		return baselines{[]anchor{clockBirth()}}
	}
	return baselines{[]anchor{{}}} // ticks are monotonic nanoseconds
}

// choose returns the anchor for a generation whose least tick is oldest and keeps the cut
// for later.
func (b *baselines) choose(oldest int64, cut anchor) anchor {
	i := len(b.kept) - 1
	for i > 0 && (b.kept[i].tick > oldest || cut.mono-b.kept[i].mono < baselineSpan) {
		i--
	}
	from := b.kept[i]
	if last := b.kept[len(b.kept)-1]; cut.mono-last.mono >= baselineSpan {
		if len(b.kept) == maxBaselines {
			b.kept = slices.Delete(b.kept, 1, 2)
		}
		b.kept = append(b.kept, cut)
	}
	return from
}

// clockResolution returns the smallest non-zero step in ns that the clock shows.
func clockResolution(useTSC bool) int64 {
	if useTSC {
		return 1 // a tick is a fraction of a nanosecond
	}
	best := int64(1 << 62)
	for range 200 {
		a := monoNow()
		b := monoNow()
		if b > a {
			best = min(best, b-a)
		}
		if best == 1 {
			break
		}
	}
	return best
}
