package profiler

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// writer is what a track records with while an engine runs: one engine, one track, one
// owner at a time. Fields are grouped by who may touch them.
type writer struct {
	// Fixed at creation.
	eng   *engine
	track *Track
	tsc   bool

	// The owner's.
	buf    []byte // of chunk
	pos    int
	chunk  *chunk
	last   int64  // tick of the last timed record
	depth  int    // open spans
	serial uint32 // of the span or instant begun last; 0 is none
	target uint32 // serial that an argument written now would go to
	stack  [format.MaxDepth]uint32

	// Shared: owner writes, collector reads (held: both).
	first     atomic.Pointer[chunk]
	closed    atomic.Bool
	drops     atomic.Uint64
	truncated atomic.Uint64
	held      atomic.Int32

	// The collector's.
	rd reading
}

// Longest encodings of records, tag included.
const (
	maxName   = 3 // format.MaxNames is below 1<<21
	maxBegin  = 1 + format.MaxVarint + maxName
	maxPoint  = maxBegin + 8
	maxSample = maxBegin + format.MaxVarint
	maxMemory = maxSample + format.MaxVarint
	maxTarget = 1 + 2
	maxInt    = 1 + maxName + format.MaxVarint
)

// pointDepth marks the Span of an instant or async event: it has arguments but no end.
const pointDepth = math.MaxUint16

func putUvarint(b []byte, i int, v uint64) int {
	for v >= 0x80 {
		b[i] = byte(v) | 0x80
		v >>= 7
		i++
	}
	b[i] = byte(v)
	return i + 1
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

// putName writes a name; one that Intern cannot have given becomes the stand-in.
func putName(b []byte, i int, n Name) int {
	if n >= format.MaxNames {
		n = 1
	}
	return putUvarint(b, i, uint64(n))
}

// delta reads the clock. A clock that steps back by the few ticks by which the counters
// of two cores may differ gives 0.
func (w *writer) delta() uint64 {
	var now int64
	if w.tsc {
		now = tsc()
	} else {
		now = monoNow()
	}
	d := now - w.last
	if d < 0 {
		return 0
	}
	w.last = now
	return uint64(d)
}

// room makes sure that a record of n bytes fits and that after it the ends of all open
// spans and of one more still fit: an end never needs a new chunk, so what is dropped
// when memory runs out are whole spans.
func (w *writer) room(n int) bool {
	return w.pos+n+(w.depth+1)*format.MaxEnd <= len(w.buf) || w.grow(n)
}

func (w *writer) grow(n int) bool {
	var c *chunk
	if n+(w.depth+1)*format.MaxEnd <= w.eng.pool.size && int(w.held.Load()) < w.eng.chunksPerTrack {
		c = w.eng.pool.take()
	}
	if c == nil {
		w.drops.Add(1)
		return false
	}
	w.held.Add(1)
	if w.chunk == nil {
		w.first.Store(c)
	} else {
		w.chunk.next.Store(c)
		w.eng.handOver()
	}
	w.chunk, w.buf, w.pos = c, c.buf, 0
	return true
}

func (w *writer) commit(i int) {
	w.pos = i
	publish(&w.chunk.pub, uint32(i))
}

func (w *writer) begin(n Name, c Category) Span {
	if w.depth >= format.MaxDepth {
		w.drops.Add(1)
		return Span{}
	}
	if !w.room(maxBegin) {
		return Span{}
	}
	w.serial++
	d, serial := w.depth, w.serial
	w.stack[d] = serial
	w.target = serial
	w.depth = d + 1
	b, i := w.buf, w.pos
	b[i] = byte(format.TypeBegin) | byte(c)&15
	i = putUvarint(b, i+1, w.delta())
	w.commit(putName(b, i, n))
	return Span{w: w, serial: serial, depth: uint16(d)}
}

func (w *writer) end(s Span) {
	if w.track.live.Load() != w {
		return
	}
	d := int(s.depth)
	if d >= w.depth || w.stack[d] != s.serial {
		return
	}
	w.unwind(d)
}

// unwind ends the spans above depth d.
func (w *writer) unwind(d int) {
	delta := w.delta()
	b, i := w.buf, w.pos
	if n := w.depth - d; n == 1 {
		b[i] = byte(format.TypeEnd)
		i = putUvarint(b, i+1, delta)
	} else {
		b[i] = byte(format.TypeUnwind)
		i = putUvarint(b, i+1, delta)
		i = putUvarint(b, i, uint64(n))
	}
	w.depth = d
	w.target = 0
	if d > 0 {
		w.target = w.stack[d-1]
	}
	w.commit(i)
}

// point records an instant (tag with a category) or one end of an async span.
func (w *writer) point(tag byte, n Name, id uint64, hasID bool) Span {
	if !w.room(maxPoint) {
		return Span{}
	}
	w.serial++
	w.target = w.serial
	b, i := w.buf, w.pos
	b[i] = tag
	i = putUvarint(b, i+1, w.delta())
	i = putName(b, i, n)
	if hasID {
		binary.LittleEndian.PutUint64(b[i:], id)
		i += 8
	}
	w.commit(i)
	return Span{w: w, serial: w.serial, depth: pointDepth}
}

func (w *writer) counter(n Name, v int64) {
	if !w.room(maxSample) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(format.TypeCounter)
	i = putUvarint(b, i+1, w.delta())
	i = putName(b, i, n)
	w.commit(putUvarint(b, i, zigzag(v)))
}

func (w *writer) counterFloat(n Name, v float64) {
	if !w.room(maxSample) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(format.TypeCounterF)
	i = putUvarint(b, i+1, w.delta())
	i = putName(b, i, n)
	binary.LittleEndian.PutUint64(b[i:], math.Float64bits(v))
	w.commit(i + 8)
}

func (w *writer) memory(t format.Type, pool Name, addr uint64, bytes int64) {
	if w.eng.flags.Load()&format.OptMemory == 0 || !w.room(maxMemory) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(t)
	i = putUvarint(b, i+1, w.delta())
	i = putName(b, i, pool)
	i = putUvarint(b, i, addr)
	w.commit(putUvarint(b, i, zigzag(bytes)))
}

// attr prepares for an argument of s that takes n bytes: it directs arguments to s and
// makes room. It is false if s has ended or there is no room.
func (w *writer) attr(s Span, n int) bool {
	if w.track.live.Load() != w {
		return false
	}
	if w.target != s.serial && !w.retarget(s) {
		return false
	}
	return w.room(n)
}

func (w *writer) retarget(s Span) bool {
	d := int(s.depth)
	if d >= w.depth || w.stack[d] != s.serial || !w.room(maxTarget) {
		return false
	}
	b, i := w.buf, w.pos
	b[i] = byte(format.TypeTarget)
	w.target = s.serial
	w.commit(putUvarint(b, i+1, uint64(w.depth-1-d)))
	return true
}

// attrWord writes an argument that is a key and one varint; the key is left out of types
// that have none.
func (w *writer) attrWord(s Span, t format.Type, key Name, hasKey bool, v uint64) {
	if !w.attr(s, maxInt) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(t)
	i++
	if hasKey {
		i = putName(b, i, key)
	}
	w.commit(putUvarint(b, i, v))
}

// attrFixed is attrWord for eight fixed bytes.
func (w *writer) attrFixed(s Span, t format.Type, key Name, hasKey bool, v uint64) {
	if !w.attr(s, maxInt) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(t)
	i++
	if hasKey {
		i = putName(b, i, key)
	}
	binary.LittleEndian.PutUint64(b[i:], v)
	w.commit(i + 8)
}

// attrInt writes Int (with a key) and Bytes (without).
//
//go:noinline
func (w *writer) attrInt(s Span, t format.Type, key Name, v int64) {
	w.attrWord(s, t, key, t == format.TypeInt, zigzag(v))
}

//go:noinline
func (w *writer) attrStr(s Span, key, v Name) {
	if v >= format.MaxNames {
		v = 1
	}
	w.attrWord(s, format.TypeStr, key, true, uint64(v))
}

//go:noinline
func (w *writer) attrFLOPs(s Span, n int64) {
	if w.eng.flags.Load()&format.OptFLOPs != 0 {
		w.attrWord(s, format.TypeFLOPs, 0, false, zigzag(n))
	}
}

//go:noinline
func (w *writer) attrStack(s Span) {
	if w.eng.flags.Load()&format.OptStacks == 0 || w.track.live.Load() != w {
		return
	}
	if id := callerStack(2); id != 0 {
		w.attrWord(s, format.TypeStack, 0, false, uint64(id))
	}
}

func (w *writer) attrText(s Span, key Name, v string) {
	if limit := min(format.MaxText, w.eng.pool.size/4); len(v) > limit {
		v = v[:limit]
		for range utf8.UTFMax - 1 {
			if r, n := utf8.DecodeLastRuneInString(v); r != utf8.RuneError || n != 1 {
				break
			}
			v = v[:len(v)-1]
		}
		w.truncated.Add(1)
	}
	if !w.attr(s, maxInt+len(v)) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(format.TypeText)
	i = putName(b, i+1, key)
	i = putUvarint(b, i, uint64(len(v)))
	w.commit(i + copy(b[i:], v))
}

func (w *writer) attrShape(s Span, d DType, dims []int) {
	if w.eng.flags.Load()&format.OptShapes == 0 {
		return
	}
	if len(dims) > format.MaxDims {
		dims = dims[:format.MaxDims]
		w.truncated.Add(1)
	}
	if !w.attr(s, 2+len(dims)*format.MaxVarint) {
		return
	}
	b, i := w.buf, w.pos
	b[i] = byte(format.TypeShape) | byte(d)&15
	b[i+1] = byte(len(dims))
	i += 2
	for _, n := range dims {
		i = putUvarint(b, i, zigzag(int64(n)))
	}
	w.commit(i)
}
