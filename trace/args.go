package trace

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
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
// works on bytes alone and loses nothing. A reader that sees texts differ from object to
// object may leave holes for these too. Objects for which templates do not repay are
// packed; see ArgsPacker.

const (
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
	texts bool                      // some of the holes are texts
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

// AddArgs stores a raw JSON object, which must be valid JSON, and returns its
// reference. It keeps no reference to raw. An empty object gives NoArgs.
func (t *Trace) AddArgs(raw []byte) ArgsRef {
	if len(raw) == 0 || len(raw) == 2 {
		return NoArgs
	}
	a := &t.args
	if nextHole(raw) < len(raw) {
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
// is new. lit is JSON with holes, as SplitArgs returns it; it is copied. For readers that split in parallel.
func (t *Trace) AddArgsTemplate(lit []byte) uint32 {
	a := &t.args
	if id, ok := a.findTemplate(lit); ok {
		return id
	}
	h := maphash.Bytes(argSeed, lit)
	id := uint32(len(a.templates))
	a.templates = append(a.templates, makeTemplate(a.keep(lit), new(atomic.Pointer[[]argKey]), a.byHash[h]))
	a.byHash[h] = id + 1
	a.litBytes += int64(len(lit))
	return id
}

// makeTemplate makes the record of a template with the text lit, which it keeps.
func makeTemplate(lit []byte, keys *atomic.Pointer[[]argKey], next uint32) argTemplate {
	return argTemplate{lit: lit, holes: int32(CountHoles(lit)), texts: bytes.IndexByte(lit, ArgTextHole) >= 0,
		keys: keys, next: next}
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
		t.args.templates[i] = makeTemplate(lit, &keys[i], 0)
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
// values of its holes; see ExpandArgs. ok is false if it is not kept so; AppendArgs has it then.
func (t *Trace) ArgsParts(r ArgsRef) (template uint32, lit, values []byte, ok bool) {
	m, values := t.args.at(r)
	if m == nil {
		return 0, nil, nil, false
	}
	return r.Template(), m.lit, values, true
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
	return expand(make([]byte, 0, len(v)+8*k.many), v, m.valuesOf(k, vals))
}

// valuesOf returns vals, the values of an object of m, from those of k on.
func (m *argTemplate) valuesOf(k *argKey, vals []byte) []byte {
	if m.texts {
		return SkipArgsValues(vals, m.lit[:k.from])
	}
	return skipValues(vals, k.hole)
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
		n, _ := binary.Uvarint(m.valuesOf(k, vals))
		return int64(n), true
	}
	if k.many > 0 {
		v = expand(make([]byte, 0, 48), v, m.valuesOf(k, vals))
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

// maxSize is above every size in bytes, or count of elements, of one copy, message or operator: 16 TiB.
const maxSize = 1 << 44

// ArgSize returns an integer argument of slice i that is a size in bytes or a count. One below 0 or above 16 TiB is
// none: of a counter that wrapped, sums over slices would come out as anything.
func (t *Trace) ArgSize(i int, key string) (int64, bool) {
	n, ok := t.ArgInt(i, key)
	if !ok || n < 0 || n > maxSize {
		return 0, false
	}
	return n, true
}

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
