package profiler

import (
	"encoding/binary"
	"math"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// skimmer walks over records without keeping what they hold. It accepts exactly what
// format.ReadRecord accepts; a test compares the two.
type skimmer struct {
	b   []byte
	i   int
	bad bool
}

func (s *skimmer) uvarint() uint64 {
	if s.i < len(s.b) && s.b[s.i] < 0x80 {
		s.i++
		return uint64(s.b[s.i-1])
	}
	return s.long()
}

func (s *skimmer) long() uint64 {
	if s.i > len(s.b) {
		s.bad = true
		return 0
	}
	v, n := binary.Uvarint(s.b[s.i:])
	if n <= 0 {
		s.bad = true
		return 0
	}
	s.i += n
	return v
}

func (s *skimmer) name() uint32 {
	v := s.uvarint()
	if v >= format.MaxNames {
		s.bad = true
		return 0
	}
	return uint32(v)
}

func (s *skimmer) skip(n uint64) {
	if s.i > len(s.b) || n > uint64(len(s.b)-s.i) {
		s.bad = true
		return
	}
	s.i += int(n)
}

// scan follows the records of one track: which names they use, which spans they leave
// open. It returns how many bytes of them make sense: all, unless two goroutines used the
// track at once. That is the program's mistake, but it must cost it that track's
// recording only.
func (e *engine) scan(rd *reading, data []byte) int {
	s := skimmer{b: data}
	for s.i < len(data) {
		at := s.i
		tag := data[at]
		s.i++
		var ok bool
		if tag>>4 == 1 || tag>>4 == byte(format.TypeShape>>4) {
			ok = e.scanAttr(&s, rd, tag)
		} else {
			ok = e.scanTimed(&s, rd, tag)
		}
		if !ok || s.bad {
			return at
		}
	}
	return s.i
}

// scanTimed and scanAttr change rd and the generation only for records that make sense.
func (e *engine) scanTimed(s *skimmer, rd *reading, tag byte) bool {
	g := &e.gen
	delta := s.uvarint()
	if delta > math.MaxInt64/4 {
		return false
	}
	ty := format.Type(tag)
	if ty >= format.TypeBegin {
		ty &= 0xf0
	}
	var name uint32
	if ty != format.TypeEnd && ty != format.TypeUnwind {
		name = s.name()
	}
	keep := len(rd.stack)
	switch ty {
	case format.TypeBegin:
		if keep == format.MaxDepth {
			return false
		}
	case format.TypeEnd:
		keep--
	case format.TypeUnwind:
		n := s.uvarint()
		if n == 0 || n > uint64(keep) {
			return false
		}
		keep -= int(n)
	case format.TypeInstant:
	case format.TypeAsyncBegin, format.TypeAsyncEnd, format.TypeCounterF:
		s.skip(8)
	case format.TypeCounter:
		s.uvarint()
	case format.TypeAlloc, format.TypeFree:
		s.uvarint()
		s.uvarint()
	default:
		return false
	}
	if s.bad || keep < 0 {
		return false
	}
	rd.tick += int64(delta)
	g.oldest = min(g.oldest, rd.tick)
	switch ty {
	case format.TypeEnd, format.TypeUnwind:
		rd.stack = rd.stack[:keep]
		rd.target = min(1, uint32(keep))
		return true
	case format.TypeBegin:
		rd.stack = append(rd.stack, openSpan{nth: rd.begun, tick: rd.tick, name: name, cat: tag & 15})
		rd.begun++
		rd.target = 1
	case format.TypeInstant, format.TypeAsyncBegin, format.TypeAsyncEnd:
		rd.target = 0
	}
	g.use(name)
	e.events++
	return true
}

func (e *engine) scanAttr(s *skimmer, rd *reading, tag byte) bool {
	g := &e.gen
	if tag>>4 == byte(format.TypeShape>>4) {
		n := s.uvarint()
		if n > format.MaxDims {
			return false
		}
		for range n {
			s.uvarint()
		}
		return true
	}
	ty := format.Type(tag)
	switch ty {
	case format.TypeInt, format.TypeStr, format.TypeText, format.TypeFloat:
		key, value := s.name(), uint32(0)
		switch ty {
		case format.TypeInt:
			s.uvarint()
		case format.TypeFloat:
			s.skip(8)
		case format.TypeStr:
			value = s.name()
		case format.TypeText:
			n := s.uvarint()
			if n > format.MaxText {
				return false
			}
			s.skip(n)
		}
		if !s.bad {
			g.use(key)
			g.use(value)
		}
	case format.TypeFLOPs, format.TypeBytes:
		s.uvarint()
	case format.TypeFlowOut, format.TypeFlowIn:
		s.skip(8)
	case format.TypeStack:
		if id := s.uvarint(); !s.bad {
			g.useStack(id)
		}
	case format.TypeTarget:
		n := s.uvarint()
		if n >= uint64(len(rd.stack)) {
			return false
		}
		rd.target = 1 + uint32(n)
	default:
		return false
	}
	return true
}
