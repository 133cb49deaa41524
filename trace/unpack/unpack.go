// Package unpack reads what traces are packed in, told by the first bytes and never by
// a name: gzip, zlib, zstd, bzip2, xz, lzma, lz4 and snappy, also one inside another, UTF-16
// text, and tar and zip archives of any number of files.
//
// Data that is damaged or cut ends as if the file ended there, so that what was read
// before is not lost; Damaged says why. What follows whole packed data and is none is not read;
// Behind counts it.
package unpack

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zlib"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindow bounds the memory that a zstd, xz or lzma file may ask for; zstd --long=27 needs
// half of it, xz -9 a quarter.
const maxWindow = 256 << 20

// maxLayers bounds how often packed data may be packed again. People pack what is
// packed once or twice; more is made to exhaust readers.
const maxLayers = 4

// Kind is a way of packing.
type Kind string

// The ways of packing one text.
const (
	Plain  Kind = ""
	Gzip   Kind = "gzip"
	Zlib   Kind = "zlib"
	Zstd   Kind = "zstd"
	Bzip2  Kind = "bzip2"
	XZ     Kind = "xz"
	LZMA   Kind = "lzma"
	LZ4    Kind = "lz4"
	Snappy Kind = "snappy" // framed, also as s2 extends it
	UTF16  Kind = "UTF-16"
)

// magic is how each way of packing begins.
var magic = []struct {
	kind  Kind
	begin string
}{
	{Gzip, "\x1f\x8b"},
	{Zstd, "\x28\xb5\x2f\xfd"},
	{Bzip2, "BZh"},
	{XZ, "\xfd7zXZ\x00"},
	{LZMA, "\x5d\x00\x00"},
	{LZ4, "\x04\x22\x4d\x18"}, {LZ4, "\x02\x21\x4c\x18"},
	{Snappy, "\xff\x06\x00\x00sNaPpY"}, {Snappy, "\xff\x06\x00\x00S2sTwO"},
	// the header of the usual levels; text may begin with that of others
	{Zlib, "\x78\x01"}, {Zlib, "\x78\x9c"}, {Zlib, "\x78\xda"},
}

// endings are what names of packed files end with.
var endings = map[string]Kind{
	".gz": Gzip, ".tgz": Gzip, ".zst": Zstd, ".zstd": Zstd, ".tzst": Zstd, ".bz2": Bzip2, ".tbz2": Bzip2,
	".xz": XZ, ".txz": XZ, ".lzma": LZMA, ".lz4": LZ4, ".sz": Snappy, ".s2": Snappy, ".zz": Zlib,
}

// Named is how the name of a file says that it is packed; content decides.
func Named(path string) Kind { return endings[strings.ToLower(filepath.Ext(path))] }

// kindOf tells by its first bytes how data is packed. Text in UTF-16 is told by its
// mark, or by the zeros around its first sign, which is ASCII in every trace.
func kindOf(head []byte) Kind {
	for _, m := range magic {
		if bytes.HasPrefix(head, []byte(m.begin)) {
			return m.kind
		}
	}
	if _, ok := utf16Order(head); ok {
		return UTF16
	}
	return Plain
}

// Packed reports whether head begins data that Reader unpacks.
func Packed(head []byte) bool { return kindOf(head) != Plain }

// Reader is unpacked text.
type Reader struct {
	r       io.Reader
	layers  []Kind
	in      *counting
	close   []func()
	buffers []*bufio.Reader
	behind  int64
	damaged error
}

// counting counts what was read of a file. Unpackers read ahead in goroutines of
// their own.
type counting struct {
	r io.Reader
	n atomic.Int64
	// err is the reader's own failure, as against damage in the packed data.
	err atomic.Pointer[error]
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	if err != nil && err != io.EOF {
		c.err.Store(&err)
	}
	return n, err
}

// headBytes is what an unpacker's output is looked at for another layer; the name of a
// tar archive's format stands at 257.
const headBytes = 512

// New looks at the first bytes of r and unpacks what follows, layer by layer.
// Concatenated members and frames are read as one text. The caller closes the Reader,
// not r. An error means that r failed or that a header says what cannot be unpacked.
func New(r io.Reader) (*Reader, error) {
	in := &counting{r: r}
	u := &Reader{in: in}
	buf := u.buffered(in)
	for {
		head, err := buf.Peek(headBytes)
		if err != nil && err != io.EOF && len(u.layers) == 0 {
			return nil, err
		}
		kind := kindOf(head)
		if kind == Plain || len(u.layers) == maxLayers {
			u.r = buf
			return u, nil
		}
		next, err := u.layer(kind, buf, head)
		if err != nil {
			u.Close()
			return nil, fmt.Errorf("%s header: %w", kind, err)
		}
		u.layers = append(u.layers, kind)
		buf = u.buffered(next)
	}
}

// layer unpacks one layer.
func (u *Reader) layer(kind Kind, r *bufio.Reader, head []byte) (io.Reader, error) {
	switch kind {
	case Zlib:
		return zlib.NewReader(r)
	case Snappy:
		return s2.NewReader(r), nil
	case LZMA:
		if n := lzmaDictionary(head); n > maxWindow {
			return nil, tooLarge(n)
		}
		l, err := lzma.NewReader(r)
		return lzmaText{l, len(head) >= 13 && string(head[5:13]) == "\xff\xff\xff\xff\xff\xff\xff\xff"}, err
	case UTF16:
		big, _ := utf16Order(head)
		return newUTF16(r, big), nil
	}
	return u.members(kind, r, head)
}

func tooLarge(n uint64) error {
	return fmt.Errorf("asks for a dictionary of %d MiB, at most %d are allowed", n>>20, maxWindow>>20)
}

// lzmaDictionary returns the size in bytes of the dictionary that an lzma file asks for.
func lzmaDictionary(head []byte) uint64 {
	if len(head) < 5 {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(head[1:]))
}

// xzDictionary returns the size in bytes of the dictionary that the first block of an xz file asks
// for, by section 5.3 of the format's description. It is 0 if the header is malformed, which the xz
// reader then reports.
func xzDictionary(head []byte) uint64 {
	const at = 12 // after the stream's header: size of the block's header, flags, filters
	if len(head) < at+6 || head[at+1]&0xC0 != 0 || head[at+2] != 0x21 || head[at+3] != 1 {
		return 0
	}
	bits := uint64(head[at+4])
	if bits > 40 {
		return 1 << 62
	}
	return (2 | bits&1) << (bits/2 + 11)
}

// Read implements io.Reader. Damage in packed data ends the text.
func (u *Reader) Read(p []byte) (int, error) {
	if u.damaged != nil {
		return 0, io.EOF
	}
	n, err := u.r.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if own := u.in.err.Load(); own != nil {
		return n, *own
	}
	if len(u.layers) == 0 {
		return n, err
	}
	u.damaged = fmt.Errorf("%s data at byte %d of the file: %w", u.Kind(), u.in.n.Load(), err)
	return n, io.EOF
}

// Close frees the unpackers. Nothing can be read any more.
func (u *Reader) Close() {
	for _, f := range u.close {
		f()
	}
	if !slices.ContainsFunc(u.layers, func(k Kind) bool { return k != Gzip }) { // others may still read ahead
		for _, b := range u.buffers {
			b.Reset(nil)
			buffered.Put(b)
		}
	}
	u.r, u.close, u.buffers = strings.NewReader(""), nil, nil
}

// bufferSize is that of the buffers between layers.
const bufferSize = 256 << 10

// buffered are the buffers of Readers that are closed, for the next file.
var buffered = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

// buffered returns r with a buffer.
func (u *Reader) buffered(r io.Reader) *bufio.Reader {
	b := buffered.Get().(*bufio.Reader)
	b.Reset(r)
	u.buffers = append(u.buffers, b)
	return b
}

// Kind says how the text was packed, the outermost first: "gzip", "gzip in zstd"; "" if
// it was not.
func (u *Reader) Kind() Kind {
	var parts []string
	for i := len(u.layers) - 1; i >= 0; i-- {
		parts = append(parts, string(u.layers[i]))
	}
	return Kind(strings.Join(parts, " in "))
}

// Outer is the outermost layer.
func (u *Reader) Outer() Kind {
	if len(u.layers) == 0 {
		return Plain
	}
	return u.layers[0]
}

// Damaged says what is wrong with the packed data; nil if nothing is, or not yet.
func (u *Reader) Damaged() error { return u.damaged }

// Behind returns how many bytes follow the end of the packed data and are none themselves: a log
// line, a signature, what another writer left. They are known when all of the text was read. Zeros,
// which fill a block, do not count.
func (u *Reader) Behind() int64 { return u.behind }

// Consumed returns how many bytes of the file were read.
func (u *Reader) Consumed() int64 { return u.in.n.Load() }
