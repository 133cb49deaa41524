package unpack

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	Name string // as in the archive, with slashes
	Size int64  // unpacked from the archive
	R    io.Reader
}

// maxMembers bounds the files of an archive that are looked at. A job of ten thousand
// ranks leaves some files a rank.
const maxMembers = 200_000

// Members calls f with every regular file of the archive in file, in order, as long as
// f returns no error. It reads tar archives as a stream, packed in any way that Reader
// unpacks. damaged says why the archive ended before its end; its members up to there
// were handed on, the last of them perhaps cut.
func Members(ctx context.Context, file *os.File, f func(Member) error) (damaged, err error) {
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

func zipMembers(ctx context.Context, file *os.File, f func(Member) error) (damaged, err error) {
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(file, st.Size())
	if err != nil {
		return err, nil // its directory stands at the end: a cut archive has none
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
		r, err := m.Open()
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
