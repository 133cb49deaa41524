package format

import "math"

// apply takes one record into the track's state and the generation's columns. It
// returns the field that makes no sense, or "".
func (d *Reader) apply(s *trackState, r *Record, clock *Clock) string {
	if !r.Timed {
		return d.applyAttr(s, r)
	}
	if r.Delta > math.MaxInt64/4 {
		return "record.delta"
	}
	s.tick += int64(r.Delta)
	// Two generations' clocks meet within a nanosecond, not exactly.
	now := max(d.header.Unix(clock.Ns(s.tick)), s.lastNs)
	s.lastNs = now
	var name StringID
	switch r.Type {
	case TypeEnd, TypeUnwind:
	default:
		if int(r.Name) >= len(d.names) || d.names[r.Name] == 0 {
			return "record.name"
		}
		name = d.names[r.Name] - 1
	}
	g := &d.gen
	switch r.Type {
	case TypeBegin:
		if len(s.stack) >= MaxDepth {
			return "record.depth"
		}
		d.flushPoint(s)
		s.push(s.begun, now, name, r.Sub)
		s.begun++
	case TypeEnd:
		if len(s.stack) == 0 {
			return "record.end"
		}
		d.flushPoint(s)
		d.closeTo(s, len(s.stack)-1, now, Finished, false)
	case TypeUnwind:
		if int(r.Value) > len(s.stack) {
			return "unwind.count"
		}
		d.flushPoint(s)
		d.closeTo(s, len(s.stack)-int(r.Value), now, Finished, true)
	case TypeInstant:
		s.newPoint(d, pointInstant, now, name, r)
	case TypeAsyncBegin:
		s.newPoint(d, pointAsyncBegin, now, name, r)
	case TypeAsyncEnd:
		s.newPoint(d, pointAsyncEnd, now, name, r)
	case TypeCounter, TypeCounterF:
		v := float64(r.Value)
		if r.Type == TypeCounterF {
			v = math.Float64frombits(r.ID)
		}
		q := &g.Counters
		q.Time = append(q.Time, now)
		q.Name = append(q.Name, name)
		q.Track = append(q.Track, s.track)
		q.Value = append(q.Value, v)
	case TypeAlloc, TypeFree:
		q := &g.Memory
		q.Time = append(q.Time, now)
		q.Alloc = append(q.Alloc, r.Type == TypeAlloc)
		q.Pool = append(q.Pool, name)
		q.Addr = append(q.Addr, r.ID)
		q.Bytes = append(q.Bytes, r.Value)
		q.Track = append(q.Track, s.track)
	}
	return ""
}

func (s *trackState) newPoint(d *Reader, k pointKind, now int64, name StringID, r *Record) {
	d.flushPoint(s)
	s.kind, s.id, s.target = k, r.ID, -1
	p := &s.point
	p.start, p.name, p.cat = now, name, 0
	if k != pointAsyncEnd {
		p.cat = r.Sub
	}
	p.reset()
}

func (d *Reader) applyAttr(s *trackState, r *Record) string {
	switch r.Type {
	case TypeTarget:
		if int(r.Value) >= len(s.stack) {
			return "target.levels"
		}
		s.target = len(s.stack) - 1 - int(r.Value)
		return ""
	case TypeFlowOut, TypeFlowIn:
		q := &d.gen.Flows
		q.Time = append(q.Time, s.lastNs)
		q.Out = append(q.Out, r.Type == TypeFlowOut)
		q.ID = append(q.ID, r.ID)
		q.Track = append(q.Track, s.track)
		return ""
	}
	var b *attrBuf
	switch {
	case s.target >= 0 && s.target < len(s.stack):
		b = &s.stack[s.target].attrBuf
	case s.kind != pointNone:
		b = &s.point.attrBuf
	default:
		b = new(attrBuf)
		d.orphans++
	}
	var a Attr
	switch r.Type {
	case TypeInt, TypeStr, TypeText, TypeFloat:
		if int(r.Name) >= len(d.names) || d.names[r.Name] == 0 {
			return "attr.key"
		}
		a.Key = d.names[r.Name] - 1
	}
	switch r.Type {
	case TypeInt:
		a.Kind, a.Int = AttrInt, r.Value
	case TypeStr:
		if int(r.Value) >= len(d.names) || d.names[r.Value] == 0 {
			return "attr.str"
		}
		a.Kind, a.Int = AttrStr, int64(d.names[r.Value]-1)
	case TypeText:
		a.Kind, a.Int, a.N = AttrText, int64(len(b.text)), uint32(len(r.Text))
		b.text = append(b.text, r.Text...)
	case TypeFloat:
		a.Kind, a.Int = AttrFloat, int64(r.ID)
	case TypeFLOPs:
		a.Kind, a.Int = AttrFLOPs, r.Value
	case TypeBytes:
		a.Kind, a.Int = AttrBytes, r.Value
	case TypeStack:
		a.Kind, a.Int = AttrStack, int64(r.ID)
	case TypeShape:
		a.Kind, a.DType, a.Int, a.N = AttrShape, r.Sub, int64(len(b.dims)), uint32(r.NDims)
		b.dims = append(b.dims, r.Dims[:r.NDims]...)
	}
	b.attrs = append(b.attrs, a)
	return ""
}
