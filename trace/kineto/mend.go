package kineto

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
)

// maxMend bounds the text of one event that is taken apart with repairs. Broken text
// can look like one endless string; a real event is far smaller.
const maxMend = 1 << 20

// maxDepth bounds the nesting of values in an event.
const maxDepth = 200

// mender rewrites an almost-JSON object as JSON.
type mender struct {
	b    []byte
	i    int
	eof  bool
	out  []byte
	done [mendKinds]bool
}

// What a mender may have mended.
const (
	mendEscape = iota
	mendControl
	mendUTF8
	mendQuote
	mendNonFinite
	mendValue
	mendKinds
)

var mendNames = [mendKinds]string{
	trace.RepairEscape, trace.RepairControl, trace.RepairUTF8, trace.RepairQuote, trace.RepairNonFinite,
	trace.RepairValue,
}

// object rewrites the object at the beginning of b. clean is valid until the next
// call; used is the length of the object in b. stMore tells that b ends too early.
func (m *mender) object(b []byte, eof bool) (clean []byte, used int, st status) {
	if len(b) > maxMend {
		b, eof = b[:maxMend], true
	}
	*m = mender{b: b, eof: eof, out: m.out[:0]}
	if len(b) == 0 || b[0] != '{' {
		return nil, 0, stBad
	}
	st = m.value(0, false)
	return m.out, m.i, st
}

func (m *mender) count(c *counts) {
	for k, done := range m.done {
		if done {
			c.add(mendNames[k])
		}
	}
}

func (m *mender) space() {
	for m.i < len(m.b) && m.b[m.i] <= ' ' {
		m.i++
	}
}

// short is the status of running into the end of the text.
func (m *mender) short() status {
	if m.eof {
		return stBad
	}
	return stMore
}

func (m *mender) value(depth int, inArray bool) status {
	m.space()
	if m.i >= len(m.b) {
		return m.short()
	}
	if depth > maxDepth {
		return stBad
	}
	switch m.b[m.i] {
	case '{':
		if depth > 0 {
			if st := m.nextBegins(); st != stOK {
				return st
			}
		}
		return m.members(depth)
	case '[':
		return m.elements(depth)
	case '"':
		return m.text(false, inArray)
	}
	return m.scalar()
}

func (m *mender) members(depth int) status {
	m.out = append(m.out, '{')
	m.i++
	for first := true; ; first = false {
		for m.i < len(m.b) && (m.b[m.i] <= ' ' || m.b[m.i] == ',') {
			m.i++
		}
		if m.i >= len(m.b) {
			return m.short()
		}
		if m.b[m.i] == '}' {
			m.i++
			m.out = append(m.out, '}')
			return stOK
		}
		if m.b[m.i] != '"' {
			return stBad
		}
		if !first {
			m.out = append(m.out, ',')
		}
		if st := m.text(true, false); st != stOK {
			return st
		}
		m.space()
		if m.i >= len(m.b) {
			return m.short()
		}
		if m.b[m.i] != ':' {
			return stBad
		}
		m.i++
		m.out = append(m.out, ':')
		if st := m.value(depth+1, false); st != stOK {
			return st
		}
	}
}

func (m *mender) elements(depth int) status {
	m.out = append(m.out, '[')
	m.i++
	for first := true; ; first = false {
		for m.i < len(m.b) && (m.b[m.i] <= ' ' || m.b[m.i] == ',') {
			m.i++
		}
		if m.i >= len(m.b) {
			return m.short()
		}
		switch m.b[m.i] {
		case ']':
			m.i++
			m.out = append(m.out, ']')
			return stOK
		case '}', ':':
			return stBad
		}
		if !first {
			m.out = append(m.out, ',')
		}
		if st := m.value(depth+1, true); st != stOK {
			return st
		}
	}
}

// text rewrites a string. A quote that nothing fitting follows belongs to the text.
func (m *mender) text(isKey, inArray bool) status {
	m.out = append(m.out, '"')
	m.i++
	for m.i < len(m.b) {
		switch c := m.b[m.i]; {
		case c == '{':
			if st := m.nextBegins(); st != stOK {
				return st
			}
			m.out = append(m.out, c)
			m.i++
		case c == '"':
			ends, st := m.ends(isKey, inArray)
			if st != stOK {
				return st
			}
			m.i++
			if ends {
				m.out = append(m.out, '"')
				return stOK
			}
			m.out = append(m.out, '\\', '"')
			m.done[mendQuote] = true
		case c == '\\':
			n := escapeLen(m.b[m.i:])
			if n == 0 {
				if len(m.b)-m.i < 6 && !m.eof {
					return stMore
				}
				m.out = append(m.out, '\\', '\\')
				m.done[mendEscape] = true
				m.i++
				continue
			}
			m.out = append(m.out, m.b[m.i:m.i+n]...)
			m.i += n
		case c < ' ':
			m.control(c)
		case c < utf8.RuneSelf:
			m.out = append(m.out, c)
			m.i++
		default:
			r, n := utf8.DecodeRune(m.b[m.i:])
			if r == utf8.RuneError && n == 1 {
				if !m.eof && len(m.b)-m.i < utf8.UTFMax {
					return stMore
				}
				m.done[mendUTF8] = true
			}
			m.out = utf8.AppendRune(m.out, r)
			m.i += n
		}
	}
	return m.short()
}

func (m *mender) control(c byte) {
	const hex = "0123456789abcdef"
	m.out = append(m.out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	m.done[mendControl] = true
	m.i++
}

// ends reports whether the quote at m.i ends its string, by what follows it.
func (m *mender) ends(isKey, inArray bool) (bool, status) {
	j := m.i + 1
	next := func() (byte, status) {
		for j < len(m.b) && m.b[j] <= ' ' {
			j++
		}
		if j >= len(m.b) {
			if m.eof {
				return 0, stOK
			}
			return 0, stMore
		}
		return m.b[j], stOK
	}
	c, st := next()
	if st != stOK {
		return false, st
	}
	if isKey {
		return c == ':', stOK
	}
	switch c {
	case '}':
		return !inArray, stOK
	case ']':
		return inArray, stOK
	case 0:
		return true, stOK
	case '"': // a comma may be missing before the next key
		q := bytes.IndexByte(m.b[j+1:], '"')
		if q < 0 {
			return false, m.short()
		}
		j += q + 2
		c, st = next()
		return c == ':' && !inArray, st
	case ',':
		if inArray {
			return true, stOK
		}
		j++
		c, st = next()
		return c == '"' || c == '}' || c == 0, st
	}
	return false, stOK
}

// scalar rewrites a number or word; what is neither becomes a text.
func (m *mender) scalar() status {
	from := m.i
	for m.i < len(m.b) {
		c := m.b[m.i]
		if c <= ' ' || c == ',' || c == '}' || c == ']' || c == '"' || c == '{' || c == '[' {
			break
		}
		m.i++
	}
	if m.i >= len(m.b) {
		return m.short()
	}
	word := m.b[from:m.i]
	switch {
	case len(word) == 0:
		if c := m.b[m.i]; c != ',' && c != '}' && c != ']' {
			return stBad
		}
		m.out = append(m.out, "null"...)
		m.done[mendValue] = true
	case json.Valid(word):
		m.out = append(m.out, word...)
	default:
		if nonFinite(word) {
			m.done[mendNonFinite] = true
		} else {
			m.done[mendValue] = true
		}
		m.out = append(m.out, '"')
		for _, c := range word {
			if c < utf8.RuneSelf && c != '\\' {
				m.out = append(m.out, c)
			} else {
				m.out = append(m.out, "\uFFFD"...)
			}
		}
		m.out = append(m.out, '"')
	}
	return stOK
}

func nonFinite(word []byte) bool {
	if word[0] == '-' || word[0] == '+' {
		word = word[1:]
	}
	switch string(word) {
	case "NaN", "nan", "Infinity", "infinity", "inf", "Inf", "INF", "NAN":
		return true
	}
	return false
}

// broken deals with what should be an event at b[i] and is none: mends it, or goes on
// at the next event.
func (s *scanner) broken(b []byte, i, end int, eof, tooLarge bool) (next int, st status) {
	if !tooLarge {
		clean, used, st := s.mend.object(b[i:end], eof)
		if st == stMore {
			return i, stMore
		}
		if st == stOK && bytes.Contains(b[i:i+used], hole) {
			st = stBad
		}
		if st == stOK && len(clean) == 2 { // writers end the array with {} to save themselves a comma
			s.res.events++
			return i + used, stOK
		}
		if st == stOK {
			n := len(clean)
			clean = append(clean, make([]byte, pad)...)
			s.mend.out = clean
			switch _, st := s.event(clean, 0, n); st {
			case stOK:
				s.mend.count(&s.res.repairs)
				s.commit(clean)
				return i + used, stOK
			case stDoc:
				return i, stDoc
			}
		}
	}
	next, st = s.resync(b, i+1, end, eof)
	switch {
	case st == stMore:
		return i, stMore
	case st == stCut:
		return i, stCut
	case st == stDoc:
		s.res.repairs.add(trace.RepairSyntax)
		s.res.skipped += int64(next - i)
		return next, stDoc
	case tooLarge:
		s.res.repairs.add(trace.RepairOversize)
	default:
		s.res.repairs.add(trace.RepairSyntax)
	}
	s.res.skipped += int64(next - i)
	return next, stOK
}

// maxStart is how far after its brace an event's first key must have shown.
const maxStart = 64

// resync finds the next event at or after b[i], or the next trace: stDoc.
func (s *scanner) resync(b []byte, i, end int, eof bool) (next int, st status) {
	for k := i; k < end; k++ {
		if b[k] != '{' {
			continue
		}
		switch eventStart(b, k, end) {
		case stOK:
			return k, stOK
		case stMore:
			if !eof {
				return i, stMore
			}
		case stDoc:
			return k, stDoc
		}
	}
	if !eof {
		return i, stMore
	}
	return i, stCut
}

// eventStart reports whether the brace at b[k] opens an event: it is no value of a
// member, and its first key is one that events have. stDoc says that its first key is
// one that traces have.
func eventStart(b []byte, k, end int) status {
	value := false
	for p := k - 1; p >= 0; p-- {
		if b[p] > ' ' {
			value = b[p] == ':' || b[p] == '"'
			break
		}
	}
	j := k + 1
	limit := k + maxStart
	for j < end && j < limit && b[j] <= ' ' {
		j++
	}
	if j >= end {
		return stMore
	}
	if b[j] != '"' {
		return stBad
	}
	q := j + 1
	for q < end && q < limit && b[q] != '"' {
		q++
	}
	if q >= end {
		return stMore
	}
	found := stOK
	if value {
		found = stBad // unless a file was cut before the brace and another one begins
	}
	switch string(b[j+1 : q]) {
	case "traceEvents", "schemaVersion", "deviceProperties", "computeProperties", "distributedInfo",
		"baseTimeNanoseconds", "displayTimeUnit":
		found = stDoc
	case "ph", "name", "cat", "pid", "tid", "ts", "dur", "id", "args", "s", "bp", "tts":
	default:
		return stBad
	}
	for q++; q < end && b[q] <= ' '; q++ {
	}
	if q >= end {
		return stMore
	}
	if b[q] != ':' {
		return stBad
	}
	return found
}

// nextBegins reports whether another trace begins at m.i, which two writers of one file
// leave in the middle of a value.
func (m *mender) nextBegins() status {
	switch st := eventStart(m.b, m.i, len(m.b)); {
	case st == stDoc:
		return stBad
	case st == stMore && !m.eof:
		return stMore
	}
	return stOK
}
