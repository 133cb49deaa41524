package kineto

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/kinetoscope/kinetoscope/trace"
)

// status is how the scan of a piece of text ended.
type status uint8

const (
	stOK   status = iota
	stMore        // the text ends before the thing does
	stBad         // the thing is not what the format says
	stEnd         // the array of events ends here
	stCut         // no event begins any more, though the array is open
	stDoc         // another trace begins here, though the array is open
)

// pad is the number of zero bytes that follow every scanned text, so that eight bytes
// can be loaded anywhere and every loop over digits or space ends by itself.
const pad = 16

// lane is the pid or tid of an event: a number, or the id of a text.
type lane struct {
	n    int64
	text bool
}

// event is what the scan reads of one event.
type event struct {
	name, cat        uint32 // texts
	pid, tid         lane
	ts, dur          int64 // ns
	id               uint64
	args             uint64 // see argsShift
	hot              hotValues
	argsFrom, argsTo int  // raw args in the scanned text
	ph               byte // 0 if absent or longer than one byte
	hasTS, hasDur    bool
	badDur           bool
	textTime, textID bool
	badArgs          bool
}

// scanner turns text into results. Each worker owns one; what it has learned (texts,
// templates, lanes, categories) stays from piece to piece and is shared with the
// merger by handing over the tables' present length.
type scanner struct {
	texts    texts
	tmpl     templates
	lanes    laneTable
	cats     []catInfo
	res      *result
	ev       event
	hole     [maxHotHole]uint64
	packedAt uint64 // of the object packed last
	mend     mender
	layouts  layouts
	// textAfter guesses a name from the name before it, by its id.
	textAfter [1 << 12]uint32
	lastText  uint32
	opt       *Options
	worker    int
	marks     marks
}

// catInfo is a category as one scanner numbers it.
type catInfo struct {
	text   uint32
	known  bool
	cat    trace.Category
	device bool
}

// nothing stands in an array of events where a writer had none for it.
var nothing = []byte("null")

// hole is what a file has where a disk was full, a machine lost its power or another writer reached further: an event
// with so many zero bytes lacks text, and what stands on both sides of them may be of two.
var hole = make([]byte, 16)

// events scans events from b[i] on, which must lie between two events of the array, into s.res. b
// holds end bytes of text, then pad zeros. eof says that no text follows. It returns where it
// stopped and why: stMore at an event that is not complete, stEnd at the bracket that closes the
// array, stOK at the end of the text.
func (s *scanner) events(b []byte, i, end int, eof bool) (int, status) {
	holes := bytes.Contains(b[i:end], hole)
	for {
		for b[i] == ',' || b[i] <= ' ' && b[i] != 0 {
			i++
		}
		if i >= end {
			return end, stOK
		}
		switch b[i] {
		case '{':
			next, st := s.event(b, i, end)
			if st == stMore {
				next = end
				if !eof && end-i <= s.opt.MaxEvent {
					return i, stMore
				}
			}
			if st == stDoc {
				return i, stDoc
			}
			if st == stOK && next-i <= s.opt.MaxEvent && !(holes && bytes.Contains(b[i:next], hole)) {
				s.commit(b)
			} else if next, st = s.broken(b, i, end, eof, next-i > s.opt.MaxEvent); st != stOK {
				return next, st
			}
			i = next
		case ']':
			return i, stEnd
		default:
			if bytes.HasPrefix(b[i:end], nothing) || !eof && bytes.HasPrefix(nothing, b[i:end]) {
				if end-i < len(nothing) {
					return i, stMore
				}
				s.res.events++
				i += len(nothing)
				continue
			}
			next, st := s.resync(b, i, end, eof)
			if st != stOK {
				return next, st
			}
			s.res.repairs.add(trace.RepairSyntax)
			s.res.skipped += int64(next - i)
			i = next
		}
	}
}

// slowly reads the object at b[i] into s.ev, key by key, and notes in s.layouts.trail
// where its values are. next is after the object, or where the scan stopped.
func (s *scanner) slowly(b []byte, i, end int) (next int, st status) {
	s.ev = event{}
	s.layouts.used = 0
	mark := len(s.res.vals)
	i++
	for {
		for b[i] <= ' ' && b[i] != 0 {
			i++
		}
		if b[i] != '"' {
			s.res.vals = s.res.vals[:mark]
			return i, stopped(i, end)
		}
		i++
		w := binary.LittleEndian.Uint64(b[i:])
		k, n := keyOf(w)
		if k == keyOther {
			q := quoteEnd(b, i, end)
			if q < 0 {
				s.res.vals = s.res.vals[:mark]
				return end, stMore
			}
			n = q - i + 1
			if n == len(eventsKey)-1 && string(b[i-1:q+1]) == string(eventsKey) {
				s.res.vals = s.res.vals[:mark]
				return i, stDoc
			}
		}
		i += n
		for b[i] <= ' ' && b[i] != 0 {
			i++
		}
		if b[i] != ':' {
			s.res.vals = s.res.vals[:mark]
			return i, stopped(i, end)
		}
		i++
		for b[i] <= ' ' && b[i] != 0 {
			i++
		}
		from := i
		i, st = s.field(k, b, i, end)
		if st != stOK {
			s.res.vals = s.res.vals[:mark]
			return i, st
		}
		s.layouts.note(fieldAt{k, from, i})
		for b[i] <= ' ' && b[i] != 0 {
			i++
		}
		if b[i] == ',' {
			i++
			continue
		}
		if b[i] == '}' {
			return i + 1, stOK
		}
		s.res.vals = s.res.vals[:mark]
		return i, stopped(i, end)
	}
}

// stopped returns stMore if the text ends at i, else stBad.
func stopped(i, end int) status {
	if i >= end {
		return stMore
	}
	return stBad
}

type eventKey uint8

const (
	keyOther eventKey = iota
	keyPh
	keyCat
	keyName
	keyPid
	keyTid
	keyTs
	keyDur
	keyID
	keyArgs
)

// The keys with their closing quote, as the first bytes of a little-endian word.
const (
	wordPh   = 'p' | 'h'<<8 | '"'<<16
	wordTs   = 't' | 's'<<8 | '"'<<16
	wordID   = 'i' | 'd'<<8 | '"'<<16
	wordCat  = 'c' | 'a'<<8 | 't'<<16 | '"'<<24
	wordPid  = 'p' | 'i'<<8 | 'd'<<16 | '"'<<24
	wordTid  = 't' | 'i'<<8 | 'd'<<16 | '"'<<24
	wordDur  = 'd' | 'u'<<8 | 'r'<<16 | '"'<<24
	wordName = 'n' | 'a'<<8 | 'm'<<16 | 'e'<<24 | '"'<<32
	wordArgs = 'a' | 'r'<<8 | 'g'<<16 | 's'<<24 | '"'<<32
	mask3    = 1<<24 - 1
	mask4    = 1<<32 - 1
	mask5    = 1<<40 - 1
)

// keyOf returns the key whose inside begins with the bytes of w, and its length with
// the closing quote.
func keyOf(w uint64) (eventKey, int) {
	switch byte(w) {
	case 'p':
		if w&mask3 == wordPh {
			return keyPh, 3
		}
		if w&mask4 == wordPid {
			return keyPid, 4
		}
	case 't':
		if w&mask3 == wordTs {
			return keyTs, 3
		}
		if w&mask4 == wordTid {
			return keyTid, 4
		}
	case 'c':
		if w&mask4 == wordCat {
			return keyCat, 4
		}
	case 'n':
		if w&mask5 == wordName {
			return keyName, 5
		}
	case 'd':
		if w&mask4 == wordDur {
			return keyDur, 4
		}
	case 'a':
		if w&mask5 == wordArgs {
			return keyArgs, 5
		}
	case 'i':
		if w&mask3 == wordID {
			return keyID, 3
		}
	}
	return keyOther, 0
}

// field reads the value of key k at b[i].
func (s *scanner) field(k eventKey, b []byte, i, end int) (next int, st status) {
	e := &s.ev
	if b[i] == '{' && k != keyArgs && k != keyOther {
		return i, stBad // no such value: perhaps another trace begins here
	}
	switch k {
	case keyPh:
		if b[i] == '"' && b[i+2] == '"' {
			e.ph = b[i+1]
			return i + 3, stOK
		}
		return skipValue(b, i, end)
	case keyCat:
		if b[i] != '"' {
			return skipValue(b, i, end)
		}
		e.cat, next, st = s.text(b, i+1, end)
		return next, st
	case keyName:
		if b[i] != '"' {
			return s.plainText(&e.name, b, i, end)
		}
		e.name, next, st = s.text(b, i+1, end)
		return next, st
	case keyPid:
		return s.lane(&e.pid, b, i, end)
	case keyTid:
		return s.lane(&e.tid, b, i, end)
	case keyTs:
		if ns, j, ok := micros(b, i); ok {
			e.ts, e.hasTS = ns, true
			return j, stOK
		}
		e.ts, e.hasTS, next, st = s.time(b, i, end)
		return next, st
	case keyDur:
		if ns, j, ok := micros(b, i); ok {
			e.dur, e.hasDur = ns, true
			return j, stOK
		}
		var ok bool
		e.dur, ok, next, st = s.time(b, i, end)
		if !ok && b[i]-'0' <= 9 { // a number beyond the range of int64 ns
			e.dur, ok = math.MaxInt64, true
		}
		e.hasDur, e.badDur = true, !ok
		return next, st
	case keyID:
		return s.flowID(b, i, end)
	case keyArgs:
		return s.argsField(b, i, end)
	}
	return skipValue(b, i, end)
}

// text interns the text whose inside begins at b[i]. A text that must be mended is bad.
func (s *scanner) text(b []byte, i, end int) (id uint32, next int, st status) {
	q := quoteEnd(b, i, end)
	if q < 0 {
		return 0, end, stMore
	}
	id = s.texts.id(b[i:q])
	if s.texts.list[id].flags&textBad != 0 {
		return id, q, stBad
	}
	return id, q + 1, stOK
}

// plainText interns a value that should be a text and is not, as it stands.
func (s *scanner) plainText(id *uint32, b []byte, i, end int) (next int, st status) {
	next, st = skipValue(b, i, end)
	if st == stOK && b[i] != '{' && b[i] != '[' {
		*id = s.texts.id(b[i:next])
	}
	return next, st
}

// lane reads a pid or tid: an integer, or a text that may be one.
func (s *scanner) lane(l *lane, b []byte, i, end int) (next int, st status) {
	if n, j, ok := integer(b, i); ok {
		*l = lane{n: n}
		return j, stOK
	}
	if b[i] == '"' {
		id, next, st := s.text(b, i+1, end)
		if st != stOK {
			return next, st
		}
		if n, ok := parseInt(b[i+1 : next-1]); ok {
			*l, s.ev.textID = lane{n: n}, true
		} else {
			*l = lane{n: int64(id), text: true}
		}
		return next, stOK
	}
	next, st = skipValue(b, i, end)
	if st != stOK {
		return next, st
	}
	if n, ok := parseInt(b[i:next]); ok {
		*l = lane{n: n}
	} else {
		*l = lane{n: int64(s.texts.id(b[i:next])), text: true}
	}
	return next, stOK
}

// integer reads a plain integer at b[i] that is followed by no fraction or exponent.
func integer(b []byte, i int) (n int64, next int, ok bool) {
	neg := b[i] == '-'
	if neg {
		i++
	}
	v, j, d := whole(b, i)
	if d == 0 || d > 18 || b[j] == '.' || b[j]|0x20 == 'e' {
		return 0, i, false
	}
	if neg {
		return -int64(v), j, true
	}
	return int64(v), j, true
}

// time reads a ts or dur that is not a plain number: a text, an exponent, NaN.
func (s *scanner) time(b []byte, i, end int) (ns int64, ok bool, next int, st status) {
	next, st = skipValue(b, i, end)
	if st != stOK {
		return 0, false, next, st
	}
	v := b[i:next]
	if v[0] == '"' {
		s.ev.textTime = true
		v = v[1 : len(v)-1]
	}
	ns, ok = microsText(v)
	return ns, ok, next, stOK
}

// flowID reads an id: a number kept in full, or a text, of which decimal and
// hexadecimal numbers keep their value and others are hashed.
func (s *scanner) flowID(b []byte, i, end int) (next int, st status) {
	if n, j, ok := integer(b, i); ok {
		s.ev.id = uint64(n)
		return j, stOK
	}
	next, st = skipValue(b, i, end)
	if st != stOK {
		return next, st
	}
	v := b[i:next]
	if v[0] == '"' {
		v = v[1 : len(v)-1]
	}
	n, isNum := idNumber(v)
	s.ev.id, s.ev.textID = n, s.ev.textID || isNum && b[i] == '"'
	return next, stOK
}

// argsField reads the value of args.
func (s *scanner) argsField(b []byte, i, end int) (next int, st status) {
	e := &s.ev
	if b[i] != '{' {
		next, st = skipValue(b, i, end)
		e.badArgs = st == stOK && string(b[i:next]) != "null"
		return next, st
	}
	e.argsFrom = i
	if e.ph == 'M' || e.ph == 'C' {
		next, st = s.checkedValue(b, i, end)
	} else {
		e.args, next, st = s.args(b, i, end)
	}
	e.argsTo = next
	return next, st
}
