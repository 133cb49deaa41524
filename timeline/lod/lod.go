// Package lod draws slices at any zoom: rows on which no two slices overlap, and over
// each row a pyramid that sums up what is narrower than a pixel.
//
// A row is a (track, lane, depth) of trace.Index, or one lane of slices that Pack has put
// together from several tracks. Query walks a row from left to right. A slice as wide as
// a column, or wider, is a Box of its own. Narrower slices that begin in one column are
// one Box, which says where the first begins and the last ends, how many they are, how
// long they run together and which is the longest. Nothing is left out: the counts of the
// boxes of a row sum up to its slices in the window.
//
// A row costs 4 bytes a slice and its pyramid 1.5 more. A query of p columns costs
// O(p log n), whatever the number of slices.
package lod

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
)

// fan is how many slices one block of the lowest level sums up, and how many blocks one of
// the next. Sixteen starts fill two cache lines, which is what finding a slice in a block
// reads.
const fan = 16

// Row is a sequence of slices that do not overlap, in order of time.
type Row struct {
	Lane  uint32 // 0: slices that nest as the trace says; from 1 on what overlaps those
	Depth uint16 // inside a lane: how many slices hold it

	index    int // in Rows.list
	from, to int // in Rows.order
}

// Len returns the number of slices of the row.
func (r Row) Len() int { return r.to - r.from }

// Rows are the rows of a part of a trace, a track mostly, with their pyramid. They borrow
// the trace's columns. Safe for concurrent use.
type Rows struct {
	list  []Row
	order []uint32
	// Hidden counts slices that found no row of their own: rows are bounded, see maxRows.
	Hidden int

	start, dur []int64 // the trace's columns
	first      []int64 // by block of the lowest level: start of its first slice
	levels     []level
}

// level sums up the blocks of one height, row after row.
type level struct {
	at      []int    // by row: its first block
	busy    []int64  // by block: durations
	longest []uint32 // by block: slice
}

// maxRows bounds the rows of one track. What overlaps more often than that lies on the
// last row, over others, and counts as hidden.
const maxRows = 1 << 15

// Of returns the rows of a track as its index has them: lane by lane, depth by depth.
func Of(t *trace.Trace, x *trace.Index, id trace.TrackID) *Rows {
	list := x.Track(id)
	b := newBuilder(t, len(list))
	for _, s := range list {
		b.add(s, uint32(x.Lane[s]), x.Depth[s])
	}
	return b.done()
}

// Pack returns the slices of list, which must be in order of their start, on as few lanes as hold
// them without overlap.
func Pack(t *trace.Trace, list []uint32) *Rows {
	b := newBuilder(t, len(list))
	var ends laneHeap
	for _, s := range list {
		start, end := t.Slices.Start[s], t.Slices.End(int(s))
		lane := uint32(len(ends.at))
		if len(ends.at) > 0 && (ends.at[0].end <= start || len(ends.at) >= maxRows) {
			lane = ends.at[0].lane
			ends.at[0].end = max(end, ends.at[0].end)
			lists.Sink(ends.at, 0, frees)
		} else {
			ends.push(laneEnd{end, lane})
		}
		b.add(s, lane, 0)
	}
	return b.done()
}

// laneEnd is until when a lane is taken.
type laneEnd struct {
	end  int64
	lane uint32
}

// laneHeap has the lane that is free first on top.
type laneHeap struct{ at []laneEnd }

func (h *laneHeap) push(e laneEnd) {
	h.at = append(h.at, e)
	for i := len(h.at) - 1; i > 0 && frees(&h.at[i], &h.at[(i-1)/2]); i = (i - 1) / 2 {
		h.at[i], h.at[(i-1)/2] = h.at[(i-1)/2], h.at[i]
	}
}

// frees orders two lanes by when they are free.
func frees(a, b *laneEnd) bool { return a.end < b.end || a.end == b.end && a.lane < b.lane }

// builder sorts slices into rows.
type builder struct {
	t    *trace.Trace
	at   map[rowKey]int // nil while there are few rows
	rows []growing
	of   []int32 // row of each slice added
	ids  []uint32
	Rows Rows
}

type rowKey struct {
	lane  uint32
	depth uint16
}

type growing struct {
	rowKey
	n   int
	end int64
}

func newBuilder(t *trace.Trace, n int) *builder {
	return &builder{t: t, of: make([]int32, 0, n), ids: make([]uint32, 0, n)}
}

// fewRows is the number of rows among which one is looked for in turn. Most tracks have no more,
// and a trace may have a track for each slice.
const fewRows = 8

// add puts slice s on its row, or, where the index could not keep it clear of others, on
// a further lane.
func (b *builder) add(s uint32, lane uint32, depth uint16) {
	start, end := b.t.Slices.Start[s], b.t.Slices.End(int(s))
	k := rowKey{lane, depth}
	last := -1
	if n := len(b.of); n > 0 {
		last = int(b.of[n-1])
	}
	r := last
	if r < 0 || b.rows[r].rowKey != k {
		r = b.row(k)
	}
	for b.rows[r].end > start && b.rows[r].n > 0 {
		if len(b.rows) >= maxRows {
			b.Rows.Hidden++
			break
		}
		k.lane++
		r = b.row(k)
	}
	b.rows[r].n++
	b.rows[r].end = max(b.rows[r].end, end)
	b.of = append(b.of, int32(r))
	b.ids = append(b.ids, s)
}

func (b *builder) row(k rowKey) int {
	if r := b.find(k); r >= 0 {
		return r
	}
	if len(b.rows) >= maxRows {
		return len(b.rows) - 1
	}
	b.rows = append(b.rows, growing{rowKey: k})
	switch r := len(b.rows) - 1; {
	case b.at != nil:
		b.at[k] = r
	case r == fewRows:
		b.at = make(map[rowKey]int, 2*fewRows)
		for i := range b.rows {
			b.at[b.rows[i].rowKey] = i
		}
	}
	return len(b.rows) - 1
}

// find returns the row of k, or -1.
func (b *builder) find(k rowKey) int {
	if b.at == nil {
		return slices.IndexFunc(b.rows, func(g growing) bool { return g.rowKey == k })
	}
	if r, ok := b.at[k]; ok {
		return r
	}
	return -1
}

func (b *builder) done() *Rows {
	by := make([]int, len(b.rows))
	for i := range by {
		by[i] = i
	}
	slices.SortFunc(by, func(i, j int) int {
		x, y := &b.rows[i], &b.rows[j]
		return cmp.Or(cmp.Compare(x.lane, y.lane), cmp.Compare(x.depth, y.depth))
	})
	p := &b.Rows
	p.start, p.dur = b.t.Slices.Start, b.t.Slices.Dur
	p.order = make([]uint32, len(b.ids))
	p.list = make([]Row, len(by))
	next := make([]int, len(b.rows))
	at := 0
	for i, r := range by {
		g := b.rows[r]
		p.list[i] = Row{Lane: g.lane, Depth: g.depth, index: i, from: at, to: at + g.n}
		next[r] = at
		at += g.n
	}
	for i, s := range b.ids {
		r := b.of[i]
		p.order[next[r]] = s
		next[r]++
	}
	p.sum()
	return p
}

// blocks returns how many blocks of a level sum n slices up.
func blocks(n, level int) int {
	for range level + 1 {
		n = (n + fan - 1) / fan
	}
	return n
}

// sum builds the pyramids of all rows.
func (p *Rows) sum() {
	deep := 0
	for _, r := range p.list {
		for blocks(r.Len(), deep) > 1 {
			deep++
		}
	}
	p.levels = make([]level, deep+1)
	for l := range p.levels {
		at, n := make([]int, len(p.list)), 0
		for i, r := range p.list {
			at[i] = n
			n += blocks(r.Len(), l)
		}
		p.levels[l] = level{at, make([]int64, n), make([]uint32, n)}
	}
	p.first = make([]int64, len(p.levels[0].busy))
	for _, r := range p.list {
		p.sumRow(r)
	}
}

func (p *Rows) sumRow(r Row) {
	low := &p.levels[0]
	for k := range blocks(r.Len(), 0) {
		at, i := low.at[r.index]+k, r.from+k*fan
		p.first[at] = p.start[p.order[i]]
		low.busy[at], low.longest[at] = p.scan(i, min(i+fan, r.to))
	}
	for l := 1; l < len(p.levels); l++ {
		up, below := &p.levels[l], p.levels[l-1].at[r.index]
		end := below + blocks(r.Len(), l-1)
		for k := range blocks(r.Len(), l) {
			at, i := up.at[r.index]+k, below+k*fan
			up.busy[at], up.longest[at] = p.merge(l-1, i, min(i+fan, end))
		}
	}
}

// scan sums the slices order[i:j], not empty, up.
func (p *Rows) scan(i, j int) (busy int64, longest uint32) {
	longest = p.order[i]
	for _, s := range p.order[i:j] {
		busy += p.dur[s]
		if p.dur[s] > p.dur[longest] {
			longest = s
		}
	}
	return busy, longest
}

// merge sums the blocks i to j of a level up.
func (p *Rows) merge(l, i, j int) (busy int64, longest uint32) {
	longest = p.levels[l].longest[i]
	for ; i < j; i++ {
		busy += p.levels[l].busy[i]
		if s := p.levels[l].longest[i]; p.dur[s] > p.dur[longest] {
			longest = s
		}
	}
	return busy, longest
}

// Len returns the number of rows.
func (p *Rows) Len() int { return len(p.list) }

// Row returns row i.
func (p *Rows) Row(i int) Row { return p.list[i] }

// Slices returns the slices of row i in order of time. They must not be changed.
func (p *Rows) Slices(i int) []uint32 { return p.order[p.list[i].from:p.list[i].to] }

// Bytes returns the memory that the rows take.
func (p *Rows) Bytes() int64 {
	n := int64(4*cap(p.order) + 8*cap(p.first) + 32*cap(p.list))
	for _, l := range p.levels {
		n += int64(8*cap(l.at) + 8*cap(l.busy) + 4*cap(l.longest))
	}
	return n
}

// Busy returns the summed durations of row i's slices, in ns.
func (p *Rows) Busy(i int) int64 {
	top := &p.levels[len(p.levels)-1]
	busy := int64(0)
	at := top.at[i]
	for k := range blocks(p.list[i].Len(), len(p.levels)-1) {
		busy += top.busy[at+k]
	}
	return busy
}
