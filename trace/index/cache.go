package index

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Suffix ends the names of indexes.
const Suffix = ".ktindex"

// Cache says where indexes lie. The zero value keeps none.
type Cache struct {
	Beside bool   // beside the trace: trace.json.gz.ktindex
	Dir    string // in this directory, under names made of the traces' paths
	// MinSize is the least size in bytes of a file that is worth an index.
	MinSize int64
}

// ErrOff reports that a Cache keeps no indexes, or none of so small a file.
var ErrOff = errors.New("no index is kept")

// ErrForeign reports that an index is of a user who owns neither the trace nor this process: what it holds
// is that user's word.
var ErrForeign = errors.New("the index is another user's")

// ErrTooLarge reports that an index takes more memory than it may.
var ErrTooLarge = errors.New("the index is too large")

// maxRatio is how many times larger than its file an index may be. Arguments and names are kept once, so that an index
// takes about half of a text of small events and less of others, and gzip makes a thirtieth of a usual trace's text. A
// file that is packed better than that is read each time.
const maxRatio = 32

// smallFile is the size that a smaller file counts as, for the header and the sections of an index take some bytes too.
const smallFile = 64 << 10

// place is where the index of a file lies, and the file as it is now.
type place struct {
	path  string
	stamp Stamp
	file  os.FileInfo
}

// place returns where the index of file lies.
func (c Cache) place(file string) (p place, err error) {
	if !c.Beside && c.Dir == "" {
		return p, ErrOff
	}
	if p.file, err = os.Stat(file); err != nil {
		return p, fmt.Errorf("index: %w", err)
	}
	if p.file.Size() < c.MinSize {
		return p, ErrOff
	}
	p.stamp = Stamp{Size: p.file.Size(), ModTime: p.file.ModTime().UnixNano()}
	if c.Dir == "" {
		p.path = file + Suffix
		return p, nil
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return p, fmt.Errorf("index: %w", err)
	}
	sum := sha256.Sum256([]byte(abs))
	p.path = filepath.Join(c.Dir, hex.EncodeToString(sum[:16])+Suffix)
	return p, nil
}

// Load returns the trace of file from its index. The error is ErrOff, ErrStale, ErrCorrupt, ErrForeign, ErrTooLarge or
// of the file system; then read the file itself. An index may be anybody's, of any size: its owner, size and header are
// looked at before the rest is read, and then room, unless it is nil, is asked for the bytes that it takes.
func (c Cache) Load(file string, room func(bytes int64) bool) (*trace.Trace, error) {
	p, err := c.place(file)
	if err != nil {
		return nil, err
	}
	b, err := p.read(room)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	t, err := Read(b, p.stamp)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	t.Meta.File = file
	return t, nil
}

// read reads the index into memory that begins at a multiple of 8 bytes.
func (p *place) read(room func(bytes int64) bool) ([]byte, error) {
	f, err := plainfile.ByPath(p.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !trusted(st, p.file) {
		return nil, ErrForeign
	}
	if err := fits(st.Size(), p.stamp); err != nil {
		return nil, err
	}
	if err := check(f, st.Size(), p.stamp); err != nil {
		return nil, err
	}
	if room != nil && !room(st.Size()) {
		return nil, fmt.Errorf("%w: no room for its %d bytes", ErrTooLarge, st.Size())
	}
	words := make([]uint64, st.Size()/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)[:st.Size()]
	_, err = f.ReadAt(b, 0)
	return b, err
}

// trusted reports whether an index is of the trace's owner, of this process's user or of root, where files have owners.
func trusted(index, file os.FileInfo) bool {
	by, _, known := plainfile.Owner(index)
	of, _, _ := plainfile.Owner(file)
	return !known || by == of || by == os.Geteuid() || by == 0
}

// fits returns ErrTooLarge if an index of size bytes is too large for the file with this stamp.
func fits(size int64, file Stamp) error {
	if size/maxRatio > max(file.Size, smallFile) {
		return fmt.Errorf("%w: %d bytes, at most %d times its file of %d", ErrTooLarge, size, maxRatio, file.Size)
	}
	return nil
}

// Save writes the index of file, complete or not at all. It does nothing if the cache
// keeps none.
func (c Cache) Save(file string, t *trace.Trace) (err error) {
	p, err := c.place(file)
	if errors.Is(err, ErrOff) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return fmt.Errorf("save index: %w", err)
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(p.path), filepath.Base(p.path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	w := bufio.NewWriterSize(tmp, 1<<20)
	if err := Write(w, t, p.stamp); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	st, err := tmp.Stat()
	if err == nil {
		err = fits(st.Size(), p.stamp)
	}
	if err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	if err := os.Rename(tmp.Name(), p.path); err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	return nil
}
