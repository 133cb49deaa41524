package align

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

const (
	// driftMost is by how much two clocks that nothing compares closely may run apart: crystals
	// differ by some 10 ppm, bad ones by 50 in either direction.
	driftMost = 100e-6
	// maxWiden bounds how often the probes' errors are doubled until hand-offs fit: what does not
	// fit within a thousand times the error is no hand-off.
	maxWiden = 10
	// maxSweeps bounds the rounds in which bounds are carried from clock to clock; each goes over
	// all, so that pipelines of so many stages are reached.
	maxSweeps = 64
)

// HandOff is one end of something that a rank sent to others: it cannot arrive before it was
// sent.
type HandOff struct {
	ID   uint64 // the same at all its ends, unequal for whatever else was sent
	Ns   int64  // when it was sent, or had arrived; rank's clock
	Sent bool
}

// message is a hand-off of which both ends are known.
type message struct {
	from, to      int // ranks
	sent, arrived int64
}

// messages finds the two ends of hand-offs. What has several senders, or was sent more than once
// under one id, is left out, for which of them arrived is not known.
func messages(ranks []Rank) (out []message) {
	type sender struct {
		rank, times int
		ns          int64
	}
	from := map[uint64]*sender{}
	for i, r := range ranks {
		for _, h := range r.HandOffs {
			if !h.Sent {
				continue
			}
			if s := from[h.ID]; s != nil {
				s.times++
				continue
			}
			from[h.ID] = &sender{i, 1, h.Ns}
		}
	}
	if len(from) == 0 {
		return nil
	}
	for i, r := range ranks {
		for _, h := range r.HandOffs {
			if s := from[h.ID]; !h.Sent && s != nil && s.times == 1 && s.rank != i {
				out = append(out, message{s.rank, i, s.ns, h.Ns})
			}
		}
	}
	return out
}

// pair is two bodies, one of which sent to the other.
type pair struct{ from, to int }

// either is the pair whoever sent.
func either(p pair) pair { return pair{min(p.from, p.to), max(p.from, p.to)} }

// bodies are the sets of ranks that collectives or a shared host hold together, which hand-offs
// move as a whole.
type bodies struct {
	of    []int         // by rank: its body, the number of a rank in it
	ranks map[int][]int // by body
	// slack is, by rank, how far it may be wrong against the frame of its body, ns.
	slack []int64
	tied  map[int]bool // bodies that hand-offs in both directions made of several
}

// newBodies are the units, joined by the collectives that connect them.
func newBodies(unit []int, parts []*component) *bodies {
	b := &bodies{of: slices.Clone(unit), ranks: map[int][]int{}, slack: make([]int64, len(unit)), tied: map[int]bool{}}
	for _, c := range parts {
		for _, r := range c.ranks {
			b.of[r] = b.of[c.ranks[0]]
		}
	}
	for r, n := range b.of {
		b.ranks[n] = append(b.ranks[n], r)
	}
	return b
}

// refine moves bodies against each other until nothing arrives before it was sent: where
// hand-offs went both ways to the middle of what they allow, as NTP does, else by the least
// that makes them possible.
func (b *bodies) refine(sent []message, clocks []Clock) {
	var between []message
	for _, m := range sent {
		if b.of[m.from] != b.of[m.to] {
			between = append(between, m)
		}
	}
	if len(between) == 0 {
		return
	}
	for r := range b.slack {
		b.slack[r] = clocks[r].RelativeNs
	}
	for _, m := range between {
		clocks[m.from].HandOffs++
		clocks[m.to].HandOffs++
	}
	b.join(between, clocks)
	b.settle(between, clocks)
	for n := range b.tied {
		b.state(n, clocks)
	}
}

// rooms returns, for every two bodies that sent to each other, how much later the fastest hand-off
// arrived than it was sent: by so much the receiver's clock may be moved back, or the
// sender's forward. apart is by how much the two clocks may run apart between their hand-offs:
// what bounds them at one time bounds them at another by so much less.
func (b *bodies) rooms(list []message, clocks []Clock) (room, apart map[pair]int64) {
	room, apart = map[pair]int64{}, map[pair]int64{}
	lo, hi := map[pair]int64{}, map[pair]int64{}
	for _, m := range list {
		p := either(pair{b.of[m.from], b.of[m.to]})
		at := clocks[m.to].Map(m.arrived)
		if _, ok := lo[p]; !ok {
			lo[p], hi[p] = at, at
		}
		lo[p], hi[p] = min(lo[p], at), max(hi[p], at)
	}
	for _, m := range list {
		p := pair{b.of[m.from], b.of[m.to]}
		if p.from == p.to {
			continue
		}
		r := clocks[m.to].Map(m.arrived) - clocks[m.from].Map(m.sent) + b.slack[m.from] + b.slack[m.to]
		if was, ok := room[p]; !ok || r < was {
			room[p] = r
		}
		e := either(p)
		apart[e] = int64(driftMost * float64(hi[e]-lo[e]))
	}
	return room, apart
}

// join makes one body of two that sent to each other in both directions, those first whose
// hand-offs leave the least room.
func (b *bodies) join(list []message, clocks []Clock) {
	room, apart := b.rooms(list, clocks)
	type both struct {
		a, b          int
		ab, ba, apart int64
	}
	var found []both
	for p, ab := range room {
		if ba, ok := room[pair{p.to, p.from}]; ok && p.from < p.to {
			found = append(found, both{p.from, p.to, ab, ba, apart[p]})
		}
	}
	slices.SortFunc(found, func(x, y both) int {
		return cmp.Or(cmp.Compare(x.ab+x.ba, y.ab+y.ba), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	was := slices.Clone(b.of)                        // the bodies that found speaks of, each with
	moved, slack := map[int]int64{}, map[int]int64{} // how far it was moved, and how well it lies in its new one
	for _, f := range found {
		to, from := b.of[f.a], b.of[f.b]
		// e(b) - e(a) lies between -ba and ab, changed by what the two were moved by since.
		ab, ba := f.ab+moved[f.b]-moved[f.a], f.ba+moved[f.a]-moved[f.b]
		switch {
		case to == from:
			continue // by way of others that leave less room
		case ab+ba < -2*f.apart: // no offset lets all of them arrive after they were sent
			b.contradict(clocks, to, from)
			continue
		}
		shift := (ba - ab) / 2 // of b's clock, so that both have the same room
		half := max(0, ab+ba+1)/2 + f.apart + slack[f.a] + slack[f.b]
		if len(b.ranks[from]) > len(b.ranks[to]) {
			to, from, shift = from, to, -shift
		}
		for _, r := range b.ranks[from] {
			clocks[r].OffsetNs += shift
			b.slack[r] += half
			b.of[r] = to
			if was[r] == r {
				moved[r], slack[r] = moved[r]+shift, slack[r]+half
			}
		}
		b.ranks[to] = append(b.ranks[to], b.ranks[from]...)
		delete(b.ranks, from)
		delete(b.tied, from)
		b.tied[to] = true
	}
}

func (b *bodies) contradict(clocks []Clock, of ...int) {
	for _, n := range of {
		for _, r := range b.ranks[n] {
			clocks[r].Contradicts = true
		}
	}
}

// state sets how far the ranks of a body that hand-offs made may be wrong against each other.
func (b *bodies) state(n int, clocks []Clock) {
	ranks := b.ranks[n]
	slack := make([]int64, len(ranks))
	for i, r := range ranks {
		slack[i] = b.slack[r]
	}
	most := exceptOne(slack)
	for i, r := range ranks {
		clocks[r].HandOffNs = max(1, slack[i]+most(i))
	}
}

// bounds is how far a body may be moved, and two ways to move all bodies that are possible: those
// that move the least forward and the least back.
type bounds struct{ lo, hi, up, down int64 }

// settle moves bodies whose hand-offs went one way, by the least that makes them possible, within
// what the probes say. Where nothing is possible within that, the probes were wrong: they are
// believed less, by twice as much each time, and the clocks say so.
func (b *bodies) settle(list []message, clocks []Clock) {
	room, apart := b.rooms(list, clocks)
	if len(room) == 0 {
		return
	}
	trust, runs := map[int]int64{}, map[int]int64{}
	for p := range room {
		for _, n := range []int{p.from, p.to} {
			runs[n] = max(runs[n], apart[either(p)])
			e := unbounded
			for _, r := range b.ranks[n] {
				e = min(e, clocks[r].ErrorNs+b.slack[r])
			}
			trust[n] = e
		}
	}
	for n := range trust {
		trust[n] += runs[n]
	}
	var found map[int]*bounds
	ok := false
	widened := 0
	for ; !ok && widened <= maxWiden; widened++ {
		found, ok = within(room, trust, widened)
	}
	for n, f := range found {
		if !ok {
			b.contradict(clocks, n)
			continue
		}
		shift := f.up + (f.down-f.up)/2
		tight := f.lo > -trust[n] || f.hi < trust[n]
		for _, r := range b.ranks[n] {
			k := &clocks[r]
			k.OffsetNs += shift
			if tight {
				k.ErrorNs = max(f.hi-shift, shift-f.lo) + b.slack[r] + runs[n]
			}
			k.Contradicts = k.Contradicts || widened > 1 && shift != 0
		}
	}
}

// within carries bounds from body to body: how far each may be moved if every probe holds, doubled
// as often as widened says. ok is false if nothing is possible then.
func within(room map[pair]int64, trust map[int]int64, widened int) (found map[int]*bounds, ok bool) {
	found = map[int]*bounds{}
	for n, e := range trust {
		found[n] = &bounds{lo: -e << widened, hi: e << widened}
	}
	pairs := slices.SortedFunc(maps.Keys(room), func(x, y pair) int {
		return cmp.Or(cmp.Compare(x.from, y.from), cmp.Compare(x.to, y.to))
	})
	// The sender is moved forward by no more than the receiver and the room between them.
	sweep := func(step func(from, to *bounds, w int64) (changed bool)) bool {
		for range maxSweeps {
			changed := false
			for _, p := range pairs {
				changed = step(found[p.from], found[p.to], room[p]) || changed
			}
			if !changed {
				return true
			}
		}
		return false
	}
	ok = sweep(func(from, to *bounds, w int64) bool {
		changed := from.hi > to.hi+w || to.lo < from.lo-w
		from.hi, to.lo = min(from.hi, to.hi+w), max(to.lo, from.lo-w)
		return changed
	})
	for _, f := range found {
		ok = ok && f.lo <= f.hi
		f.up = min(max(0, f.lo), f.hi)
		f.down = f.up
	}
	ok = ok && sweep(func(from, to *bounds, w int64) bool {
		changed := from.down > to.down+w || to.up < from.up-w
		from.down, to.up = min(from.down, to.down+w), max(to.up, from.up-w)
		return changed
	})
	return found, ok
}

// arrivals counts the hand-offs of every rank, and those that arrived before they were sent.
func arrivals(sent []message, clocks []Clock) {
	for i := range clocks {
		clocks[i].TransitNs = math.MaxInt64
	}
	for _, m := range sent {
		took := clocks[m.to].Map(m.arrived) - clocks[m.from].Map(m.sent)
		for _, r := range []int{m.from, m.to} {
			k := &clocks[r].Residuals
			k.Sent++
			if took < -impossibleNs {
				k.Early++
			}
		}
		k := &clocks[m.to].Residuals
		k.TransitNs = min(k.TransitNs, took)
	}
	for i := range clocks {
		if clocks[i].TransitNs == math.MaxInt64 {
			clocks[i].TransitNs = 0
		}
	}
}
