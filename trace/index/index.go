// Package index keeps a read trace beside its file, so that opening it again costs a
// read of the columns and no parsing.
//
// # Format
//
// All numbers are little endian; every section begins at a multiple of 8 bytes.
//
//	magic    8 bytes  "KTINDEX" and the version
//	length   8 bytes  of the header
//	header            JSON: what file it was made of, Meta, tracks, rows of each table
//	sections          8 bytes length, then the bytes, padded to 8: texts' ends (uint32),
//	                  texts, templates' ends (uint32), templates, values of arguments,
//	                  packed arguments' ends, packed arguments,
//	                  then the columns of slices, instants, counters, flows, in the
//	                  order of their fields in package trace
//	checksum 8 bytes  CRC-32C of all before, and 4 zero bytes
//
// The columns are used where they lie in the read file, without a copy. A file of
// another version, another source or with a wrong checksum is refused; callers then
// read the trace itself.
package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unsafe"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Version changes with the format and with what readers make of a file: an
// index of another version may hold something else than the file would be read as now.
const Version = 7

var magic = "KTINDEX" + string(rune(Version))

// ErrStale reports that an index is not of this file as it is now, or of another version.
var ErrStale = errors.New("index is stale")

// ErrCorrupt reports that an index is damaged.
var ErrCorrupt = errors.New("index is corrupt")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// littleEndian reports whether this machine can use the columns as they lie in the file.
var littleEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}()

// Stamp identifies the state of a file.
type Stamp struct {
	Size, ModTime int64
}

// Limits of a header: it is decoded before anything else of an index is known. A track is one object and takes some
// 130 bytes; a trace with more tracks than this has no index.
const (
	maxHeader  = 16 << 20
	maxObjects = 1 << 17
)

type header struct {
	Source                              Stamp
	Meta                                trace.Meta
	Tracks                              []trace.Track
	Repairs                             trace.Repairs
	Categories                          []string
	Slices, Instants, Counters, Flows   int
	Texts, Templates, TextBytes, Values int
	Packed                              int
}

// Write writes t to w as an index of the file with this stamp.
func Write(w io.Writer, t *trace.Trace, source Stamp) error {
	if !littleEndian {
		return errors.New("write index: not supported on this machine's byte order")
	}
	templates, values := t.ArgsTables()
	h := header{
		Source: source, Meta: t.Meta, Tracks: t.Tracks, Repairs: t.Repairs, Categories: t.Categories(),
		Slices: t.Slices.Len(), Instants: len(t.Instants.Time), Counters: len(t.Counters.Time),
		Flows: len(t.Flows.Time),
		Texts: len(t.Strings.Texts()), Templates: len(templates), Values: len(values), Packed: len(t.PackedArgs()),
	}
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if err := bounded(head); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	o := &writer{w: w}
	o.raw([]byte(magic))
	o.section(head)
	texts := make([][]byte, len(t.Strings.Texts()))
	for i, s := range t.Strings.Texts() {
		texts[i] = []byte(s)
	}
	o.list(texts)
	o.list(templates)
	o.section(values)
	o.list(t.PackedArgs())
	s, i, c, f := &t.Slices, &t.Instants, &t.Counters, &t.Flows
	for _, col := range [][]byte{
		bytesOf(s.Start), bytesOf(s.Dur), bytesOf(s.Name), bytesOf(s.Cat), bytesOf(s.Track), bytesOf(s.Corr),
		bytesOf(s.Args), bytesOf(s.Event),
		bytesOf(i.Time), bytesOf(i.Name), bytesOf(i.Cat), bytesOf(i.Track), bytesOf(i.Args),
		bytesOf(c.Time), bytesOf(c.Name), bytesOf(c.Series), bytesOf(c.Track), bytesOf(c.Value),
		bytesOf(f.Time), bytesOf(f.ID), bytesOf(f.Track), bytesOf(f.Cat), bytesOf(f.Name), bytesOf(f.Start),
	} {
		o.section(col)
	}
	sum := binary.LittleEndian.AppendUint64(nil, uint64(o.sum))
	o.raw(sum)
	if o.err != nil {
		return fmt.Errorf("write index: %w", o.err)
	}
	return nil
}

// number is what a column may hold.
type number interface {
	~int64 | ~uint64 | ~uint32 | ~uint8 | ~float64 | ~bool
}

// bytesOf returns the memory of a column.
func bytesOf[T number](col []T) []byte {
	var x T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(col))), len(col)*int(unsafe.Sizeof(x)))
}

type writer struct {
	w   io.Writer
	sum uint32
	err error
}

func (o *writer) raw(b []byte) {
	if o.err == nil {
		o.sum = crc32.Update(o.sum, castagnoli, b)
		_, o.err = o.w.Write(b)
	}
}

func (o *writer) section(b []byte) {
	o.raw(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
	o.raw(b)
	o.raw(make([]byte, -len(b)&7))
}

func (o *writer) list(items [][]byte) {
	ends := make([]uint32, len(items))
	var all []byte
	for i, b := range items {
		all = append(all, b...)
		ends[i] = uint32(len(all))
	}
	if len(all) > math.MaxUint32 && o.err == nil {
		o.err = fmt.Errorf("a table of %d MiB: at most 4096 fit", len(all)>>20)
	}
	o.section(bytesOf(ends))
	o.section(all)
}

// errNoIndex says that a file is no index at all.
var errNoIndex = fmt.Errorf("%w: expected an index, found something else", ErrCorrupt)

// known checks the magic number at the beginning of b.
func known(b []byte) error {
	if string(b[:7]) != magic[:7] {
		return errNoIndex
	}
	if b[7] != Version {
		return fmt.Errorf("%w: version %d, expected %d", ErrStale, b[7], Version)
	}
	return nil
}

// bounded checks a header's size.
func bounded(head []byte) error {
	if len(head) > maxHeader {
		return fmt.Errorf("%w: a header of %d bytes, at most %d", ErrTooLarge, len(head), maxHeader)
	}
	if n := bytes.Count(head, []byte("{")); n > maxObjects {
		return fmt.Errorf("%w: %d tracks and the like, at most %d", ErrTooLarge, n, maxObjects)
	}
	return nil
}

// decode returns the header of an index of the file with this stamp.
func decode(head []byte, source Stamp) (h header, err error) {
	if err := bounded(head); err != nil {
		return h, err
	}
	if err := json.Unmarshal(head, &h); err != nil {
		return h, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	if h.Source != source {
		return h, fmt.Errorf("%w: made of a file of %d bytes, now %d", ErrStale, h.Source.Size, source.Size)
	}
	return h, nil
}

// check reads the beginning of an index of size bytes alone, and says whether it is one of the file with this stamp.
func check(r io.ReaderAt, size int64, source Stamp) error {
	b := make([]byte, len(magic)+8)
	if _, err := r.ReadAt(b, 0); err != nil {
		return fmt.Errorf("%w: %w", errNoIndex, err)
	}
	if err := known(b); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint64(b[len(magic):])
	switch {
	case n > maxHeader:
		return fmt.Errorf("%w: a header of %d bytes, at most %d", ErrTooLarge, n, maxHeader)
	case int64(n) > size:
		return fmt.Errorf("%w: a header of %d bytes in a file of %d", ErrCorrupt, n, size)
	}
	head := make([]byte, n)
	if _, err := r.ReadAt(head, int64(len(b))); err != nil {
		return fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	_, err := decode(head, source)
	return err
}

// Read returns the trace in the index b, which it keeps: the trace's columns lie in
// it. b must begin at a multiple of 8 bytes in memory, as whatever make returns does.
func Read(b []byte, source Stamp) (*trace.Trace, error) {
	if !littleEndian {
		return nil, fmt.Errorf("%w: not supported on this machine's byte order", ErrStale)
	}
	if len(b) < len(magic)+16 {
		return nil, errNoIndex
	}
	if err := known(b); err != nil {
		return nil, err
	}
	body := b[:len(b)-8]
	if binary.LittleEndian.Uint64(b[len(b)-8:]) != uint64(crc32.Checksum(body, castagnoli)) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrCorrupt)
	}
	r := &reader{b: body[8:]}
	h, err := decode(r.section(), source)
	if err != nil {
		return nil, err
	}
	t := trace.New()
	t.Meta, t.Tracks, t.Repairs = h.Meta, h.Tracks, h.Repairs
	t.SetCategories(h.Categories)
	t.Strings.SetTexts(stringsOf(r.list(h.Texts)))
	templates := r.list(h.Templates)
	t.SetArgsTables(templates, r.section())
	packed := r.list(h.Packed)
	if _, ok := t.AddPackedArgs(packed); !ok {
		r.bad = true
	}
	s, i, c, f := &t.Slices, &t.Instants, &t.Counters, &t.Flows
	column(r, h.Slices, &s.Start, &s.Dur)
	column(r, h.Slices, &s.Name)
	column(r, h.Slices, &s.Cat)
	column(r, h.Slices, &s.Track)
	column(r, h.Slices, &s.Corr)
	column(r, h.Slices, &s.Args)
	column(r, h.Slices, &s.Event)
	column(r, h.Instants, &i.Time)
	column(r, h.Instants, &i.Name)
	column(r, h.Instants, &i.Cat)
	column(r, h.Instants, &i.Track)
	column(r, h.Instants, &i.Args)
	column(r, h.Counters, &c.Time)
	column(r, h.Counters, &c.Name, &c.Series)
	column(r, h.Counters, &c.Track)
	column(r, h.Counters, &c.Value)
	column(r, h.Flows, &f.Time)
	column(r, h.Flows, &f.ID)
	column(r, h.Flows, &f.Track)
	column(r, h.Flows, &f.Cat, &f.Name)
	column(r, h.Flows, &f.Start)
	if r.bad || !inRange(t) {
		return nil, fmt.Errorf("%w: sections do not fit the header", ErrCorrupt)
	}
	return t, nil
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) section() []byte {
	if len(r.b) < 8 {
		r.bad = true
		return nil
	}
	n := binary.LittleEndian.Uint64(r.b)
	if n > uint64(len(r.b)-8) {
		r.bad = true
		return nil
	}
	out := r.b[8 : 8+n : 8+n]
	r.b = r.b[min(len(r.b), 8+(int(n)+7)&^7):]
	return out
}

func (r *reader) list(n int) [][]byte {
	var ends []uint32
	column(r, n, &ends)
	all := r.section()
	if r.bad {
		return nil
	}
	out := make([][]byte, n)
	from := uint32(0)
	for i, to := range ends {
		if to < from || int(to) > len(all) {
			r.bad = true
			return nil
		}
		out[i] = all[from:to:to]
		from = to
	}
	return out
}

func stringsOf(list [][]byte) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = unsafe.String(unsafe.SliceData(b), len(b))
	}
	return out
}

// column points cols at the next sections.
func column[T number](r *reader, n int, cols ...*[]T) {
	for _, col := range cols {
		var x T
		b := r.section()
		if r.bad || n < 0 || len(b) != n*int(unsafe.Sizeof(x)) {
			r.bad = true
			return
		}
		if n > 0 {
			*col = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
		}
	}
}

// inRange checks the ids of all rows, so that a wrong index cannot make a reader of
// the trace panic.
func inRange(t *trace.Trace) bool {
	tracks, texts := uint32(len(t.Tracks)), uint32(t.Strings.Len())
	for _, b := range bytesOf(t.Flows.Start) {
		if b > 1 {
			return false
		}
	}
	return below(t.Slices.Track, tracks) && below(t.Instants.Track, tracks) && below(t.Counters.Track, tracks) &&
		below(t.Flows.Track, tracks) &&
		below(t.Slices.Name, texts) && below(t.Instants.Name, texts) && below(t.Counters.Name, texts) &&
		below(t.Counters.Series, texts) &&
		below(t.Flows.Cat, texts) && below(t.Flows.Name, texts)
}

func below[T ~uint32](col []T, n uint32) bool {
	var top T
	for _, x := range col {
		top = max(top, x)
	}
	return len(col) == 0 || uint32(top) < n
}
