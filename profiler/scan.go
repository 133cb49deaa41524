package profiler

import (
	"encoding/binary"
	"math"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// layout says how a record is built after its tag, for all that the collector must know:
// a delta, a name, a number of varints, fixed bytes, and then what special says.
type layout struct {
	known, timed, name bool
	varints, fixed     uint8
	special            special
}

type special uint8

const (
	plain special = iota
	begins
	ends
	unwinds
	takesArgs // an instant or async event: arguments go to it
	strValue
	textValue
	shapeValue
	stackValue
	targetValue
)

// layouts is the record table of package format, by tag.
var layouts = func() (t [256]layout) {
	one := func(ty format.Type, l layout) {
		l.known = true
		t[ty] = l
	}
	sixteen := func(ty format.Type, l layout) {
		for i := range format.Type(16) {
			one(ty+i, l)
		}
	}
	one(format.TypeEnd, layout{timed: true, special: ends})
	one(format.TypeUnwind, layout{timed: true, special: unwinds})
	one(format.TypeCounter, layout{timed: true, name: true, varints: 1})
	one(format.TypeCounterF, layout{timed: true, name: true, fixed: 8})
	one(format.TypeAlloc, layout{timed: true, name: true, varints: 2})
	one(format.TypeFree, layout{timed: true, name: true, varints: 2})
	one(format.TypeAsyncEnd, layout{timed: true, name: true, fixed: 8, special: takesArgs})
	one(format.TypeInt, layout{name: true, varints: 1})
	one(format.TypeStr, layout{name: true, special: strValue})
	one(format.TypeText, layout{name: true, special: textValue})
	one(format.TypeFloat, layout{name: true, fixed: 8})
	one(format.TypeFLOPs, layout{varints: 1})
	one(format.TypeBytes, layout{varints: 1})
	one(format.TypeFlowOut, layout{fixed: 8})
	one(format.TypeFlowIn, layout{fixed: 8})
	one(format.TypeStack, layout{special: stackValue})
	one(format.TypeTarget, layout{special: targetValue})
	sixteen(format.TypeBegin, layout{timed: true, name: true, special: begins})
	sixteen(format.TypeInstant, layout{timed: true, name: true, special: takesArgs})
	sixteen(format.TypeShape, layout{special: shapeValue})
	sixteen(format.TypeAsyncBegin, layout{timed: true, name: true, fixed: 8, special: takesArgs})
	return t
}()

// beyond is an index that no data reaches: what a varint that does not decode leads to.
const beyond = math.MaxInt32

// varint reads the varint at b[i] and returns the index after it.
func varint(b []byte, i int) (uint64, int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return longVarint(b, i)
}

func longVarint(b []byte, i int) (uint64, int) {
	if i+1 < len(b) && b[i+1] < 0x80 {
		return uint64(b[i]&0x7f) | uint64(b[i+1])<<7, i + 2
	}
	if i >= len(b) {
		return 0, beyond
	}
	v, n := binary.Uvarint(b[i:])
	if n <= 0 {
		return 0, beyond
	}
	return v, i + n
}

// scan follows the records of one track: which names they use, which spans they leave
// open. It returns how many bytes of them make sense: all, unless two goroutines used the
// track at once. That is the program's mistake, but it must cost it that track's
// recording only. It accepts exactly what format.ReadRecord and the reader accept; a test
// compares them.
func (e *engine) scan(rd *reading, data []byte) int {
	g := &e.gen
	at := 0
	for at < len(data) {
		l := &layouts[data[at]]
		if !l.known {
			return at
		}
		i := at + 1
		var delta, name uint64
		// One byte is what most deltas, names and values take; the compiler does not
		// inline the general case.
		if l.timed {
			if i < len(data) && data[i] < 0x80 {
				delta, i = uint64(data[i]), i+1
			} else {
				delta, i = longVarint(data, i)
			}
		}
		if l.name {
			if i < len(data) && data[i] < 0x80 {
				name, i = uint64(data[i]), i+1
			} else {
				name, i = longVarint(data, i)
			}
		}
		if delta > math.MaxInt64/4 || name >= format.MaxNames || l.special == begins &&
			len(rd.stack) == format.MaxDepth {
			return at
		}
		for range l.varints {
			_, i = varint(data, i)
		}
		i += int(l.fixed)
		if i > len(data) {
			return at
		}
		keep := len(rd.stack)
		if l.special >= ends {
			if i, keep = e.scanSpecial(rd, l.special, data, i); i > len(data) {
				return at
			}
		}
		if l.timed {
			rd.tick += int64(delta)
			g.oldest = min(g.oldest, rd.tick)
			if l.special != ends && l.special != unwinds {
				e.events++
			} else {
				rd.stack = rd.stack[:keep]
				rd.target = min(1, uint32(keep))
			}
		}
		if l.special == begins {
			rd.stack = append(rd.stack, openSpan{nth: rd.begun, tick: rd.tick, name: uint32(name), cat: data[at] & 15})
			rd.begun++
			rd.target = 1
		}
		if l.name {
			g.use(uint32(name))
		}
		at = i
	}
	return at
}

// scanSpecial reads what only some records have. It returns the index after it, beyond if
// it makes no sense, and how many spans stay open.
func (e *engine) scanSpecial(rd *reading, sp special, data []byte, i int) (next, keep int) {
	keep = len(rd.stack)
	if sp == ends {
		if keep == 0 {
			return beyond, 0
		}
		return i, keep - 1
	}
	if sp == takesArgs {
		rd.target = 0
		return i, keep
	}
	v, i := varint(data, i)
	if i > len(data) {
		return beyond, keep
	}
	switch sp {
	case unwinds:
		if v == 0 || v > uint64(keep) {
			return beyond, keep
		}
		keep -= int(v)
	case strValue:
		if v >= format.MaxNames {
			return beyond, keep
		}
		e.gen.use(uint32(v))
	case textValue:
		if v > format.MaxText {
			return beyond, keep
		}
		i += int(v)
	case shapeValue:
		if v > format.MaxDims {
			return beyond, keep
		}
		for range v {
			if i < len(data) && data[i] < 0x80 {
				i++
			} else {
				_, i = longVarint(data, i)
			}
		}
	case stackValue:
		e.gen.useStack(v)
	case targetValue:
		if v >= uint64(keep) {
			return beyond, keep
		}
		rd.target = 1 + uint32(v)
	}
	return i, keep
}
