package format

// attrBuf holds the arguments of one event until it is complete.
type attrBuf struct {
	attrs []Attr
	text  []byte
	dims  []int64
}

func (b *attrBuf) reset() { b.attrs, b.text, b.dims = b.attrs[:0], b.text[:0], b.dims[:0] }

type openSpan struct {
	start int64  // ns since the Unix epoch
	nth   uint64 // ordinal among the track's spans
	name  StringID
	cat   uint8
	attrBuf
}

type pointKind uint8

const (
	pointNone pointKind = iota
	pointInstant
	pointAsyncBegin
	pointAsyncEnd
)

// trackState is what a track carries from one batch to the next.
type trackState struct {
	track  TrackIndex
	tick   int64
	begun  uint64
	lastNs int64 // ns since the Unix epoch of the last timed record
	stack  []openSpan
	kind   pointKind // an instant or async event that may still get arguments
	point  openSpan
	id     uint64
	target int // index into stack, -1 for the point or nothing
}

// push opens a span, reusing the buffers of an earlier one at this depth.
func (s *trackState) push(nth uint64, start int64, name StringID, cat uint8) {
	if len(s.stack) < cap(s.stack) {
		s.stack = s.stack[:len(s.stack)+1]
	} else {
		s.stack = append(s.stack, openSpan{})
	}
	o := &s.stack[len(s.stack)-1]
	o.nth, o.start, o.name, o.cat = nth, start, name, cat
	o.reset()
	s.target = len(s.stack) - 1
}

func (d *Reader) parseGeneration() error {
	c := &cursor{b: d.payload}
	g := &d.gen
	g.reset()
	g.Seq = c.uvarint("generation.seq")
	opened := c.zigzag("generation.opened")
	t0, m0 := c.zigzag("generation.tick0"), c.zigzag("generation.mono0")
	t1, m1 := c.zigzag("generation.tick1"), c.zigzag("generation.mono1")
	clock := NewClock(t0, m0, t1, m1)
	g.Start, g.End = d.header.Unix(opened), d.header.Unix(m1)
	if c.bad == "" && (t1 < t0 || m1 < m0 || m1 < opened) {
		c.i = 0
		c.fail("generation.anchors")
	}
	d.parseStrings(c)
	d.parseStacks(c)
	d.parseTracks(c)
	n := c.count("generation.batches")
	for i := 0; i < n && c.bad == ""; i++ {
		d.parseBatch(c, &clock)
	}
	if c.bad == "" && c.i != len(c.b) {
		c.fail("generation.rest")
	}
	if err := d.fail(c); err != nil {
		return err
	}
	d.last = max(d.last, g.End)
	return nil
}

func (d *Reader) parseStrings(c *cursor) {
	n := c.count("generation.strings")
	for i := 0; i < n && c.bad == ""; i++ {
		id := c.name("generation.string.id")
		size := c.uvarint("generation.string")
		if size > MaxString {
			c.fail("generation.string")
			return
		}
		text := c.bytes(size, "generation.string")
		if c.bad != "" {
			return
		}
		for int(id) >= len(d.names) {
			d.names = append(d.names, 0)
		}
		if at := d.names[id]; at != 0 {
			if d.strs[at-1] != string(text) {
				c.fail("generation.string")
			}
			continue
		}
		d.strs = append(d.strs, string(text))
		d.names[id] = StringID(len(d.strs))
	}
}

// ref resolves a writer's name id. An id without a text in this or an earlier
// generation is damage.
func (d *Reader) ref(c *cursor, id uint32, field string) StringID {
	if int(id) < len(d.names) && d.names[id] != 0 {
		return d.names[id] - 1
	}
	c.fail(field)
	return 0
}

func (d *Reader) parseStacks(c *cursor) {
	n := c.count("generation.stacks")
	for i := 0; i < n && c.bad == ""; i++ {
		id := c.uvarint("generation.stack.id")
		depth := c.count("generation.stack.depth")
		if depth > 4*MaxFrames || len(d.stacks) >= maxStacks {
			c.fail("generation.stack.depth")
			return
		}
		frames := make([]Frame, 0, depth)
		for j := 0; j < depth && c.bad == ""; j++ {
			var f Frame
			f.Func = d.ref(c, c.name("generation.stack.function"), "generation.stack.function")
			f.File = d.ref(c, c.name("generation.stack.file"), "generation.stack.file")
			f.Line = int(c.uvarint("generation.stack.line"))
			frames = append(frames, f)
		}
		if _, known := d.stacks[id]; !known && c.bad == "" {
			d.stacks[id] = frames
		}
	}
}

func (d *Reader) parseTracks(c *cursor) {
	n := c.count("generation.tracks")
	for i := 0; i < n && c.bad == ""; i++ {
		id := uint32(c.uvarint("generation.track.id"))
		name := c.str("generation.track.name")
		drops := c.uvarint("generation.track.dropped")
		if c.bad != "" {
			return
		}
		t, ok := d.index[id]
		if !ok {
			if len(d.tracks) >= MaxTracks {
				c.fail("generation.tracks")
				return
			}
			t = TrackIndex(len(d.tracks))
			d.index[id] = t
			d.tracks = append(d.tracks, Track{ID: id})
			d.states = append(d.states, trackState{track: t, target: -1})
		}
		d.tracks[t].Name, d.tracks[t].Drops = name, drops
	}
}

func (d *Reader) parseBatch(c *cursor, clock *Clock) {
	id := uint32(c.uvarint("batch.track"))
	t, ok := d.index[id]
	if c.bad == "" && !ok {
		c.fail("batch.track")
	}
	tick := c.zigzag("batch.base")
	begun := c.uvarint("batch.begun")
	if c.bad != "" {
		return
	}
	s := &d.states[t]
	s.tick, s.begun = tick, begun
	base := d.header.Unix(clock.Ns(tick))
	if s.lastNs == 0 {
		s.lastNs = base
	}
	d.parseOpen(c, s, base)
	size := c.uvarint("batch.length")
	b := c.bytes(size, "batch.length")
	if c.bad != "" {
		return
	}
	at := c.i - len(b)
	var r Record
	for i := 0; i < len(b); {
		n, bad := ReadRecord(b[i:], &r)
		if bad == "" {
			bad = d.apply(s, &r, clock)
		}
		if bad != "" {
			c.i = at + i
			c.fail(bad)
			return
		}
		i += n
	}
}

// parseOpen reads the spans that were open before a batch. If they are those that the
// reader holds, nothing changes; if not, a piece is missing before the batch: what the
// reader held and the batch does not is closed, what is new is opened.
func (d *Reader) parseOpen(c *cursor, s *trackState, base int64) {
	n := c.count("batch.open")
	if n > MaxDepth {
		c.fail("batch.open")
		return
	}
	base = max(base, s.lastNs)
	same := 0
	match := true
	for i := 0; i < n && c.bad == ""; i++ {
		nth := c.uvarint("batch.open.ordinal")
		start := d.header.Unix(c.zigzag("batch.open.start"))
		name := d.ref(c, c.name("batch.open.name"), "batch.open.name")
		cat := c.uvarint("batch.open.category")
		if cat > 15 {
			c.fail("batch.open.category")
		}
		if c.bad != "" {
			return
		}
		if match && i < len(s.stack) {
			if o := &s.stack[i]; o.nth == nth && o.name == name {
				same = i + 1
				continue
			}
		}
		if match {
			match = false
			d.flushPoint(s)
			d.closeTo(s, same, base, 0, false)
		}
		s.push(nth, start, name, uint8(cat))
	}
	if match && n < len(s.stack) {
		match = false
		d.flushPoint(s)
		d.closeTo(s, n, base, 0, false)
	}
	target := c.uvarint("batch.target")
	if c.bad == "" && target > uint64(n) && target > 1 {
		c.fail("batch.target")
	}
	if !match && c.bad == "" {
		s.target = n - int(target)
		if target == 0 {
			s.target = -1
		}
	}
}

// closeTo ends the spans above depth at time end.
func (d *Reader) closeTo(s *trackState, depth int, end int64, flags SliceFlags, unwound bool) {
	g := &d.gen
	for len(s.stack) > depth {
		i := len(s.stack) - 1
		o := &s.stack[i]
		f := flags
		if unwound && i > depth {
			f |= Unwound
		}
		if o.start < d.header.Start {
			f |= BeganBefore
		}
		q := &g.Slices
		q.Start = append(q.Start, o.start)
		q.Dur = append(q.Dur, max(0, end-o.start))
		q.Name = append(q.Name, o.name)
		q.Cat = append(q.Cat, o.cat)
		q.Track = append(q.Track, s.track)
		q.Depth = append(q.Depth, uint16(i))
		q.Flags = append(q.Flags, f)
		q.Attrs = append(q.Attrs, g.take(&o.attrBuf))
		s.stack = s.stack[:i]
	}
	s.target = len(s.stack) - 1
}

// take moves an event's arguments into the generation.
func (g *Generation) take(b *attrBuf) AttrRange {
	lo := len(g.Attrs)
	if len(b.attrs) > 0 {
		text, dims := int64(len(g.text)), int64(len(g.dims))
		for _, a := range b.attrs {
			switch a.Kind {
			case AttrText:
				a.Int += text
			case AttrShape:
				a.Int += dims
			}
			g.Attrs = append(g.Attrs, a)
		}
		g.text = append(g.text, b.text...)
		g.dims = append(g.dims, b.dims...)
		b.reset()
	}
	return AttrRange{uint32(lo), uint32(len(g.Attrs))}
}

// flushPoint brings out the instant or async event that waited for arguments.
func (d *Reader) flushPoint(s *trackState) {
	if s.kind == pointNone {
		return
	}
	g, p := &d.gen, &s.point
	if s.kind == pointInstant {
		q := &g.Instants
		q.Time = append(q.Time, p.start)
		q.Name = append(q.Name, p.name)
		q.Cat = append(q.Cat, p.cat)
		q.Track = append(q.Track, s.track)
		q.Attrs = append(q.Attrs, g.take(&p.attrBuf))
	} else {
		q := &g.Asyncs
		q.Time = append(q.Time, p.start)
		q.Begin = append(q.Begin, s.kind == pointAsyncBegin)
		q.ID = append(q.ID, s.id)
		q.Name = append(q.Name, p.name)
		q.Cat = append(q.Cat, p.cat)
		q.Track = append(q.Track, s.track)
		q.Attrs = append(q.Attrs, g.take(&p.attrBuf))
	}
	s.kind = pointNone
}

// finish makes the last generation of what was still open; false if nothing was.
func (d *Reader) finish() bool {
	g := &d.gen
	g.reset()
	g.Final = true
	g.Seq++
	g.Start, g.End = d.last, d.last
	for i := range d.states {
		s := &d.states[i]
		d.flushPoint(s)
		d.closeTo(s, 0, max(d.last, s.lastNs), 0, false)
	}
	return len(g.Slices.Start)+len(g.Instants.Time)+len(g.Asyncs.Time) > 0
}
