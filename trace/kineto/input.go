package kineto

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory that a zstd file may ask for; zstd --long=27 needs
// half of it.
const maxZstdWindow = 256 << 20

// Compression is how a file is packed, told by its first bytes.
type Compression string

// The compressions that Decompress knows.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// inflated is decompressed text. After an error in the packed data it ends as if the
// file ended there, and damaged says why.
type inflated struct {
	kind    Compression
	r       io.Reader
	close   func()
	in      *counting
	damaged error
	some    bool // at least one byte was decoded
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

// inflate looks at the first bytes of r and unpacks what follows. Concatenated
// members and frames are read as one text.
func inflate(r io.Reader) (*inflated, error) {
	in := &counting{r: r}
	buf := bufio.NewReaderSize(in, 256<<10)
	head, err := buf.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	f := &inflated{r: buf, in: in, close: func() {}}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		f.kind = Gzip
		z, err := gzip.NewReader(buf)
		if err != nil {
			return nil, fmt.Errorf("gzip header: %w", err)
		}
		f.r = z
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		f.kind = Zstd
		z, err := zstd.NewReader(buf, zstd.WithDecoderConcurrency(min(2, runtime.GOMAXPROCS(0))), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd header: %w", err)
		}
		f.r, f.close = z, z.Close
	case bytes.HasPrefix(head, []byte("BZh")):
		return nil, errors.New("bzip2 is not supported: unpack it first")
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z'}):
		return nil, errors.New("xz is not supported: unpack it first")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return nil, errors.New("zip archive: unpack it first")
	}
	return f, nil
}

// Read implements io.Reader. Damage in packed data ends the text.
func (f *inflated) Read(p []byte) (int, error) {
	if f.damaged != nil {
		return 0, io.EOF
	}
	n, err := f.r.Read(p)
	if n > 0 {
		f.some = true
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if own := f.in.err.Load(); own != nil {
		return n, *own
	}
	if f.kind == Plain {
		return n, err
	}
	f.damaged = fmt.Errorf("%s data at byte %d of the file: %w", f.kind, f.in.n.Load(), err)
	return n, io.EOF
}
