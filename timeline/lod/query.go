package lod

import (
	"math"
	"sort"
)

// Box is what a query draws: one slice, or several that begin in one column.
type Box struct {
	Slice      uint32 // the slice, or the longest of several
	Count      uint32
	Start, End int64 // ns: of the first, of the last
	Busy       int64 // ns: durations together
}

// Window is what a query looks at: [From, To) in the trace's time, in columns of Column
// ns, at least 1.
type Window struct {
	From, To, Column int64
}

// Columns returns the window [from, to) cut into px columns of whole nanoseconds.
func Columns(from, to int64, px int) Window {
	w := (to - from + int64(px) - 1) / int64(max(1, px))
	return Window{From: from, To: to, Column: max(1, w)}
}

// Query appends the boxes of row i that reach into w to dst, in order of time. A slice
// that begins before the window belongs to the first column; one that ends where the
// window begins is not in it.
func (p *Rows) Query(dst []Box, i int, w Window) []Box {
	r := p.list[i]
	if r.Len() == 0 || w.To <= w.From {
		return dst
	}
	w.Column = max(1, w.Column)
	at := p.seek(r, w.From, r.from)
	if at > r.from && p.end(at-1) > w.From {
		at--
	}
	for at < r.to {
		s := p.order[at]
		start := p.start[s]
		if start >= w.To {
			break
		}
		if p.dur[s] >= w.Column {
			dst = append(dst, Box{Slice: s, Count: 1, Start: start, End: start + p.dur[s], Busy: p.dur[s]})
			at++
			continue
		}
		next := p.seek(r, min(w.To, w.edge(start)), at+1)
		if next-at > 1 && p.dur[p.order[next-1]] >= w.Column {
			next-- // it begins in this column and is a box of its own
		}
		busy, longest := p.sumOf(r, at, next)
		dst = append(dst, Box{Slice: longest, Count: uint32(next - at), Start: start, End: p.end(next - 1), Busy: busy})
		at = next
	}
	return dst
}

// edge returns where the column ends in which start lies.
func (w Window) edge(start int64) int64 {
	c := int64(0)
	if start > w.From {
		c = (start - w.From) / w.Column
	}
	if c >= math.MaxInt64/w.Column-1 {
		return w.To
	}
	return w.From + (c+1)*w.Column
}

func (p *Rows) end(at int) int64 {
	s := p.order[at]
	return p.start[s] + p.dur[s]
}

// seek returns the first place of r, from place from on, whose slice begins at t or later.
func (p *Rows) seek(r Row, t int64, from int) int {
	if from >= r.to {
		return r.to
	}
	// Gallop over the blocks' first starts, then halve.
	n, first := blocks(r.Len(), 0), p.levels[0].at[r.index]
	lo := (from - r.from) / fan // its first slice may begin before t
	step := 1
	hi := lo + 1
	for hi < n && p.first[first+hi] < t {
		lo = hi
		hi += step
		step *= 2
	}
	hi = min(hi, n)
	k := lo + 1 + sort.Search(hi-lo-1, func(k int) bool { return p.first[first+lo+1+k] >= t })
	at := max(from, r.from+(k-1)*fan)
	for end := min(r.to, r.from+k*fan); at < end; at++ {
		if p.start[p.order[at]] >= t {
			return at
		}
	}
	return at
}

// sumOf sums the slices at places i to j of r, not empty, up.
func (p *Rows) sumOf(r Row, i, j int) (busy int64, longest uint32) {
	longest = p.order[i]
	take := func(b int64, s uint32) {
		busy += b
		if p.dur[s] > p.dur[longest] {
			longest = s
		}
	}
	if j-i < 2*fan {
		return p.scan(i, j)
	}
	a, b := i-r.from, j-r.from
	if up := (a + fan - 1) / fan * fan; up > a {
		take(p.scan(r.from+a, r.from+up))
		a = up
	}
	if down := b / fan * fan; down < b {
		take(p.scan(r.from+down, r.from+b))
		b = down
	}
	a, b = a/fan, b/fan
	for l := 0; a < b; l++ {
		block := p.levels[l].at[r.index]
		if b-a < 2*fan || l+1 >= len(p.levels) {
			take(p.merge(l, block+a, block+b))
			break
		}
		if up := (a + fan - 1) / fan * fan; up > a {
			take(p.merge(l, block+a, block+up))
			a = up
		}
		if down := b / fan * fan; down < b {
			take(p.merge(l, block+down, block+b))
			b = down
		}
		a, b = a/fan, b/fan
	}
	return busy, longest
}
