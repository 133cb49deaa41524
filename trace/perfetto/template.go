package perfetto

import (
	"bytes"
	"encoding/binary"

	"github.com/kinetoscope/kinetoscope/trace"
)

// shape is a template of arguments (trace.ArgsParts) as annotations: what does not differ from event to event is
// encoded once.
type shape struct {
	seen  bool // once: it is made when it comes again
	made  bool
	plain bool // the text has to be read at each event
	parts []part
}

// maxShapes bounds the templates of a rank that are kept as shapes. Real traces have some hundred.
const maxShapes = 1 << 14

// part is a stretch of annotations that are always the same, then one that differs, if there is one.
type part struct {
	fixed []byte
	key   uint64 // id of the name of the one that differs; 0: there is none
	value []byte // its text, with holes
	id    uint64 // of the part, for memo
}

// arguments appends the arguments ref to the event.
func (r *rankTracks) arguments(ref trace.ArgsRef) {
	template, lit, values, ok := r.t.ArgsParts(ref)
	if !ok {
		r.p.annotations(r.args(ref))
		return
	}
	if template >= maxShapes {
		r.p.annotations(r.args(ref))
		return
	}
	if int(template) >= len(r.shapes) {
		r.shapes = append(r.shapes, make([]shape, int(template)+1-len(r.shapes))...)
	}
	s := &r.shapes[template]
	if !s.seen {
		s.seen = true
		r.p.annotations(r.args(ref))
		return
	}
	if !s.made {
		*s = r.p.shapeOf(lit)
		s.seen = true
	}
	mark := len(r.p.event)
	if s.plain || !r.p.fill(s, values) {
		r.p.event = r.p.event[:mark]
		r.p.annotations(r.args(ref))
	}
}

// fill appends the annotations of s with values; false means that the object is damaged.
func (p *Writer) fill(s *shape, values []byte) bool {
	for i := range s.parts {
		part := &s.parts[i]
		p.event = append(p.event, part.fixed...)
		switch {
		case part.key == 0:
		case len(part.value) == 1 && part.value[0] == trace.ArgHole:
			v, n := binary.Uvarint(values)
			values = values[max(0, n):]
			p.annotation(appendVarint(p.named(part), fieldAnnotationInt, v))
		default:
			rest := trace.SkipArgsValues(values, part.value)
			if !p.fillText(part, values[:len(values)-len(rest)]) {
				return false
			}
			values = rest
		}
	}
	return true
}

// fillText appends the annotation of a part whose text is more than one number; false means that it is damaged.
func (p *Writer) fillText(part *part, values []byte) bool {
	known := p.memo.entry(part.id, values)
	if known.is(part.id, values) {
		p.event = append(p.event, known.encoded...)
		return true
	}
	p.raw = trace.ExpandArgs(p.raw[:0], part.value, values)
	w := &p.walk
	w.raw, w.i = p.raw, 0
	b, ok := w.value(p.named(part), 1)
	if !ok || !w.atEnd() {
		return false
	}
	mark := len(p.event)
	p.annotation(b)
	known.set(part.id, values, p.event[mark:])
	return true
}

// named begins the annotation of a part in the walker's room for it.
func (p *Writer) named(part *part) []byte {
	return appendVarint(p.walk.levels[0][:0], fieldAnnotationNameIID, part.key)
}

// annotation appends the finished annotation b, whose room is the walker's again.
func (p *Writer) annotation(b []byte) {
	p.walk.levels[0] = b
	p.event = appendMessage(p.event, fieldEventAnnotations, b)
}

// shapeOf reads the text of a template. Names become known to the file here.
func (p *Writer) shapeOf(lit []byte) shape {
	w := &p.walk
	w.raw, w.i = lit, 0
	s := shape{made: true}
	var fixed []byte
	if !w.take('{') {
		return shape{made: true, plain: true}
	}
	for first := true; !w.take('}'); first = false {
		if !first && !w.take(',') {
			return shape{made: true, plain: true}
		}
		key, ok := w.string()
		if !ok || trace.CountHoles(key) > 0 || !w.take(':') {
			return shape{made: true, plain: true}
		}
		w.space()
		from := w.i
		if !w.skip() {
			return shape{made: true, plain: true}
		}
		end, value := w.i, bytes.TrimSpace(lit[from:w.i])
		id := p.keyID(key)
		if trace.CountHoles(value) > 0 {
			p.parts++
			s.parts = append(s.parts, part{fixed: fixed, key: id, value: value, id: p.parts})
			fixed = nil
			continue
		}
		b := appendVarint(nil, fieldAnnotationNameIID, id)
		w.raw, w.i = value, 0
		b, ok = w.value(b, 1)
		if !ok || !w.atEnd() {
			return shape{made: true, plain: true}
		}
		fixed = appendMessage(fixed, fieldEventAnnotations, b)
		w.raw, w.i = lit, end
	}
	s.parts = append(s.parts, part{fixed: fixed})
	s.plain = !w.atEnd()
	return s
}

// skip passes a value of a template; false means that it is damaged.
func (w *walker) skip() bool {
	open := 0
	for start := w.i; w.i < len(w.raw); w.i++ {
		switch w.raw[w.i] {
		case '"':
			if _, ok := w.string(); !ok {
				return false
			}
			w.i-- // of the loop
		case '{', '[':
			open++
		case '}', ']', ',':
			if open == 0 {
				return w.i > start
			}
			if w.raw[w.i] != ',' {
				open--
			}
		}
	}
	return false
}
