package kineto

import (
	"encoding/binary"
	"slices"
)

// A writer prints the events of one kind alike: the same keys in the same order with the
// same white space, phase and category. layout is that print with its other values left
// out. An event that fits a layout is read value by value, without looking at keys; one
// that does not is read from its beginning by scanner.slowly, which says what it means.
type layout struct {
	fields []layoutField
	tail   string // from the last value to the closing brace
	cat    uint32 // text
	ph     byte
}

// layoutField is a value of a layout.
type layoutField struct {
	lit  string // from the end of the value before it
	key  eventKey
	memo laneMemo // of a pid or tid
}

const (
	// maxLayoutFields bounds the fields of an event that a layout is made of; Kineto has nine.
	maxLayoutFields = 12
	// maxLayouts bounds the layouts that one scanner learns: a writer has one a phase and
	// category, and a file that has more varies where a layout does not.
	maxLayouts = 64
	// maxLayoutBytes bounds an event without its arguments that a layout is made of.
	maxLayoutBytes = 1 << 10
	// layoutTries is how many layouts are tried for one event; Kineto's files have some ten.
	layoutTries = 16
	// layoutPatience is the number of events in a row that fit no layout after which
	// only one in layoutAgain is tried.
	layoutPatience, layoutAgain = 64, 32
)

// layouts are what one scanner has learned of the events' print.
type layouts struct {
	list   []layout
	recent [layoutTries]uint8 // numbers of layouts +1, the likeliest first
	after  [maxLayouts + 1]uint8
	last   uint8 // number +1 of the event before
	missed int   // events in a row

	trail [maxLayoutFields]fieldAt // filled by slowly while it reads an event
	used  int
}

// fieldAt is where an event has the value of a key.
type fieldAt struct {
	key      eventKey
	from, to int
}

// note appends to the trail; of an event with too many fields only their number counts.
func (l *layouts) note(f fieldAt) {
	if l.used < maxLayoutFields {
		l.trail[l.used] = f
	}
	l.used++
}

// event reads the object at b[i] into s.ev. next is after the object, or where the
// scan stopped.
func (s *scanner) event(b []byte, i, end int) (next int, st status) {
	l := &s.layouts
	if l.missed >= layoutPatience && l.missed%layoutAgain != 0 {
		l.missed++
		return s.slowly(b, i, end)
	}
	want := l.after[l.last]
	if want != 0 {
		if next, ok := s.fits(&l.list[want-1], b, i, end); ok {
			l.last, l.missed = want, 0
			return next, stOK
		}
	}
	for k, id := range l.recent {
		if id == 0 {
			break
		}
		if id == want {
			continue
		}
		if next, ok := s.fits(&l.list[id-1], b, i, end); ok {
			if k > 0 {
				l.recent[k], l.recent[k-1] = l.recent[k-1], id
			}
			l.after[l.last], l.last, l.missed = id, id, 0
			return next, stOK
		}
	}
	l.missed++
	next, st = s.slowly(b, i, end)
	if st == stOK {
		s.learn(b, i, next)
	}
	return next, st
}

// fits reads the event at b[i] if it is printed as l says. If not, s.ev means nothing.
func (s *scanner) fits(l *layout, b []byte, i, end int) (next int, ok bool) {
	if lit := l.fields[0].lit; i+len(lit) > end || string(b[i:i+len(lit)]) != lit {
		return i, false
	}
	mark := len(s.res.vals)
	s.ev = event{ph: l.ph, cat: l.cat}
	e := &s.ev
	for k := range l.fields {
		f := &l.fields[k]
		j := i + len(f.lit)
		if k > 0 && (j > end || string(b[i:j]) != f.lit) {
			s.res.vals = s.res.vals[:mark]
			return i, false
		}
		var st status
		switch f.key {
		case keyName:
			i, st = s.likelyText(&e.name, b, j, end)
		case keyPid:
			i, st = s.likelyLane(&e.pid, &f.memo, b, j, end)
		case keyTid:
			i, st = s.likelyLane(&e.tid, &f.memo, b, j, end)
		default:
			i, st = s.field(f.key, b, j, end)
		}
		if st != stOK {
			s.res.vals = s.res.vals[:mark]
			return i, false
		}
	}
	j := i + len(l.tail)
	if j > end || string(b[i:j]) != l.tail {
		s.res.vals = s.res.vals[:mark]
		return i, false
	}
	return j, true
}

// learn keeps the layout of the event from i to next, which slowly has read.
func (s *scanner) learn(b []byte, i, next int) {
	l := &s.layouts
	if l.used > maxLayoutFields {
		return
	}
	n := layout{cat: s.ev.cat, ph: s.ev.ph}
	from, args, size := i, false, 0
	for _, f := range l.trail[:l.used] {
		switch f.key {
		case keyPh, keyCat:
			if args {
				return // how arguments are read depends on the phase, which must stand before them
			}
			continue // their text is part of what stands between the values
		case keyOther:
			continue
		case keyArgs:
			args = true
		}
		n.fields = append(n.fields, layoutField{lit: string(b[from:f.from]), key: f.key})
		size += f.from - from
		from = f.to
	}
	if len(n.fields) == 0 || size+next-from > maxLayoutBytes {
		return
	}
	n.tail = string(b[from:next])
	id := l.number(n)
	if id == 0 {
		return
	}
	copy(l.recent[1:], l.recent[:layoutTries-1])
	l.recent[0] = id
	l.after[l.last], l.last = id, id
}

// number returns n's number +1 in the list, to which it is added if it is not there; 0 if there is no room.
func (l *layouts) number(n layout) uint8 {
	for k := range l.list {
		if l.list[k].same(&n) {
			return uint8(k + 1)
		}
	}
	if len(l.list) == maxLayouts {
		return 0
	}
	l.list = append(l.list, n)
	return uint8(len(l.list))
}

// same reports whether l and m are one print.
func (l *layout) same(m *layout) bool {
	return l.ph == m.ph && l.cat == m.cat && l.tail == m.tail &&
		slices.EqualFunc(l.fields, m.fields, func(a, b layoutField) bool { return a.key == b.key && a.lit == b.lit })
}

// likelyText reads a text that is probably the one that followed the last text before.
func (s *scanner) likelyText(id *uint32, b []byte, i, end int) (next int, st status) {
	slot := &s.textAfter[s.lastText%uint32(len(s.textAfter))]
	if b[i] == '"' && *slot != 0 {
		raw := s.texts.list[*slot].raw
		if q := i + 1 + len(raw); q < end && b[q] == '"' && string(b[i+1:q]) == raw {
			*id, s.lastText = *slot, *slot
			return q + 1, stOK
		}
	}
	next, st = s.field(keyName, b, i, end)
	if st == stOK && b[i] == '"' {
		*slot, s.lastText = *id, *id
	}
	return next, st
}

// laneMemo is the last pid or tid of a layout: its digits and what follows them, as the first bytes
// of a little-endian word, or else its text.
type laneMemo struct {
	word, mask uint64 // mask 0: nothing is remembered
	n          int64
	len        int
	text       string // "" if the last one was none
	lane       lane   // of text
}

// likelyLane reads a pid or tid that is probably the same as in the event before.
func (s *scanner) likelyLane(l *lane, memo *laneMemo, b []byte, i, end int) (next int, st status) {
	w := binary.LittleEndian.Uint64(b[i:])
	if memo.mask != 0 && (w^memo.word)&memo.mask == 0 {
		*l = lane{n: memo.n}
		return i + memo.len, stOK
	}
	if n := len(memo.text); n > 0 && b[i] == '"' {
		if q := i + 1 + n; q < end && b[q] == '"' && string(b[i+1:q]) == memo.text {
			*l = memo.lane
			s.ev.textID = s.ev.textID || !l.text // the text is a number
			return q + 1, stOK
		}
	}
	next, st = s.lane(l, b, i, end)
	if st == stOK && b[i] == '"' {
		id := s.texts.id(b[i+1 : next-1])
		memo.text, memo.lane = s.texts.list[id].raw, *l
	}
	if n := next - i; st == stOK && b[i]-'0' <= 9 && n < 8 && !l.text {
		mask := uint64(1)<<(8*(n+1)) - 1
		if n == 7 {
			mask = ^uint64(0)
		}
		*memo = laneMemo{word: w & mask, mask: mask, n: l.n, len: n}
	}
	return next, st
}
