package kineto

import (
	"context"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// merger builds the file's traces from the blocks in their order.
type merger struct {
	p     *pipeline
	path  string
	phase phase
	own   *scanner
	rest  []byte         // text not used up yet: head, a part of an event, or tail
	maps  []tableMap     // by worker
	docs  []*trace.Trace // the traces that are finished
	room  reserve
	seen  int64 // bytes of text in the blocks so far
	list  bool  // the file is an array of whole traces, and its end has not come

	noArgs bool // arguments are not kept, or not any more
	document
}

// document is what belongs to the trace that is being read.
type document struct {
	t       *trace.Trace
	array   bool                 // a bare array
	first   []byte               // with array: the text with which its first object begins
	left    bool                 // events are being read that stand after the trace's end
	dirty   bool                 // text that is not a trace stands after the trace's end
	lanes   ids.List[globalLane] // by trace.TrackID
	loose   looseLanes
	names   trackNames
	begin   beginStacks
	meta    envelope
	escaped map[trace.StringID]string // texts with escapes, as they stand in the file
	n       uint32                    // events so far
	from    int64                     // where its text begins in the file
	skipped int64                     // bytes of it from which nothing was read
}

func newDocument(from int64) document {
	return document{t: trace.New(), escaped: make(map[trace.StringID]string), from: from}
}

// tableMap renumbers one scanner's tables; 0 means not yet.
type tableMap struct {
	texts, tmpl, tracks, loose []uint32
	cats                       []uint16
}

func newMerger(p *pipeline, path string) *merger {
	m := &merger{p: p, path: path, document: newDocument(0)}
	m.noArgs = p.opt.DropArgs
	m.own = takeScanner(&p.opt, 0)
	m.own.res = results.Get().(*result)
	m.maps = make([]tableMap, p.opt.Workers+1)
	return m
}

// run takes blocks until the text ends and finishes the trace.
func (m *merger) run(ctx context.Context) error {
	for blk := range m.p.ordered {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read trace %s: %w", m.path, err)
		}
		if blk.done != nil {
			<-blk.done
		}
		m.room = reserve{read: blk.read, size: m.p.opt.Size}
		if err := m.block(blk); err != nil {
			return err
		}
		if err := m.fits(blk.read); err != nil {
			return err
		}
		if blk.res != nil {
			blk.res.giveBack()
		}
		m.p.free <- blk.buf
		if f := m.p.opt.Progress; f != nil {
			f(blk.read, int64(m.n), m.p.opt.Size)
		}
	}
	if m.p.err != nil {
		return nil // reported by read
	}
	return m.finish(m.seen)
}

// fits drops the arguments if the trace takes too much memory, and fails if that does
// not help.
func (m *merger) fits(read int64) error {
	ask := m.p.opt.Room
	if ask == nil || ask(m.bytes(), read, m.p.opt.Size) {
		return nil
	}
	if !m.noArgs {
		m.noArgs = true
		for _, t := range append(slices.Clip(m.docs), m.t) {
			t.DropArgs()
			t.Repairs.Add(trace.RepairArgsMemory, 1)
		}
		if ask(m.bytes(), read, m.p.opt.Size) {
			return nil
		}
	}
	return fmt.Errorf("read trace %s: %w", m.path, ErrMemory)
}

// Memory, in bytes, of what is kept while a trace is read and is not a row yet. A lane lies in the
// maps of the merger and of each scanner. A begin lies on its stack, which is up to half empty, and
// is copied once more when begins without an end are closed.
const (
	laneBytes  = 400
	beginBytes = 3 * 40
	restCopies = 3 // of text that is not used up: it grows, and is copied to be read
)

// bytes is the memory that the traces take.
func (m *merger) bytes() int64 {
	n := m.t.Bytes() + int64(m.lanes.Len())*laneBytes + int64(m.begin.waiting)*beginBytes
	n += restCopies * int64(cap(m.rest))
	for _, t := range m.docs {
		n += t.Bytes()
	}
	return n
}

// add appends a result's rows to the trace.
func (m *merger) add(r *result) {
	for k, n := range r.repairs {
		m.t.Repairs.Add(k, n)
	}
	m.skipped += r.skipped
	tm := &m.maps[r.worker]
	tm.texts = grown(tm.texts, len(r.texts))
	tm.tmpl = grown(tm.tmpl, len(r.tmpl))
	tm.tracks = grown(tm.tracks, len(r.lanes))
	tm.loose = grown(tm.loose, len(r.lanes))
	tm.cats = grown(tm.cats, len(r.cats))
	j := joiner{m: m, r: r, tm: tm, noArgs: m.noArgs}
	if !j.noArgs {
		m.t.ReserveArgsValues(len(r.vals), m.room.room)
		j.vals = m.t.AddArgsValues(r.vals)
		if j.packed, j.hasPacked = m.t.AddPackedArgs(r.packed); !j.hasPacked {
			m.t.Repairs.Add(trace.RepairArgsLimit, 1)
		}
	}
	m.reserve(r)
	at := 0
	for _, u := range r.order {
		switch u.kind {
		case useText:
			j.text(u.id)
		case useLane:
			j.track(u.id)
		case useCat:
			j.cat(uint16(u.id))
		case useTemplate:
			j.args(uint64(u.id+1) << argsShift)
		case useRare:
			x := &r.rare[u.id]
			j.slices(at, x.at)
			at = x.at
			j.rare(x)
		}
	}
	j.slices(at, len(r.start))
	j.instants()
	j.flows()
	m.n += r.events
}

func grown[T any](s []T, n int) []T {
	if n > len(s) {
		s = append(s, make([]T, n-len(s))...)
	}
	return s
}

// joiner adds one result, renumbering as it goes.
type joiner struct {
	m      *merger
	r      *result
	tm     *tableMap
	vals   uint64 // offset of the result's values in the trace
	noArgs bool

	packed    int // number of the result's first packed block in the trace
	hasPacked bool
}

func (j *joiner) text(id uint32) trace.StringID {
	if g := j.tm.texts[id]; g > 0 {
		return trace.StringID(g - 1)
	}
	x := j.r.texts[id]
	if x.flags == 0 && x.raw != "" {
		g := j.m.t.Strings.InternHashed(x.raw, j.r.hash[id])
		j.tm.texts[id] = uint32(g) + 1
		return g
	}
	g := j.m.t.Intern(plainText(x))
	if x.flags != 0 {
		if _, ok := j.m.escaped[g]; !ok {
			j.m.escaped[g] = x.raw
		}
	}
	j.tm.texts[id] = uint32(g) + 1
	return g
}

func plainText(x rawText) string {
	if x.flags == 0 {
		return x.raw
	}
	return trace.Unescape([]byte(x.raw))
}

func (j *joiner) cat(id uint16) trace.Category {
	if g := j.tm.cats[id]; g > 0 {
		return trace.Category(g - 1)
	}
	c := j.r.cats[id]
	g := c.cat
	if !c.known {
		g = j.m.t.Category(plainText(j.r.texts[c.text]))
	}
	j.tm.cats[id] = uint16(g) + 1
	return g
}

func (j *joiner) args(ref uint64) trace.ArgsRef {
	if ref == 0 || j.noArgs {
		return trace.NoArgs
	}
	if ref>>argsShift == packedID {
		if !j.hasPacked {
			return trace.NoArgs
		}
		return trace.PackedRef(j.packed, ref&(1<<argsShift-1))
	}
	id := ref>>argsShift - 1
	g := j.tm.tmpl[id]
	if g == 0 {
		g = j.m.t.AddArgsTemplate(j.r.tmpl[id].lit) + 1
		j.tm.tmpl[id] = g
	}
	off := uint64(0)
	if len(j.r.tmpl[id].segs) > 1 {
		off = j.vals + ref&(1<<argsShift-1)
	}
	return trace.MakeArgsRef(g-1, off)
}

// slices adds the result's slices from..to.
func (j *joiner) slices(from, to int) {
	if from == to {
		return
	}
	r, s := j.r, &j.m.t.Slices
	s.Start = append(s.Start, r.start[from:to]...)
	s.Dur = append(s.Dur, r.dur[from:to]...)
	s.Corr = append(s.Corr, r.corr[from:to]...)
	for i := from; i < to; i++ {
		s.Name = append(s.Name, j.text(r.name[i]))
	}
	for i := from; i < to; i++ {
		s.Cat = append(s.Cat, j.cat(r.cat[i]))
	}
	for i := from; i < to; i++ {
		s.Track = append(s.Track, j.track(r.lane[i]))
	}
	for i := from; i < to; i++ {
		s.Args = append(s.Args, j.args(r.args[i]))
	}
	for i := from; i < to; i++ {
		s.Event = append(s.Event, j.m.n+r.event[i])
	}
}

func (j *joiner) instants() {
	c := &j.m.t.Instants
	for i := range j.r.instants {
		x := &j.r.instants[i]
		c.Time = append(c.Time, x.ts)
		c.Name = append(c.Name, j.text(x.name))
		c.Cat = append(c.Cat, j.cat(x.cat))
		c.Track = append(c.Track, j.track(x.lane))
		c.Args = append(c.Args, j.args(x.args))
	}
}

func (j *joiner) flows() {
	c := &j.m.t.Flows
	for i := range j.r.flows {
		x := &j.r.flows[i]
		c.Time = append(c.Time, x.ts)
		c.ID = append(c.ID, x.id)
		c.Track = append(c.Track, trace.TrackID(j.looseLane(x.lane))) // settled by finish
		c.Cat = append(c.Cat, j.text(x.cat))
		c.Name = append(c.Name, j.text(x.name))
		c.Start = append(c.Start, x.start)
	}
}
