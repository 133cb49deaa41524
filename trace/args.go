package trace

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"strconv"
	"sync/atomic"
)

// The store of arguments. Kineto writes the same few hundred objects again and again
// with other ids in them, so an object is kept as a template, its text with every long
// run of digits replaced by a hole, and the runs' values:
//
//	{"External id": 51234, "Input Dims": [[8, 64]]}
//	template {"External id": <hole>, "Input Dims": [[8, 64]]}    kept once
//	values   51234                                               uvarint, kept per slice
//
// An ArgsRef is (template+1)<<refOffsetBits | offset of the values. The transformation
// works on bytes alone and loses nothing. Objects for which templates do not repay are
// packed; see ArgsPacker.

// ArgHole is the byte that stands for a run of decimal digits in a template, ArgHexHole
// the one for a run of hexadecimal digits after 0x, as addresses are written. No UTF-8
// text contains them.
const (
	ArgHole    = 0xFF
	ArgHexHole = 0xFE
)

const (
	// minHoleDigits is the shortest run that becomes a hole, but for the values of ids.
	// Shapes, grids and flags mostly have fewer digits and few values; addresses and
	// sizes have more.
	minHoleDigits = 4
	// maxHoleDigits keeps the value of a hole below 2^63.
	maxHoleDigits = 18
	maxHexDigits  = 16
	// refOffsetBits leaves 2^28-1 templates and 64 GiB of values.
	refOffsetBits = 36
	refOffsetMask = 1<<refOffsetBits - 1
)

type argStore struct {
	templates []argTemplate
	byHash    map[uint64]uint32 // last template of a hash, +1; nil until needed
	values    []byte
	lit, val  []byte // scratch of AddArgs
	block     []byte // where the next template's text goes

	objects  int   // added by AddArgs
	borrowed bool  // the memory is counted in another trace
	litBytes int64 // of all templates
	packer   ArgsPacker
	packNo   int // block that packer fills
	packed   packedArgs
}

type argTemplate struct {
	lit   []byte
	holes int32
	next  uint32                    // template of the same hash, +1
	keys  *atomic.Pointer[[]argKey] // filled when first asked for
}

// argKey locates the value of one key in a template.
type argKey struct {
	key        string
	from, to   int // value in lit
	hole, many int // holes before and in the value
}

var argSeed = maphash.MakeSeed()

// HoleDigits returns the least number of digits that make a run a hole, from the text
// before the run: 1 for the value of a key that ends like those of ids ("External id",
// "Ev Idx", "correlation", "Sequence number"), else 4.
func HoleDigits(before []byte) int {
	n := len(before)
	if n > 0 && before[n-1] == ' ' {
		n--
	}
	if n < 4 || before[n-1] != ':' || before[n-2] != '"' {
		return minHoleDigits
	}
	switch string(before[n-4 : n-2]) {
	case "id", "dx", "on", "er":
		return 1
	}
	return minHoleDigits
}

// IsHole reports whether a run of n digits that begins with first becomes a hole, given the text
// before it. Runs that a number would not reproduce exactly, such as those with leading zeros, stay
// text.
func IsHole(n int, first byte, before []byte) bool {
	if n >= minHoleDigits {
		return n <= maxHoleDigits && first != '0' && !inEscape(before)
	}
	return (first != '0' || n == 1) && HoleDigits(before) == 1
}

// inEscape reports whether digits that follow before may belong to a JSON escape such as \u3042.
// These are text and have to stay in the template.
func inEscape(before []byte) bool {
	for i := len(before) - 1; i > 0 && i >= len(before)-escapeDigits; i-- {
		if before[i] == 'u' {
			return before[i-1] == '\\'
		}
		if hexDigit(before[i]|0x20) > 15 {
			return false
		}
	}
	return false
}

// escapeDigits is the number of digits of an escape.
const escapeDigits = 4

// HexRun returns where the digits of the number at b[i] begin, how many they are and
// its value, if it is hexadecimal and long enough for a hole: 0x and from four to
// sixteen small digits of which the first is not 0. Else n is 0.
func HexRun(b []byte, i int) (from, n int, v uint64) {
	if b[i] != '0' || i+2+minHoleDigits > len(b) || b[i+1] != 'x' || b[i+2] == '0' {
		return 0, 0, 0
	}
	from = i + 2
	for from+n < len(b) {
		d := hexDigit(b[from+n])
		if d > 15 {
			break
		}
		if n++; n > maxHexDigits {
			return 0, 0, 0
		}
		v = v<<4 | uint64(d)
	}
	if n < minHoleDigits {
		return 0, 0, 0
	}
	return from, n, v
}

// hexDigit returns the value of a small hexadecimal digit, 255 if c is none.
func hexDigit(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// isHole reports whether c stands for a number in a template.
func isHole(c byte) bool { return c >= ArgHexHole }

// CountHoles returns the number of holes in b.
func CountHoles(b []byte) int {
	n := 0
	for _, c := range b {
		if isHole(c) {
			n++
		}
	}
	return n
}

// SplitArgs appends raw with its long runs of digits replaced by holes to lit, and
// the runs' values to values. raw must contain neither kind of hole.
func SplitArgs(raw, lit, values []byte) (newLit, newValues []byte) {
	from := 0
	for i := 0; i < len(raw); {
		c := raw[i]
		if c-'0' > 9 {
			i++
			continue
		}
		j := i + 1
		v := uint64(c - '0')
		for j < len(raw) && raw[j]-'0' <= 9 {
			if j-i < maxHoleDigits {
				v = v*10 + uint64(raw[j]-'0')
			}
			j++
		}
		if h, n, v := HexRun(raw, i); n > 0 {
			lit = append(append(lit, raw[from:h]...), ArgHexHole)
			values = binary.AppendUvarint(values, v)
			from, i = h+n, h+n
			continue
		}
		if IsHole(j-i, c, raw[:i]) {
			lit = append(append(lit, raw[from:i]...), ArgHole)
			values = binary.AppendUvarint(values, v)
			from = j
		}
		i = j
	}
	return append(lit, raw[from:]...), values
}

// AddArgs stores a raw JSON object, which must be valid JSON, and returns its
// reference. It keeps no reference to raw. An empty object gives NoArgs.
func (t *Trace) AddArgs(raw []byte) ArgsRef {
	if len(raw) == 0 || len(raw) == 2 {
		return NoArgs
	}
	a := &t.args
	if bytes.IndexByte(raw, ArgHole) >= 0 || bytes.IndexByte(raw, ArgHexHole) >= 0 {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
		t.Repairs.Add(RepairUTF8, 1)
	}
	a.objects++
	a.lit, a.val = SplitArgs(raw, a.lit[:0], a.val[:0])
	if id, ok := a.findTemplate(a.lit); ok {
		return MakeArgsRef(id, t.AddArgsValues(a.val))
	}
	if !TemplatesRepay(len(a.templates), a.objects) && len(raw) <= MaxPacked && bytes.IndexByte(raw, 0) < 0 {
		if r, ok := a.pack(raw); ok {
			return r
		}
	}
	return MakeArgsRef(t.AddArgsTemplate(a.lit), t.AddArgsValues(a.val))
}

// findTemplate returns the number of the template with the text lit.
func (a *argStore) findTemplate(lit []byte) (id uint32, ok bool) {
	a.hashAll()
	for id := a.byHash[maphash.Bytes(argSeed, lit)]; id != 0; id = a.templates[id-1].next {
		if bytes.Equal(a.templates[id-1].lit, lit) {
			return id - 1, true
		}
	}
	return 0, false
}

// AddArgsTemplate returns the number of a template with the text lit, adding it if it
// is new. lit comes from SplitArgs; it is copied. For readers that split in parallel.
func (t *Trace) AddArgsTemplate(lit []byte) uint32 {
	a := &t.args
	if id, ok := a.findTemplate(lit); ok {
		return id
	}
	h := maphash.Bytes(argSeed, lit)
	id := uint32(len(a.templates))
	a.templates = append(a.templates, argTemplate{
		lit: a.keep(lit), holes: int32(CountHoles(lit)), keys: new(atomic.Pointer[[]argKey]), next: a.byHash[h],
	})
	a.byHash[h] = id + 1
	a.litBytes += int64(len(lit))
	return id
}

// hashAll makes the table of hashes, which a restored trace lacks.
func (a *argStore) hashAll() {
	if a.byHash != nil {
		return
	}
	a.byHash = make(map[uint64]uint32, len(a.templates))
	for id := range a.templates {
		h := maphash.Bytes(argSeed, a.templates[id].lit)
		a.templates[id].next, a.byHash[h] = a.byHash[h], uint32(id)+1
	}
}

// litBlock is the size in which the texts of templates are allocated: few allocations
// and little waste in a small trace.
const litBlock = 16 << 10

// keep copies lit.
func (a *argStore) keep(lit []byte) []byte {
	if len(lit) > litBlock/8 {
		return bytes.Clone(lit)
	}
	if cap(a.block)-len(a.block) < len(lit) {
		a.block = make([]byte, 0, litBlock)
	}
	n := len(a.block)
	a.block = append(a.block, lit...)
	return a.block[n:len(a.block):len(a.block)]
}

// Trim gives back memory that only adding needs. Rows can still be added afterwards.
func (t *Trace) Trim() {
	t.args.closePack()
	t.args.byHash, t.args.lit, t.args.val, t.args.block = nil, nil, nil, nil
}

// ArgsTables returns the texts of the templates by number and the values of all
// objects, for a writer that stores the trace as it is. They must not be changed.
func (t *Trace) ArgsTables() (templates [][]byte, values []byte) {
	for i := range t.args.templates {
		templates = append(templates, t.args.templates[i].lit)
	}
	return templates, t.args.values
}

// RewriteArgs replaces the text of every template by what f makes of it, and returns how
// many changed. f must leave holes and their order as they are, and valid JSON valid.
// Packed objects are not rewritten. It is for readers, before the trace is read.
func (t *Trace) RewriteArgs(f func(lit string) string) int {
	n := 0
	for i := range t.args.templates {
		m := &t.args.templates[i]
		old := string(m.lit)
		if lit := f(old); lit != old {
			t.args.litBytes += int64(len(lit) - len(old))
			m.lit, m.keys = []byte(lit), new(atomic.Pointer[[]argKey])
			n++
		}
	}
	if n > 0 {
		t.args.byHash = nil
		for i := range t.args.templates {
			t.args.templates[i].next = 0
		}
	}
	return n
}

// ArgsTemplates returns the number of templates.
func (t *Trace) ArgsTemplates() int { return len(t.args.templates) }

// SetArgsTables restores what ArgsTables returned; t owns both from then on.
func (t *Trace) SetArgsTables(templates [][]byte, values []byte) {
	t.args = argStore{values: values, templates: make([]argTemplate, len(templates))}
	keys := make([]atomic.Pointer[[]argKey], len(templates))
	for i, lit := range templates {
		t.args.litBytes += int64(len(lit))
		t.args.templates[i] = argTemplate{lit: lit, holes: int32(CountHoles(lit)), keys: &keys[i]}
	}
}

// AddArgsValues appends the values of holes, of one object or of many, and returns
// the offset of the first.
func (t *Trace) AddArgsValues(values []byte) uint64 {
	off := uint64(len(t.args.values))
	t.args.values = append(t.args.values, values...)
	return off
}

// ReserveArgsValues makes room for more bytes of values, for readers that know how many are to
// come. capacity(n, more) is the capacity, in bytes, that a store of n bytes gets for them.
func (t *Trace) ReserveArgsValues(more int, capacity func(n, more int) int) {
	v := t.args.values
	if cap(v)-len(v) < more {
		t.args.values = append(make([]byte, 0, capacity(len(v), more)), v...)
	}
}

// ClipArgsValues gives back the unused room for values if it is more than an eighth.
func (t *Trace) ClipArgsValues() {
	if v := t.args.values; cap(v)-len(v) > len(v)/8 {
		t.args.values = slices.Clip(append(make([]byte, 0, len(v)), v...))
	}
}

// MakeArgsRef returns the reference of the object with this template and the values
// from offset on.
func MakeArgsRef(template uint32, offset uint64) ArgsRef {
	return ArgsRef(uint64(template)+1)<<refOffsetBits | ArgsRef(offset&refOffsetMask)
}

// Template returns the number of r's template; r must not be NoArgs.
func (r ArgsRef) Template() uint32 { return uint32(r>>refOffsetBits) - 1 }

func (a *argStore) at(r ArgsRef) (*argTemplate, []byte) {
	id, off := uint64(r>>refOffsetBits), uint64(r&refOffsetMask)
	if id == 0 || id > uint64(len(a.templates)) || off > uint64(len(a.values)) {
		return nil, nil
	}
	return &a.templates[id-1], a.values[off:]
}

// Args returns the raw JSON object of r, or nil. The bytes must not be changed. They
// are built anew at every call; to read one key use Arg, ArgInt or ArgText.
func (t *Trace) Args(r ArgsRef) []byte {
	m, _ := t.args.at(r)
	if m == nil {
		return t.packedAt(r)
	}
	if m.holes == 0 {
		return m.lit
	}
	return t.AppendArgs(make([]byte, 0, len(m.lit)+8*int(m.holes)), r)
}

// AppendArgs appends the raw JSON object of r, if any, to dst.
func (t *Trace) AppendArgs(dst []byte, r ArgsRef) []byte {
	m, vals := t.args.at(r)
	if m == nil {
		return append(dst, t.packedAt(r)...)
	}
	return expand(dst, m.lit, vals)
}

// ArgsParts returns how the object of r is kept: the number and the text of its template and, from values on, the
// numbers of its holes, each an uvarint; see ExpandArgs. ok is false if it is not kept so; AppendArgs has it then.
func (t *Trace) ArgsParts(r ArgsRef) (template uint32, lit, values []byte, ok bool) {
	m, values := t.args.at(r)
	if m == nil {
		return 0, nil, nil, false
	}
	return r.Template(), m.lit, values, true
}

// ExpandArgs appends lit, a template's text or a part of it, with values in its holes.
func ExpandArgs(dst, lit, values []byte) []byte { return expand(dst, lit, values) }

// SkipArgsValues returns values without those of the first n holes.
func SkipArgsValues(values []byte, n int) []byte { return skipValues(values, n) }

func expand(dst, lit, vals []byte) []byte {
	for {
		i := nextHole(lit)
		if dst = append(dst, lit[:i]...); i == len(lit) {
			return dst
		}
		v, n := binary.Uvarint(vals)
		base := 10
		if lit[i] == ArgHexHole {
			base = 16
		}
		dst = strconv.AppendUint(dst, v, base)
		lit, vals = lit[i+1:], vals[max(0, n):]
	}
}

// nextHole returns where the first hole of b is, len(b) if there is none. It looks at eight bytes at a time.
func nextHole(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// A byte of v is 0 where one of b is a hole, as these differ in their lowest bit.
		v := ^(binary.LittleEndian.Uint64(b[i:]) | ones)
		if found := (v - ones) &^ v & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if isHole(b[i]) {
			return i
		}
	}
	return i
}

// find returns the template's record of key.
func (m *argTemplate) find(key string) *argKey {
	ks := m.keys.Load()
	if ks == nil {
		made := indexKeys(m.lit)
		ks = &made
		m.keys.Store(ks)
	}
	for i := range *ks {
		if (*ks)[i].key == key {
			return &(*ks)[i]
		}
	}
	return nil
}

// RefArg returns the raw JSON value of key in the object r, or nil.
func (t *Trace) RefArg(r ArgsRef, key string) []byte {
	m, vals := t.args.at(r)
	if m == nil {
		return memberOf(t.packedAt(r), key)
	}
	k := m.find(key)
	if k == nil {
		return nil
	}
	v := m.lit[k.from:k.to]
	if k.many == 0 {
		return v
	}
	return expand(make([]byte, 0, len(v)+8*k.many), v, skipValues(vals, k.hole))
}

func skipValues(vals []byte, n int) []byte {
	for ; n > 0; n-- {
		i := 0
		for i < len(vals) && vals[i] >= 0x80 {
			i++
		}
		vals = vals[min(i+1, len(vals)):]
	}
	return vals
}

// RefArgInt returns an integer of the object r; numbers in text count.
func (t *Trace) RefArgInt(r ArgsRef, key string) (int64, bool) {
	m, vals := t.args.at(r)
	if m == nil {
		return jsonInt(memberOf(t.packedAt(r), key))
	}
	k := m.find(key)
	if k == nil {
		return 0, false
	}
	v := m.lit[k.from:k.to]
	if k.many == 1 && len(v) == 1 && v[0] == ArgHole {
		n, _ := binary.Uvarint(skipValues(vals, k.hole))
		return int64(n), true
	}
	if k.many > 0 {
		v = expand(make([]byte, 0, 48), v, skipValues(vals, k.hole))
	}
	return jsonInt(v)
}

// RefArgText returns a text of the object r, unescaped.
func (t *Trace) RefArgText(r ArgsRef, key string) (string, bool) {
	return jsonText(t.RefArg(r, key))
}

// RefArgFloat returns a number of the object r; numbers in text count.
func (t *Trace) RefArgFloat(r ArgsRef, key string) (float64, bool) {
	v := t.RefArg(r, key)
	if len(v) > 1 && v[0] == '"' {
		v = v[1 : len(v)-1]
	}
	f, err := strconv.ParseFloat(string(v), 64)
	return f, err == nil
}

// Arg returns the raw JSON value of key in slice i's arguments, or nil.
func (t *Trace) Arg(i int, key string) []byte { return t.RefArg(t.Slices.Args[i], key) }

// ArgInt returns an integer argument of slice i; numbers in text count.
func (t *Trace) ArgInt(i int, key string) (int64, bool) { return t.RefArgInt(t.Slices.Args[i], key) }

// ArgFloat returns a number among the arguments of slice i; numbers in text count.
func (t *Trace) ArgFloat(i int, key string) (float64, bool) {
	return t.RefArgFloat(t.Slices.Args[i], key)
}

// ArgText returns a text argument of slice i, unescaped.
func (t *Trace) ArgText(i int, key string) (string, bool) {
	return t.RefArgText(t.Slices.Args[i], key)
}

// templateBytes is what a template takes beside its text: its record and its key cache.
const templateBytes = 56

// ArgsBytes returns the memory that the arguments take, in bytes.
func (t *Trace) ArgsBytes() int64 {
	a := &t.args
	if a.borrowed {
		return 0
	}
	return int64(cap(a.values)) + a.litBytes + templateBytes*int64(len(a.templates)) + int64(
		cap(a.packer.open)) + a.packed.size()
}

// DropArgs forgets the arguments of all rows and gives their memory back.
func (t *Trace) DropArgs() {
	clear(t.Slices.Args)
	clear(t.Instants.Args)
	t.args = argStore{}
}
