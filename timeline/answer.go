package timeline

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/kinetoscope/kinetoscope/timeline/lod"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Limits of a query.
const (
	// MaxPx is the widest picture: two 4K screens beside each other.
	MaxPx = 8192
	// MaxTracks bounds the tracks of one query for pictures; a screen shows a hundred. Sums have no such bound.
	MaxTracks = 512
	// maxBoxes bounds an answer: 22 bytes each, 44 MB. Rows that no longer fit are named
	// as missing, not left out in silence.
	maxBoxes = 2 << 20
	// maxNameBytes cuts the names that a picture is labelled with; details have them whole.
	maxNameBytes = 160
)

// Query asks for what tracks hold in [From, To) ns of the timeline, in Px columns.
type Query struct {
	From, To int64
	Px       int
	Tracks   []string
}

// maxReach is how far a query's times may be from the timeline's start, ns: 36 years. Beyond, they do not fit with
// what the clocks of traces add.
const maxReach = math.MaxInt64 / 8

// check refuses what cannot be answered, of a query for a picture of each of its tracks.
func (q *Query) check() error {
	if len(q.Tracks) > MaxTracks {
		return fmt.Errorf("%d tracks; at most %d in one query", len(q.Tracks), MaxTracks)
	}
	return q.checkWindow()
}

// checkWindow is check for a query that sums over its tracks, however many.
func (q *Query) checkWindow() error {
	for _, ns := range []int64{q.From, q.To} {
		if ns < -maxReach || ns > maxReach {
			return fmt.Errorf("from %d, to %d: times are ns from the start of the view, %d at most", q.From, q.To,
				int64(maxReach))
		}
	}
	if q.To <= q.From {
		return fmt.Errorf("from %d, to %d: to must be greater", q.From, q.To)
	}
	if q.Px < 1 || q.Px > MaxPx {
		return fmt.Errorf("px is %d; allowed are 1 to %d", q.Px, MaxPx)
	}
	return nil
}

// Magic begins an answer of Slices, and has its version in its last byte.
const Magic = "KTSLICE\x01"

// Slices appends the picture that q asks for to dst. All numbers are little endian:
//
//	magic     8 bytes   Magic
//	rows      uint32    number of rows
//	boxes     uint32    number of boxes
//	names     uint32    number of names
//	missing   uint32    rows left out because the answer is full; 0
//	from      float64   ns of the timeline: what the boxes' times are relative to
//	column    float64   ns a column
//	rows ×    6 uint32  track (place in Query.Tracks), row of the track, lane, depth,
//	                    first box, number of boxes
//	then of all boxes, one field after the other:
//	start     float32   ns since from
//	end       float32   ns since from
//	slice     uint32    number of the slice in its trace, the longest of several
//	count     uint32    slices in the box
//	name      uint32    number of the slice's name
//	busy      uint8     255ths of start…end that slices cover
//	class     uint8     see Class
//	padding to 4 bytes, then the names: their ends as uint32 each, then their text, UTF-8.
//
// A box of one slice is as long as the slice. One of several has count > 1 and holds all
// slices of the row that begin in one column and are narrower than it.
func (tl *Timeline) Slices(dst []byte, q Query) ([]byte, error) {
	if err := q.check(); err != nil {
		return dst, err
	}
	a := answer{q: q, ids: map[nameKey]uint32{}, spread: (q.To - q.From) / int64(q.Px)}
	for k, id := range q.Tracks {
		i, c, err := tl.track(id)
		if err != nil {
			return dst, err
		}
		a.track(k, i, tl.parts[i], c.rows)
	}
	return a.encode(dst), nil
}

type nameKey struct {
	part int
	name trace.StringID
}

type answerRow struct {
	track, row  int
	lane, depth uint32
	first, n    int
}

// answer collects the boxes of a query.
type answer struct {
	q       Query
	spread  int64
	rows    []answerRow
	boxes   []lod.Box
	start   []float32
	end     []float32
	name    []uint32
	class   []uint8
	ids     map[nameKey]uint32
	texts   []string
	missing int
}

func (a *answer) track(k, part int, p *part, rows *lod.Rows) {
	w := lod.Columns(p.local(a.q.From), p.local(a.q.To), a.q.Px)
	for i := range rows.Len() {
		if len(a.boxes)+a.q.Px > maxBoxes {
			a.missing += rows.Len() - i
			return
		}
		first := len(a.boxes)
		a.boxes = rows.Query(a.boxes, i, w)
		if len(a.boxes) == first {
			continue
		}
		r := rows.Row(i)
		a.rows = append(a.rows, answerRow{k, i, r.Lane, uint32(r.Depth), first, len(a.boxes) - first})
		for _, b := range a.boxes[first:] {
			a.start = append(a.start, float32(p.clock.Map(b.Start)-a.q.From))
			a.end = append(a.end, float32(p.clock.Map(b.End)-a.q.From))
			a.class = append(a.class, uint8(p.classOf(b.Slice)))
			key := nameKey{part, p.t.Slices.Name[b.Slice]}
			id, ok := a.ids[key]
			if !ok {
				id = uint32(len(a.texts))
				a.ids[key] = id
				text := p.t.String(key.name)
				a.texts = append(a.texts, text[:min(len(text), maxNameBytes)])
			}
			a.name = append(a.name, id)
		}
	}
}

func (a *answer) encode(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, Magic...)
	for _, n := range []int{len(a.rows), len(a.boxes), len(a.texts), a.missing} {
		dst = le.AppendUint32(dst, uint32(n))
	}
	dst = le.AppendUint64(dst, math.Float64bits(float64(a.q.From)))
	dst = le.AppendUint64(dst, math.Float64bits(float64(max(1, a.spread))))
	for _, r := range a.rows {
		for _, n := range []uint32{uint32(r.track), uint32(r.row), r.lane, r.depth, uint32(r.first), uint32(r.n)} {
			dst = le.AppendUint32(dst, n)
		}
	}
	for _, v := range a.start {
		dst = le.AppendUint32(dst, math.Float32bits(v))
	}
	for _, v := range a.end {
		dst = le.AppendUint32(dst, math.Float32bits(v))
	}
	for _, b := range a.boxes {
		dst = le.AppendUint32(dst, b.Slice)
	}
	for _, b := range a.boxes {
		dst = le.AppendUint32(dst, b.Count)
	}
	for _, n := range a.name {
		dst = le.AppendUint32(dst, n)
	}
	for _, b := range a.boxes {
		dst = append(dst, fill(b))
	}
	dst = append(dst, a.class...)
	dst = append(dst, make([]byte, -len(dst)&3)...)
	end := uint32(0)
	for _, s := range a.texts {
		end += uint32(len(s))
		dst = le.AppendUint32(dst, end)
	}
	for _, s := range a.texts {
		dst = append(dst, s...)
	}
	return dst
}

// fill is which part of a box its slices cover, in 255ths, at least one.
func fill(b lod.Box) uint8 {
	if b.Count == 1 || b.End <= b.Start {
		return 255
	}
	return uint8(max(1, min(255, 255*float64(b.Busy)/float64(b.End-b.Start))))
}
