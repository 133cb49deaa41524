package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/vllmomni"
)

const (
	// maxAppended bounds what is copied of a server's own lines: hours of a busy one's events.
	maxAppended = 256 << 20
	// appendedName is what the lines are called among a rank's files.
	appendedName = "events.jsonl"
)

// appendedFile copies the lines that a vLLM-Omni appended during the session to its concurrency trace, if
// that lies in the directory of its files. The server goes on writing to that file, which also has what
// was before, so that only the session's part is taken, and the file stays. ok is false if there is none.
func (c *capture) appendedFile() (f rank.File, ok bool, err error) {
	if c.d.to.Engine != protocol.EngineVLLMOmni || c.d.to.Part != 0 {
		return f, false, nil
	}
	names, err := filepath.Glob(filepath.Join(c.dir, "*.jsonl"))
	if err != nil {
		return f, false, err
	}
	slices.Sort(names)
	for _, path := range names {
		from := c.before[filepath.Base(path)].size
		lines, err := readAppended(path, from)
		if err != nil {
			return f, false, fmt.Errorf("concurrency trace: %w", err)
		}
		if !vllmomni.Sniff(lines) {
			continue
		}
		dir, err := os.MkdirTemp("", "kinetoscope-events-")
		if err != nil {
			return f, false, fmt.Errorf("concurrency trace: %w", err)
		}
		copied := filepath.Join(dir, appendedName)
		c.mu.Lock()
		c.appended = copied
		c.mu.Unlock()
		if err := os.WriteFile(copied, lines, 0o600); err != nil {
			return f, false, fmt.Errorf("concurrency trace: %w", err)
		}
		return rank.File{Name: appendedName, Kind: protocol.KindEvents, Path: copied}, true, nil
	}
	return f, false, nil
}

// readAppended reads the whole lines of a plain file from a place on.
func readAppended(path string, from int64) ([]byte, error) {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() <= from {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(bufio.NewReader(io.LimitReader(f, maxAppended)))
	return b[:bytes.LastIndexByte(b, '\n')+1], err
}

// removeAppended removes the copy, which is ours and not the server's.
func (c *capture) removeAppended() error {
	c.mu.Lock()
	path := c.appended
	c.mu.Unlock()
	if path == "" {
		return nil
	}
	return os.RemoveAll(filepath.Dir(path))
}
