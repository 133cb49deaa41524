package index

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// path returns where the index of file lies, and the file's stamp.
func (c Cache) path(file string) (string, Stamp, error) {
	if !c.Beside && c.Dir == "" {
		return "", Stamp{}, ErrOff
	}
	st, err := os.Stat(file)
	if err != nil {
		return "", Stamp{}, fmt.Errorf("index: %w", err)
	}
	if st.Size() < c.MinSize {
		return "", Stamp{}, ErrOff
	}
	stamp := Stamp{Size: st.Size(), ModTime: st.ModTime().UnixNano()}
	if c.Dir == "" {
		return file + Suffix, stamp, nil
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", Stamp{}, fmt.Errorf("index: %w", err)
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:16])+Suffix), stamp, nil
}

// Load returns the trace of file from its index. The error is ErrOff, ErrStale,
// ErrCorrupt or of the file system; then read the file itself.
func (c Cache) Load(file string) (*trace.Trace, error) {
	path, stamp, err := c.path(file)
	if err != nil {
		return nil, err
	}
	b, err := readAligned(path)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	t, err := Read(b, stamp)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.Meta.File = file
	return t, nil
}

// readAligned reads a file into memory that begins at a multiple of 8 bytes.
func readAligned(path string) ([]byte, error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	words := make([]uint64, st.Size()/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)[:st.Size()]
	_, err = io.ReadFull(f, b)
	return b, err
}

// Save writes the index of file, complete or not at all. It does nothing if the cache
// keeps none.
func (c Cache) Save(file string, t *trace.Trace) (err error) {
	path, stamp, err := c.path(file)
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
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
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
	if err := Write(w, t, stamp); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("save index: %w", err)
	}
	return nil
}
