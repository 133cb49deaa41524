package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// members unpacks data of which several may follow each other in a file: members of gzip, streams
// of xz and bzip2, frames of zstd and lz4. They are read as one text. What follows the last of them
// and is none is counted and not read.
func (u *Reader) members(kind Kind, r *bufio.Reader, head []byte) (io.Reader, error) {
	m := &members{u: u, in: r, kind: kind}
	switch kind {
	case Gzip:
		z, ok := gzipReaders.Get().(*gzip.Reader)
		if !ok {
			z = new(gzip.Reader)
		}
		u.close = append(u.close, func() { gzipReaders.Put(z) })
		m.open = func() (io.Reader, error) {
			err := z.Reset(r)
			z.Multistream(false)
			return z, err
		}
	case XZ:
		if n := xzDictionary(head); n > maxWindow {
			return nil, tooLarge(n)
		}
		m.open = func() (io.Reader, error) {
			head, err := r.Peek(headBytes)
			if err != nil && err != io.EOF {
				return nil, err
			}
			if n := xzDictionary(head); n > maxWindow {
				return nil, tooLarge(n)
			}
			return xz.ReaderConfig{SingleStream: true}.NewReader(r)
		}
		m.over = xzOver(r)
	case Zstd:
		m.open = func() (io.Reader, error) {
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(min(2, runtime.GOMAXPROCS(0))),
				zstd.WithDecoderMaxWindow(maxWindow))
			if err == nil {
				u.close = append(u.close, z.Close)
			}
			return z, err
		}
		m.over = taken(4, func(err error) bool { return errors.Is(err, zstd.ErrMagicMismatch) })
	case Bzip2:
		m.open = func() (io.Reader, error) { return bzip2.NewReader(r), nil }
		m.over = taken(2, func(err error) bool {
			return err == bzip2.StructuralError("bad magic value in continuation file")
		})
	case LZ4:
		m.open = func() (io.Reader, error) { return lz4.NewReader(r), nil }
		m.over = taken(4, func(err error) bool { return errors.Is(err, lz4.ErrInvalidFrame) })
	}
	var err error
	m.r, err = m.open()
	return m, err
}

// gzipReaders are unpackers whose file is closed, for the next one: they are as large as what a small
// file unpacks to.
var gzipReaders sync.Pool

type members struct {
	u    *Reader
	in   *bufio.Reader
	kind Kind
	r    io.Reader // of the current member; nil behind the last
	err  error     // of r, for the next call of Read
	open func() (io.Reader, error)
	// over tells by an unpacker's error whether it found something else behind what it unpacks, and
	// how many bytes of that it has taken. It is nil for an unpacker that ends with each member.
	over func(err error) (is bool, n int64)
}

func taken(n int64, is func(error) bool) func(error) (bool, int64) {
	return func(err error) (bool, int64) { return is(err), n }
}

// xzOver gives back the byte by which the unpacker of one stream has found that something follows.
func xzOver(r *bufio.Reader) func(error) (bool, int64) {
	return func(err error) (bool, int64) {
		return err.Error() == "xz: unexpected data after stream" && r.UnreadByte() == nil, 0
	}
}

// Read implements io.Reader.
func (m *members) Read(p []byte) (int, error) {
	for m.r != nil {
		if m.err == nil {
			n := 0
			if n, m.err = m.r.Read(p); n > 0 {
				return n, nil
			}
		}
		if m.err == nil {
			return 0, nil
		}
		took := int64(0)
		if m.err != io.EOF {
			is := false
			if m.over != nil {
				is, took = m.over(m.err)
			}
			if !is {
				return 0, m.err
			}
		}
		m.r, m.err = nil, nil
		if err := m.next(took); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// next goes on behind a member: with the next one, or with the end. took bytes behind it, which are of
// no member, were read already.
func (m *members) next(took int64) error {
	if took == 0 {
		head, err := m.pastZeros()
		if err != nil || len(head) == 0 {
			return err
		}
		if kindOf(head) == m.kind {
			m.r, err = m.open()
			return err
		}
	}
	n, err := io.Copy(io.Discard, m.in)
	m.u.behind += took + n
	return err
}

// pastZeros skips zeros and returns the first bytes of what follows them.
func (m *members) pastZeros() (head []byte, err error) {
	for {
		head, err = m.in.Peek(headBytes)
		if err == io.EOF {
			err = nil
		}
		if err != nil || len(head) == 0 || head[0] != 0 {
			return head, err
		}
		zeros := len(head) - len(bytes.TrimLeft(head, "\x00"))
		if _, err := m.in.Discard(zeros); err != nil {
			return nil, err
		}
	}
}

// lzmaText ends with an error where an lzma file that does not say its size lacks the mark of its end.
type lzmaText struct {
	*lzma.Reader
	marked bool // it must have the mark
}

func (l lzmaText) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF && l.marked && !l.EOSMarker() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// foreign are ways of packing that nothing here unpacks, by how they begin.
var foreign = []struct{ begin, title string }{
	{"7z\xbc\xaf", "a 7-Zip archive"}, {"Rar!", "a RAR archive"}, {"LZIP", "data packed by lzip"},
	{"\x1f\x9d", "data packed by compress"}, {"MSCF", "a cabinet archive"}, {"!<arch>\n", "an archive of ar"},
	{"070701", "a cpio archive"}, {"xar!", "a xar archive"},
}

// Foreign says for a reader what packed data that nothing here unpacks begins with head; "" if none
// does.
func Foreign(head []byte) string {
	for _, f := range foreign {
		if bytes.HasPrefix(head, []byte(f.begin)) {
			return f.title + ": unpack it first"
		}
	}
	return ""
}
