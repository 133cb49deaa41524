package unpack

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// Format is a way of packing many files.
type Format string

// The archives.
const (
	NoArchive Format = ""
	Tar       Format = "tar"
	Zip       Format = "zip"
)

// ArchiveOf tells by its first 262 bytes, unpacked, whether data is an archive.
func ArchiveOf(head []byte) Format {
	switch {
	case len(head) >= 4 && (string(head[:4]) == "PK\x03\x04" || string(head[:4]) == "PK\x05\x06"):
		return Zip
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return Tar
	}
	return NoArchive
}

// Member is one regular file of an archive.
type Member struct {
	Name string // as in the archive, with slashes; never of a place beside it
	Size int64  // unpacked from the archive
	R    io.Reader
	// Unread says why the archive's own packing of the file cannot be undone; R is nil then.
	Unread string
}

// maxMembers bounds the files of an archive that are looked at. A job of ten thousand
// ranks leaves some files a rank.
const maxMembers = 200_000

// Members calls member with every regular file of the archive in file, in order, as long as
// it returns no error. It reads tar archives as a stream, packed in any way that Reader
// unpacks. damaged says why the archive ended before its end; its members up to there
// were handed on, the last of them perhaps cut.
func Members(ctx context.Context, file *os.File, member func(Member) error) (damaged, err error) {
	f := func(m Member) error {
		m.Name = within(m.Name)
		return member(m)
	}
	u, err := New(file)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	if len(u.layers) == 0 {
		head := make([]byte, 4)
		if _, err := file.ReadAt(head, 0); err == nil && ArchiveOf(head) == Zip {
			return zipMembers(ctx, file, f)
		}
		return tarMembers(ctx, u, u, f)
	}
	in := bufio.NewReader(u)
	if head, err := in.Peek(4); err == nil && ArchiveOf(head) == Zip {
		return spooledZip(ctx, in, f)
	}
	return tarMembers(ctx, u, in, f)
}

// within returns the name of a member, of one that leads out of the archive or is absolute what remains of it inside:
// a trace would be named as another file of this host.
func within(name string) string {
	if path.IsAbs(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return path.Clean("/" + name)[1:]
	}
	return name
}

// MaxSpool bounds what is unpacked to disk for a reader that jumps about in a file: a zip archive that
// is packed once more, or a database.
const MaxSpool = 16 << 30

func spooledZip(ctx context.Context, in io.Reader, f func(Member) error) (damaged, err error) {
	tmp, err := os.CreateTemp("", "kinetoscope-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())) }()
	switch n, err := io.Copy(tmp, io.LimitReader(in, MaxSpool+1)); {
	case err != nil:
		return nil, err
	case n > MaxSpool:
		return fmt.Errorf("a packed zip archive of over %d GiB: unpack it first", MaxSpool>>30), nil
	}
	return zipMembers(ctx, tmp, f)
}

// tolerant ends a member's text where the archive is damaged.
type tolerant struct {
	r       io.Reader
	damaged *error
}

func (t tolerant) Read(p []byte) (int, error) {
	if *t.damaged != nil {
		return 0, io.EOF
	}
	n, err := t.r.Read(p)
	if err != nil && err != io.EOF {
		*t.damaged = err
		err = io.EOF
	}
	return n, err
}

// tarBlock is the unit of tar: headers, and the zeros that end an archive, take whole ones.
const tarBlock = 512

// errNoTarEnd is the damage of a tar archive that was cut just behind a member.
var errNoTarEnd = errors.New("the archive lacks its end: members may be missing")

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// tarMembers reads rest, which is what is left of u.
func tarMembers(ctx context.Context, u *Reader, rest io.Reader, f func(Member) error) (damaged, err error) {
	count := &counter{r: rest}
	in := tar.NewReader(count)
	end := int64(-1) // of the last member with its padding, -1 if unknown
	for n := 0; damaged == nil; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := in.Next()
		switch {
		case err == io.EOF && end >= 0 && count.n <= end:
			return errors.Join(errNoTarEnd, u.damaged), nil
		case err == io.EOF:
			return u.damaged, nil
		case u.in.err.Load() != nil:
			return nil, *u.in.err.Load()
		case err != nil:
			return errors.Join(err, u.damaged), nil
		case n == maxMembers:
			return fmt.Errorf("more than %d members", maxMembers), nil
		}
		end = -1
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, sparse := h.PAXRecords["GNU.sparse.major"]; !sparse { // a sparse file takes less than its size
			end = count.n + (h.Size+tarBlock-1)/tarBlock*tarBlock
		}
		if err := f(Member{Name: h.Name, Size: h.Size, R: tolerant{in, &damaged}}); err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

// Numbers of zip's description (APPNOTE.TXT 4.4.4 and 4.4.5) that archive/zip has no names for.
const (
	zipEncrypted = 1
	zipBzip2     = 12
	zipXZ        = 95
)

// zipMethods are ways of packing in a zip archive beside those that archive/zip knows.
var zipMethods = map[uint16]zip.Decompressor{
	zipBzip2:             func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) },
	zstd.ZipMethodWinZip: zstd.ZipDecompressor(zstd.WithDecoderMaxWindow(maxWindow)),
	zstd.ZipMethodPKWare: zstd.ZipDecompressor(zstd.WithDecoderMaxWindow(maxWindow)),
	zipXZ: func(r io.Reader) io.ReadCloser {
		u, err := New(r)
		if err != nil {
			return io.NopCloser(failed{err})
		}
		return closing{u}
	},
}

// failed is a reader of nothing but an error.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// closing is a Reader whose Close has an error to return, as zip wants it.
type closing struct{ *Reader }

func (c closing) Close() error { c.Reader.Close(); return nil }

func zipMembers(ctx context.Context, file *os.File, f func(Member) error) (damaged, err error) {
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(file, st.Size())
	if err != nil {
		return err, nil // its directory stands at the end: a cut archive has none
	}
	for method, d := range zipMethods {
		z.RegisterDecompressor(method, d)
	}
	for n, m := range z.File {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if n == maxMembers {
			return fmt.Errorf("more than %d members", maxMembers), nil
		}
		if !m.Mode().IsRegular() {
			continue
		}
		if m.Flags&zipEncrypted != 0 {
			if err := f(Member{Name: m.Name, Unread: "encrypted: unpack it first"}); err != nil {
				return damaged, err
			}
			continue
		}
		r, err := m.Open()
		if errors.Is(err, zip.ErrAlgorithm) {
			why := fmt.Sprintf("packed by method %d of zip, which is not read: unpack it first", m.Method)
			if err := f(Member{Name: m.Name, Unread: why}); err != nil {
				return damaged, err
			}
			continue
		}
		if err != nil {
			damaged = errors.Join(damaged, fmt.Errorf("%s: %w", m.Name, err))
			continue
		}
		var bad error
		err = f(Member{Name: m.Name, Size: int64(m.UncompressedSize64), R: tolerant{r, &bad}})
		r.Close()
		if bad != nil {
			damaged = errors.Join(damaged, fmt.Errorf("%s: %w", m.Name, bad))
		}
		if err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}
