package profiler

import (
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"os"
	"runtime"
	"slices"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// batchMeta is a batch before it is encoded: the starts of open spans are known in
// nanoseconds only when the generation's clock is, at its cut.
type batchMeta struct {
	track          uint32
	base           int64
	begun          uint64
	target         uint32
	openLo, openHi int // in builder.opens
	dataLo, dataHi int // in builder.data
	events         uint64
}

type trackEntry struct {
	id    uint32
	name  string
	drops uint64
}

// builder gathers one generation. The collector owns it and reuses its memory.
type builder struct {
	data    []byte
	batches []batchMeta
	opens   []openSpan
	tracks  []trackEntry
	used    []uint64 // set of name ids
	stacks  map[uint64]struct{}
	oldest  int64 // least tick of a timed record
}

func (g *builder) use(name uint32) {
	i := int(name >> 6)
	for i >= len(g.used) {
		g.used = append(g.used, 0)
	}
	g.used[i] |= 1 << (name & 63)
}

func (g *builder) useStack(id uint64) {
	if g.stacks == nil {
		g.stacks = map[uint64]struct{}{}
	}
	g.stacks[id] = struct{}{}
}

func (g *builder) reset() {
	g.data, g.batches, g.opens, g.tracks = g.data[:0], g.batches[:0], g.opens[:0], g.tracks[:0]
	clear(g.used)
	clear(g.stacks)
	g.oldest = math.MaxInt64
}

// entry puts the track into the generation's track table, once.
func (e *engine) entry(w *writer) {
	if w.rd.lastBatch == e.seq+1 {
		return
	}
	w.rd.lastBatch = e.seq + 1
	w.rd.name = w.track.Name()
	w.rd.reported = w.drops.Load()
	e.gen.tracks = append(e.gen.tracks, trackEntry{w.track.id, w.rd.name, w.rd.reported})
}

// report makes sure that drops and names not yet written are in this generation.
func (e *engine) report(w *writer) {
	if w.drops.Load() != w.rd.reported {
		w.rd.lastBatch = 0
		e.entry(w)
	}
}

// seal ends the generation and sends it on. An empty one just goes on.
func (e *engine) seal() {
	for _, w := range e.writers {
		e.report(w)
	}
	g := &e.gen
	cut := readAnchor(e.tsc)
	cut.tick, cut.mono = max(cut.tick, e.open.tick), max(cut.mono, e.open.mono)
	if len(g.batches) == 0 && len(g.tracks) == 0 {
		e.open = cut
		return
	}
	from := e.baselines.choose(g.oldest, cut)
	clock := format.NewClock(from.tick, from.mono, cut.tick, cut.mono)
	for i := range g.opens {
		g.opens[i].fix(&clock)
		g.use(g.opens[i].name)
	}
	for _, w := range e.writers {
		for i := range w.rd.stack {
			w.rd.stack[i].fix(&clock)
		}
	}
	frame := format.FinishFrame(e.encode(from, cut), format.FrameGeneration)
	if e.out != nil && !e.out.overfull() {
		e.out.push(frame)
	} else if e.out != nil {
		e.out.lose(g)
	}
	if e.ring != nil {
		e.ring.push(flightFrame{data: frame, start: e.open.mono, end: cut.mono, events: e.events - e.sealed})
	}
	e.seq++
	e.sealed = e.events
	e.open = cut
	g.reset()
}

func (o *openSpan) fix(c *format.Clock) {
	if !o.known {
		o.mono, o.known = c.Ns(o.tick), true
	}
}

// encode writes the generation's payload, with room for its frame; package format has
// the diagram.
func (e *engine) encode(from, cut anchor) []byte {
	g := &e.gen
	b := make([]byte, format.FrameSpace, len(g.data)+len(g.data)/8+4096)
	b = binary.AppendUvarint(b, e.seq)
	b = format.AppendInt(b, e.open.mono)
	b = format.AppendInt(b, from.tick)
	b = format.AppendInt(b, from.mono)
	b = format.AppendInt(b, cut.tick)
	b = format.AppendInt(b, cut.mono)
	stackBytes := e.encodeStacks()
	b = g.appendStrings(b)
	b = append(b, stackBytes...)
	b = binary.AppendUvarint(b, uint64(len(g.tracks)))
	for _, t := range g.tracks {
		b = binary.AppendUvarint(b, uint64(t.id))
		b = format.AppendString(b, limit(t.name))
		b = binary.AppendUvarint(b, t.drops)
	}
	b = binary.AppendUvarint(b, uint64(len(g.batches)))
	for _, m := range g.batches {
		b = binary.AppendUvarint(b, uint64(m.track))
		b = format.AppendInt(b, m.base)
		b = binary.AppendUvarint(b, m.begun)
		b = binary.AppendUvarint(b, uint64(m.openHi-m.openLo))
		for _, o := range g.opens[m.openLo:m.openHi] {
			b = binary.AppendUvarint(b, o.nth)
			b = format.AppendInt(b, o.mono)
			b = binary.AppendUvarint(b, uint64(o.name))
			b = binary.AppendUvarint(b, uint64(o.cat))
		}
		b = binary.AppendUvarint(b, uint64(m.target))
		b = binary.AppendUvarint(b, uint64(m.dataHi-m.dataLo))
		b = append(b, g.data[m.dataLo:m.dataHi]...)
	}
	return b
}

// appendStrings writes the texts of the used names.
func (g *builder) appendStrings(b []byte) []byte {
	n := 0
	for _, word := range g.used {
		n += bits.OnesCount64(word)
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i, word := range g.used {
		for bit := range 64 {
			if word&(1<<bit) != 0 {
				id := uint32(i*64 + bit)
				b = binary.AppendUvarint(b, uint64(id))
				b = format.AppendString(b, Name(id).String())
			}
		}
	}
	return b
}

// encodeStacks resolves the used stacks; the names of their functions and files join
// the generation's strings.
func (e *engine) encodeStacks() []byte {
	g := &e.gen
	b := binary.AppendUvarint(nil, uint64(len(g.stacks)))
	for _, id := range slices.Sorted(maps.Keys(g.stacks)) {
		var frames []runtime.Frame
		for it := runtime.CallersFrames(stackFrames(id)); len(frames) < 4*format.MaxFrames; {
			f, more := it.Next()
			if f.Function != "" {
				frames = append(frames, f)
			}
			if !more {
				break
			}
		}
		b = binary.AppendUvarint(b, id)
		b = binary.AppendUvarint(b, uint64(len(frames)))
		for _, f := range frames {
			fn, file := Intern(f.Function), Intern(f.File)
			g.use(uint32(fn))
			g.use(uint32(file))
			b = binary.AppendUvarint(b, uint64(fn))
			b = binary.AppendUvarint(b, uint64(file))
			b = binary.AppendUvarint(b, uint64(max(0, f.Line)))
		}
	}
	return b
}

// limit cuts a text to what a recording can hold.
func limit(s string) string { return s[:min(len(s), format.MaxString)] }

// appendHeader writes magic and header. Start is where the window starts.
func appendHeader(b []byte, e *engine, opts uint64, meta map[string]string, extra uint64, start anchor) []byte {
	now := readAnchor(e.tsc)
	clock := ClockMonotonic
	if e.tsc {
		clock = ClockTSC
	}
	p := format.AppendString(nil, limit(e.cfg.Process))
	p = format.AppendString(p, clock.String())
	p = binary.AppendUvarint(p, uint64(clockResolution(e.tsc)))
	p = binary.AppendUvarint(p, opts|extra)
	p = binary.AppendUvarint(p, uint64(os.Getpid()))
	p = format.AppendInt(p, now.mono)
	p = format.AppendInt(p, now.unix)
	p = format.AppendInt(p, start.mono)
	p = binary.AppendUvarint(p, uint64(len(meta)))
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		p = format.AppendString(p, limit(k))
		p = format.AppendString(p, limit(meta[k]))
	}
	return format.AppendFrame(append(b, format.Magic...), format.FrameHeader, p)
}

// appendEnd writes the end frame; ids are those of st.PerTrack.
func appendEnd(b []byte, at anchor, st Stats, ids []uint32, reason string) []byte {
	p := format.AppendInt(nil, at.mono)
	p = format.AppendInt(p, at.unix)
	p = binary.AppendUvarint(p, st.Events)
	p = binary.AppendUvarint(p, st.Drops)
	p = binary.AppendUvarint(p, st.Truncated)
	p = format.AppendString(p, reason)
	p = binary.AppendUvarint(p, uint64(len(ids)))
	for i, id := range ids {
		p = binary.AppendUvarint(p, uint64(id))
		p = binary.AppendUvarint(p, st.PerTrack[i].Drops)
	}
	return format.AppendFrame(b, format.FrameEnd, p)
}
