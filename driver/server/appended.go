package server

import (
	"bytes"
	"fmt"
	"io"
	"maps"
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

// appendedFile returns the lines that a vLLM-Omni appended during the session to its concurrency trace,
// if that lies in the directory of its files. The server goes on writing to that file, which also has what
// was before, so that only the session's part is handed over, and the file stays. ok is false if there is
// none.
func (c *capture) appendedFile() (f rank.File, ok bool, err error) {
	if c.d.to.Engine != protocol.EngineVLLMOmni || c.d.to.Part != 0 {
		return f, false, nil
	}
	for _, name := range slices.Sorted(maps.Keys(c.folder.list(false))) {
		if filepath.Ext(name) != ".jsonl" {
			continue
		}
		from := c.before[name].size
		lines, err := c.readAppended(name, from)
		if err != nil {
			return f, false, fmt.Errorf("concurrency trace: %w", err)
		}
		if !vllmomni.Sniff(lines) {
			continue
		}
		size := int64(len(lines))
		return rank.File{Name: appendedName, Kind: protocol.KindEvents, Path: filepath.Join(c.dir, name),
			Content: func() (*io.SectionReader, io.Closer, error) {
				f, _, err := c.folder.open(name)
				if err != nil {
					return nil, nil, err
				}
				return io.NewSectionReader(f, from, size), f, nil
			}}, true, nil
	}
	return f, false, nil
}

// readAppended reads the whole lines of a plain file from a place on.
func (c *capture) readAppended(name string, from int64) ([]byte, error) {
	f, size, err := c.folder.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, from, min(max(size-from, 0), maxAppended)))
	return b[:bytes.LastIndexByte(b, '\n')+1], err
}
