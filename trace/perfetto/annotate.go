package perfetto

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth bounds how deep an argument's arrays and objects are followed; what lies
// deeper is written as text. Kineto's deepest is a list of lists of dims, 3.
const maxDepth = 8

// walker turns the raw JSON of arguments into DebugAnnotations. It allocates nothing
// per event; its buffers are reused.
type walker struct {
	raw    []byte
	i      int
	keys   map[string]uint64    // raw key, with quotes, to its id
	levels [maxDepth + 1][]byte // messages being built, by depth
	text   []byte
}

// annotations appends the members of the raw JSON object to the event, as
// DebugAnnotations. What is not a JSON object is written as the text "args".
func (p *Writer) annotations(raw []byte) {
	w := &p.walk
	w.raw, w.i = raw, 0
	mark := len(p.event)
	if w.space(); w.i == len(raw) {
		return
	}
	if p.members() {
		return
	}
	p.event = p.event[:mark]
	b := appendVarint(w.levels[0][:0], fieldAnnotationNameIID, p.intern(&p.keys, "args"))
	w.levels[0] = appendValidText(b, fieldAnnotationString, raw)
	p.event = appendMessage(p.event, fieldEventAnnotations, w.levels[0])
}

// members appends every member of the object; false means that it is damaged.
func (p *Writer) members() bool {
	w := &p.walk
	if !w.take('{') {
		return false
	}
	if w.take('}') {
		return w.atEnd()
	}
	for {
		key, ok := w.string()
		if !ok || !w.take(':') {
			return false
		}
		b := appendVarint(w.levels[0][:0], fieldAnnotationNameIID, p.keyID(key))
		b, ok = w.value(b, 1)
		if w.levels[0] = b; !ok {
			return false
		}
		p.event = appendMessage(p.event, fieldEventAnnotations, b)
		if w.take('}') {
			return w.atEnd()
		}
		if !w.take(',') {
			return false
		}
	}
}

// keyID interns a key by its raw text.
func (p *Writer) keyID(raw []byte) uint64 {
	w := &p.walk
	if id, ok := w.keys[string(raw)]; ok {
		return id
	}
	if w.keys == nil {
		w.keys = map[string]uint64{}
	}
	w.text, _ = jsontext.AppendUnquote(w.text[:0], raw)
	id := p.intern(&p.keys, string(w.text))
	w.keys[string(raw)] = id
	return id
}

func (w *walker) space() {
	for w.i < len(w.raw) && (w.raw[w.i] == ' ' || w.raw[w.i] == '\n' || w.raw[w.i] == '\t' || w.raw[w.i] == '\r') {
		w.i++
	}
}

// take skips space and c, if c is next.
func (w *walker) take(c byte) bool {
	if w.space(); w.i == len(w.raw) || w.raw[w.i] != c {
		return false
	}
	w.i++
	return true
}

func (w *walker) atEnd() bool {
	w.space()
	return w.i == len(w.raw)
}

// string takes a text with its quotes.
func (w *walker) string() ([]byte, bool) {
	if w.space(); !w.take('"') {
		return nil, false
	}
	for start := w.i - 1; w.i < len(w.raw); w.i++ {
		switch w.raw[w.i] {
		case '\\':
			w.i++
		case '"':
			w.i++
			return w.raw[start:w.i], true
		}
	}
	return nil, false
}

// value appends the value fields of a DebugAnnotation.
func (w *walker) value(b []byte, depth int) ([]byte, bool) {
	w.space()
	if w.i == len(w.raw) {
		return b, false
	}
	switch c := w.raw[w.i]; {
	case c == '"':
		raw, ok := w.string()
		if !ok {
			return b, false
		}
		w.text, _ = jsontext.AppendUnquote(w.text[:0], raw)
		return appendValidText(b, fieldAnnotationString, w.text), true
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return w.deep(b)
		}
		return w.nested(b, c, depth)
	case c == 't':
		return appendVarint(b, fieldAnnotationBool, 1), w.word("true")
	case c == 'f':
		return appendVarint(b, fieldAnnotationBool, 0), w.word("false")
	case c == 'n':
		return appendText(b, fieldAnnotationString, "null"), w.word("null")
	}
	return w.number(b)
}

func (w *walker) word(s string) bool {
	if !bytes.HasPrefix(w.raw[w.i:], []byte(s)) {
		return false
	}
	w.i += len(s)
	return true
}

func (w *walker) nested(b []byte, open byte, depth int) ([]byte, bool) {
	w.i++
	field, end := protowire.Number(fieldAnnotationArray), byte(']')
	if open == '{' {
		field, end = fieldAnnotationDict, '}'
	}
	if w.take(end) {
		return b, true
	}
	for {
		member := w.levels[depth][:0]
		ok := true
		if open == '{' {
			var key []byte
			if key, ok = w.string(); !ok || !w.take(':') {
				return b, false
			}
			w.text, _ = jsontext.AppendUnquote(w.text[:0], key)
			member = appendValidText(member, fieldAnnotationName, w.text)
		}
		member, ok = w.value(member, depth+1)
		if w.levels[depth] = member; !ok {
			return b, false
		}
		b = appendMessage(b, field, member)
		if w.take(end) {
			return b, true
		}
		if !w.take(',') {
			return b, false
		}
	}
}

// deep appends an array or object as its raw text.
func (w *walker) deep(b []byte) ([]byte, bool) {
	start, open := w.i, 0
	for w.i < len(w.raw) {
		switch w.raw[w.i] {
		case '"':
			if _, ok := w.string(); !ok {
				return b, false
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			open--
		}
		if w.i++; open == 0 {
			return appendValidText(b, fieldAnnotationString, w.raw[start:w.i]), true
		}
	}
	return b, false
}

// number keeps integers exact; ids and addresses pass 2^53.
func (w *walker) number(b []byte) ([]byte, bool) {
	start := w.i
	for w.i < len(w.raw) && isNumber(w.raw[w.i]) {
		w.i++
	}
	raw := w.raw[start:w.i]
	if len(raw) == 0 {
		return b, false
	}
	if v, negative, ok := integer(raw); ok {
		switch {
		case negative:
			return appendVarint(b, fieldAnnotationInt, -v), true
		case v > 1<<63-1:
			return appendVarint(b, fieldAnnotationUint, v), true
		}
		return appendVarint(b, fieldAnnotationInt, v), true
	}
	if f, err := strconv.ParseFloat(string(raw), 64); err == nil {
		return appendDouble(b, fieldAnnotationDouble, f), true
	}
	return appendValidText(b, fieldAnnotationString, raw), true
}

func isNumber(c byte) bool {
	return c-'0' <= 9 || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// integer parses what fits uint64, or int64 if it is negative.
func integer(raw []byte) (v uint64, negative, ok bool) {
	if raw[0] == '-' {
		negative, raw = true, raw[1:]
	}
	if len(raw) == 0 || len(raw) > 20 {
		return 0, false, false
	}
	for _, c := range raw {
		d := uint64(c - '0')
		if d > 9 || v > (1<<64-1-d)/10 {
			return 0, false, false
		}
		v = v*10 + d
	}
	return v, negative, !negative || v <= 1<<63
}

// appendValidText appends s as a text field; bytes that are not UTF-8 are replaced.
func appendValidText(b []byte, field protowire.Number, s []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	if !utf8.Valid(s) {
		s = bytes.ToValidUTF8(s, []byte("\uFFFD"))
	}
	return protowire.AppendBytes(b, s)
}
