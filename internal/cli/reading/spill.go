package reading

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
)

// spillShare is the part of what is free on the disk that may be taken while others write to it too.
const spillShare = 0.5

// spill is a file with traces as package index writes them, one after the other. Nobody else can open it:
// it has no name, where the system allows that, and is gone with its process.
type spill struct {
	f     *os.File
	name  string // where a file that is open cannot be removed; "" otherwise
	end   int64
	parts map[keptKey]extent
}

// extent is where a trace lies in the file.
type extent struct{ at, size int64 }

func newSpill(dir string) (*spill, error) {
	f, err := os.CreateTemp(dir, ".kinetoscope-*")
	if err != nil {
		return nil, fmt.Errorf("keep traces on disk: %w", err)
	}
	s := &spill{f: f, parts: map[keptKey]extent{}}
	if os.Remove(f.Name()) != nil {
		s.name = f.Name()
	}
	return s, nil
}

func (s *spill) close() error {
	err := s.f.Close()
	if s.name == "" {
		return err
	}
	if e := os.Remove(s.name); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// add appends t, if there is room for it on the disk.
func (s *spill) add(key keptKey, t *trace.Trace) bool {
	free, known := store.Free(filepath.Dir(s.f.Name()))
	if !known || float64(t.Bytes()) > spillShare*float64(free) {
		return false
	}
	w := io.NewOffsetWriter(s.f, s.end)
	if err := index.Write(w, t, index.Stamp{}); err != nil {
		return false
	}
	size, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return false
	}
	s.parts[key] = extent{s.end, size}
	s.end += size
	return true
}

// take returns a trace that was added and forgets it; nil if it was not, or cannot be read.
func (s *spill) take(key keptKey) *trace.Trace {
	e, ok := s.parts[key]
	delete(s.parts, key)
	if !ok {
		return nil
	}
	b := make([]byte, e.size)
	if _, err := s.f.ReadAt(b, e.at); err != nil {
		return nil
	}
	t, err := index.Read(b, index.Stamp{})
	if err != nil {
		return nil
	}
	return t
}
