package trace

import (
	"cmp"
	"slices"
)

// Limits of what counts as a time that cannot be: slices are strays if they are few and lie farther
// from all others than any capture pauses, and many times as far as all others reach.
const (
	strayGap   = uint64(3600e9) // ns
	strayFar   = 1000           // times the reach of the others
	strayShare = 0.01           // of the slices that strays may be at most
	strayFew   = 4              // strays that a short trace may have as well
)

// Strays are slices whose times have nothing to do with those of all others: the profiler had a
// counter that wrapped, a number that was cut, or the time of another clock.
type Strays struct {
	Slices      []int32 // by start
	First, Last int64   // the starts between which all others lie; not set without strays
}

// Strays finds them. Slices at the zero of the file are not among them, see Timeless. Without a
// pause of an hour in the trace it takes one pass.
func (t *Trace) Strays() Strays {
	lo, hi, n := int64(0), int64(0), 0
	for i, x := range t.Slices.Start {
		if t.atZero(i) {
			continue
		}
		if n++; n == 1 {
			lo, hi = x, x
		}
		lo, hi = min(lo, x), max(hi, x)
	}
	if n < 2 || distance(lo, hi) <= strayGap {
		return Strays{}
	}
	main := t.mainHours()
	others := n - main.slices
	if others == 0 || others > max(strayFew, int(strayShare*float64(n))) || others >= main.slices {
		return Strays{}
	}
	out := Strays{First: main.first, Last: main.last}
	reach := distance(main.first, main.last)
	far := func(ns uint64) bool { // ns > strayFar*reach, which may not fit
		q := ns / strayFar
		return q > reach || q == reach && ns%strayFar > 0
	}
	for i, x := range t.Slices.Start {
		before, after := x < main.first && far(distance(x, main.first)), x > main.last && far(distance(main.last, x))
		if !t.atZero(i) && (before || after) {
			out.Slices = append(out.Slices, int32(i))
		}
	}
	slices.SortStableFunc(out.Slices, func(a, b int32) int { return cmp.Compare(t.Slices.Start[a], t.Slices.Start[b]) })
	return out
}

// atZero reports whether slice i begins at the zero of the file or of the clock, which may mean that it has no time.
func (t *Trace) atZero(i int) bool {
	x := t.Slices.Start[i]
	return x == 0 || x == t.Meta.BaseTimeNs
}

// distance is how far b is after a, which is not after b.
func distance(a, b int64) uint64 { return uint64(b) - uint64(a) }

// hours are slices that begin within some hours.
type hours struct {
	first, last int64 // starts
	slices      int
}

// mainHours are the most slices that follow each other without a pause of strayGap.
func (t *Trace) mainHours() hours {
	by := map[int64]*hours{}
	for i, x := range t.Slices.Start {
		if t.atZero(i) {
			continue
		}
		n := x / int64(strayGap)
		if x < 0 {
			n--
		}
		h := by[n]
		if h == nil {
			h = &hours{first: x, last: x}
			by[n] = h
		}
		h.first, h.last, h.slices = min(h.first, x), max(h.last, x), h.slices+1
	}
	list := make([]*hours, 0, len(by))
	for _, h := range by {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b *hours) int { return cmp.Compare(a.first, b.first) })
	var best, run hours
	for k, h := range list {
		if k == 0 || distance(run.last, h.first) > strayGap {
			run = *h
		} else {
			run.last, run.slices = h.last, run.slices+h.slices
		}
		if run.slices > best.slices {
			best = run
		}
	}
	return best
}
