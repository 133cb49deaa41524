package kineto

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// hotKey is an argument that the scan itself needs.
type hotKey uint8

const (
	hotCorrelation hotKey = iota
	hotDevice
	hotStream
	hotCount
)

// hotNames are the spellings of the hot keys.
var hotNames = map[string]hotKey{
	"correlation": hotCorrelation,
	"device":      hotDevice,
	"stream":      hotStream,
	"Device_id":   hotDevice,
	"Stream Id":   hotStream,
	"stream_id":   hotStream,
}

// hotValues are the hot arguments of one event; set tells which are there.
type hotValues struct {
	val [hotCount]int64
	set [hotCount]bool
}

// hotPlace says where a template has a hot value.
type hotPlace struct {
	key  hotKey
	hole int // index of the hole that is the value, -1 if it is fixed
	neg  bool
	val  int64
}

// template is the text of an args object with holes for its long numbers, see trace.SplitArgs,
// and perhaps for texts, see looseKeys. It never changes once made.
type template struct {
	lit  []byte
	segs [][]byte // lit between its holes
	// digits holds the least number of digits of each hole, 0 for a hexadecimal one, textHole for a text.
	digits []int
	hot    []hotPlace
}

// templates interns templates for one scanner.
type templates struct {
	list   []*template
	ids    map[uint64]uint32 // by hash: first of the chain, +1
	chain  []uint32          // by id: next of the same hash, +1
	recent [1 << 12][recentWays]uint32
	// after predicts a template from the event's name and the two templates before it: a model
	// repeats its work step by step and layer by layer.
	after  [1 << 15]uint32
	last   [2]uint32
	lit    []byte
	loose  looseKeys
	asked  int            // objects that were looked up
	unlike [1 << 12]uint8 // by name: objects packed since one that a template fitted
	packer trace.ArgsPacker
}

// recentWays is the number of templates that are tried for an event before its args
// are taken apart: the last ones seen with the same name.
const recentWays = 8

// match compares the args at b[i] with t. On success the holes' values are appended
// to vals and next is the offset after the object.
func (t *template) match(b []byte, i, end int, vals []byte, hole *[maxHotHole]uint64) (out []byte, next int, ok bool) {
	last := len(t.segs) - 1
	for k, seg := range t.segs {
		j := i + len(seg)
		if j > end || string(b[i:j]) != string(seg) {
			return vals, 0, false
		}
		if i = j; k == last {
			return vals, i, true
		}
		if t.digits[k] == textHole {
			j := textRun(b, i, end)
			if b[j] != '"' {
				return vals, 0, false
			}
			vals = append(binary.AppendUvarint(vals, uint64(j-i)), b[i:j]...)
			i = j
			continue
		}
		if t.digits[k] == 0 {
			from, n, v := trace.HexRun(b[:end], i-2)
			if n == 0 {
				return vals, 0, false
			}
			i = from + n
			if k < maxHotHole {
				hole[k] = v
			}
			vals = binary.AppendUvarint(vals, v)
			continue
		}
		v, j, n := whole(b, i)
		if n < t.digits[k] || n > 18 || b[i] == '0' && (n > 1 || t.digits[k] > 1) {
			return vals, 0, false
		}
		i = j
		if k < maxHotHole {
			hole[k] = v
		}
		vals = binary.AppendUvarint(vals, v)
	}
	return vals, i, true
}

// maxHotHole bounds the holes whose values are remembered for hot keys; objects with
// more holes before a hot key are rare and looked up in full.
const maxHotHole = 16

func (t *template) fill(h *hotValues, hole *[maxHotHole]uint64) {
	for _, p := range t.hot {
		v := p.val
		if p.hole >= 0 {
			v = int64(hole[p.hole])
			if p.neg {
				v = -v
			}
		}
		h.val[p.key], h.set[p.key] = v, true
	}
}

// args reads the object at b[i] into r and h and returns the reference to it.
func (s *scanner) args(b []byte, i, end int) (ref uint64, next int, st status) {
	m := &s.tmpl
	m.asked++
	slot, unlike := &m.recent[s.ev.name&(1<<12-1)], &m.unlike[s.ev.name&(1<<12-1)]
	if *unlike >= giveUp && m.asked%tryAgain != 0 {
		if ref, next, ok := s.packQuick(b, i, end); ok {
			return ref, next, stOK
		}
	}
	from := len(s.res.vals)
	guess := &m.after[m.context(s.ev.name)]
	if ref, next, ok := s.tryTemplate(*guess, b, i, end); ok {
		*unlike = 0
		return ref, next, stOK
	}
	for w, id := range slot {
		if id == 0 {
			break
		}
		if id == *guess {
			continue
		}
		if ref, next, ok := s.tryTemplate(id, b, i, end); ok {
			*unlike, *guess = 0, id
			if w > 0 {
				slot[w], slot[w-1] = slot[w-1], slot[w]
			}
			return ref, next, stOK
		}
	}
	id, next, st := s.splitArgs(b, i, end)
	if st != stOK {
		return 0, next, st
	}
	if id == 0 {
		return 0, next, stOK
	}
	if id == packedID {
		*unlike = min(*unlike, giveUp-1) + 1
		return packedID<<argsShift | s.packedAt, next, stOK
	}
	copy(slot[1:], slot[:recentWays-1])
	slot[0], *guess = id, id
	m.seen(id)
	if len(s.res.vals) == from {
		from = 0
	}
	return uint64(id)<<argsShift | uint64(from), next, stOK
}

// tryTemplate reads the object at b[i] if template id fits it; 0 is none.
func (s *scanner) tryTemplate(id uint32, b []byte, i, end int) (ref uint64, next int, ok bool) {
	if id == 0 {
		return 0, i, false
	}
	m := &s.tmpl
	from := len(s.res.vals)
	t := m.list[id-1]
	vals, next, ok := t.match(b, i, end, s.res.vals, &s.hole)
	if !ok {
		s.res.vals = vals[:from]
		return 0, i, false
	}
	s.res.vals = vals
	m.seen(id)
	t.fill(&s.ev.hot, &s.hole)
	if len(vals) == from {
		return uint64(id) << argsShift, next, true
	}
	return uint64(id)<<argsShift | uint64(from), next, true
}

// argsShift splits a scanner's own args reference: template+1 above, offset of the
// values within the result below. A result's values fit 32 bits by far.
const argsShift = 32

const (
	// giveUp is the number of objects of one name that fitted no template after which none is
	// looked for.
	giveUp = 16
	// tryAgain: one in so many objects of such a name is looked up all the same.
	tryAgain = 32
	// maxQuick bounds the objects that are packed without a look for a template, and so what is
	// read in vain of a damaged object.
	maxQuick = 16 << 10
)

// packQuick packs the object at b[i] without looking for a template. What is not fine
// is left to splitArgs.
func (s *scanner) packQuick(b []byte, i, end int) (ref uint64, next int, ok bool) {
	if trace.TemplatesRepay(len(s.tmpl.list), s.tmpl.asked) {
		return 0, i, false
	}
	next, ok = checkObject(b, i, min(end, i+maxQuick), &s.ev.hot)
	if !ok || next-i == 2 {
		s.ev.hot = hotValues{}
		return 0, i, false
	}
	return packedID<<argsShift | s.tmpl.packer.Add(b[i:next]), next, true
}

// packedID, in the upper half of a reference, marks an object that has no template; the lower half
// is then its offset among the packed objects of the result.
const packedID = 1<<32 - 1

// kind of a byte for splitArgs.
var argByte = func() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] = 1
	}
	t['"'], t['{'], t['['], t['}'], t[']'] = 2, 3, 3, 4, 4
	t['\\'], t[0] = 5, 6
	t[trace.ArgHole], t[trace.ArgHexHole], t[trace.ArgTextHole] = 6, 6, 6 // no UTF-8, and would pass for holes
	for c := 1; c < ' '; c++ {
		t[c] = 7
	}
	return t
}()

// splitArgs takes the object at b[i] apart and returns the number of its template,
// 0 if it is empty. The values go to the result.
func (s *scanner) splitArgs(b []byte, i, end int) (id uint32, next int, st status) {
	m := &s.tmpl
	vals, next, st := s.holes(b, i, end)
	if st != stOK || len(m.lit) == 2 {
		return 0, next, st
	}
	if id = m.find(m.lit); id == 0 {
		return s.newArgs(b, i, next, vals)
	}
	s.res.vals = vals
	m.list[id-1].fill(&s.ev.hot, &s.hole)
	return id, next, stOK
}

// holes takes the long numbers out of the object at b[i]. Its text, with a hole for each of
// them, is left in tmpl.lit, the numbers of its first holes in hole. The result's values with
// the numbers appended are returned, and become the result's when the caller keeps them.
func (s *scanner) holes(b []byte, i, end int) (vals []byte, next int, st status) {
	lit, vals := s.tmpl.lit[:0], s.res.vals
	from := i
	depth, quoted := 0, false
	k := 0
scan:
	for {
		switch argByte[b[i]] {
		case 0:
			i++
		case 1:
			v, j, n := whole(b, i)
			kind := byte(trace.ArgHole)
			is := trace.IsHole(n, b[i], b[:i])
			if n == 1 && b[j] == 'x' && b[i] == '0' {
				if at, hex, x := trace.HexRun(b[:end], i); hex > 0 {
					i, j, v, kind, is = at, at+hex, x, trace.ArgHexHole, true
				}
			}
			if is {
				lit = append(append(lit, b[from:i]...), kind)
				vals = binary.AppendUvarint(vals, v)
				if k < maxHotHole {
					s.hole[k] = v
				}
				k++
				from = j
			}
			i = j
		case 2:
			quoted = !quoted
			i++
		case 3:
			if !quoted {
				depth++
			}
			i++
		case 4:
			i++
			if !quoted {
				if depth--; depth == 0 {
					break scan
				}
			}
		case 5:
			i++
			if i < end && (b[i] == '"' || b[i] == '\\') {
				i++
			}
		case 6:
			if i >= end {
				return nil, i, stMore
			}
			return nil, i, stBad
		case 7:
			// In Kineto's layout this is how an unescaped quote shows: the rest of the
			// line is taken for a text.
			if quoted {
				return nil, i, stBad
			}
			i++
		}
	}
	if i > end {
		return nil, i, stMore
	}
	s.tmpl.lit = append(lit, b[from:i]...)
	return vals, i, stOK
}

// newArgs makes a template of the object b[i:next], which was taken apart into m.lit and vals, or packs it if
// templates do not repay.
func (s *scanner) newArgs(b []byte, i, next int, vals []byte) (id uint32, _ int, st status) {
	m := &s.tmpl
	raw := b[i:next]
	if id, ok := s.loosened(b, i, next); ok {
		return id, next, stOK
	}
	if !trace.TemplatesRepay(len(m.list), m.asked) && len(raw) <= trace.MaxPacked {
		if !json.Valid(raw) || !utf8.Valid(raw) {
			return 0, next, stBad
		}
		hotOf(raw, &s.ev.hot)
		s.packedAt = m.packer.Add(raw)
		return packedID, next, stOK
	}
	t := newTemplate(m.lit)
	if t == nil {
		return 0, next, stBad
	}
	m.loose.learn(m.lit)
	s.res.vals = vals
	t.fill(&s.ev.hot, &s.hole)
	return m.add(t), next, stOK
}

// context returns the slot of after that predicts for an event of this name.
func (m *templates) context(name uint32) uint32 {
	return (m.last[0]*0x9E3779B1 ^ m.last[1]*0xC2B2AE35 ^ name*0x85EBCA6B) >> 17
}

func (m *templates) seen(id uint32) { m.last[1], m.last[0] = m.last[0], id }

func (m *templates) find(lit []byte) uint32 {
	for id := m.ids[ids.OfBytes(lit)]; id != 0; id = m.chain[id-1] {
		if bytes.Equal(m.list[id-1].lit, lit) {
			return id
		}
	}
	return 0
}

func (m *templates) add(t *template) uint32 {
	if m.ids == nil {
		m.ids = make(map[uint64]uint32)
	}
	h := ids.OfBytes(t.lit)
	m.list = append(m.list, t)
	m.chain = append(m.chain, m.ids[h])
	id := uint32(len(m.list))
	m.ids[h] = id
	return id
}

// hotOf reads the hot values of the valid object b.
func hotOf(b []byte, h *hotValues) {
	members(b, func(key, val []byte) {
		if k, ok := hotNames[string(key)]; ok {
			if v, err := strconv.ParseInt(string(bytes.Trim(val, `"`)), 0, 64); err == nil {
				h.val[k], h.set[k] = v, true
			}
		}
	})
}

// newTemplate makes a template of lit, or nil if lit is not the text of a valid JSON
// object.
func newTemplate(lit []byte) *template {
	t := &template{lit: bytes.Clone(lit)}
	plain := bytes.Clone(lit)
	from := 0
	for i, c := range t.lit {
		least := 0
		switch c {
		case trace.ArgHole:
			least = trace.HoleDigits(t.lit[from:i])
		case trace.ArgHexHole:
		case trace.ArgTextHole:
			least = textHole
		default:
			continue
		}
		t.segs, t.digits = append(t.segs, t.lit[from:i]), append(t.digits, least)
		from, plain[i] = i+1, '1'
	}
	t.segs = append(t.segs, t.lit[from:])
	if !json.Valid(plain) || !utf8.Valid(plain) {
		return nil
	}
	hole := 0
	members(t.lit, func(key, val []byte) {
		before := hole + trace.CountHoles(key)
		n := trace.CountHoles(val)
		hole = before + n
		k, ok := hotNames[string(key)]
		if !ok {
			return
		}
		p := hotPlace{key: k, hole: -1}
		v := bytes.Trim(val, `"`)
		if n == 1 {
			p.neg = v[0] == '-'
			if p.neg {
				v = v[1:]
			}
			if len(v) == 3 && v[2] == trace.ArgHexHole {
				v = v[2:]
			}
			if len(v) != 1 || before >= maxHotHole {
				return
			}
			p.hole = before
		} else if x, err := strconv.ParseInt(string(v), 0, 64); err == nil {
			p.val = x
		} else {
			return
		}
		for i := range t.hot {
			if t.hot[i].key == k {
				t.hot[i] = p
				return
			}
		}
		t.hot = append(t.hot, p)
	})
	return t
}
