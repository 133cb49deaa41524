package catalog

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// LabelsName is the file with a run's labels, in the run's directory.
const LabelsName = "labels.json"

// Limits of labels: they are read with every listing.
const (
	MaxTags  = 32
	MaxTag   = 64      // bytes of one
	MaxNote  = 4 << 10 // bytes
	maxFile  = 64 << 10
	labelsV1 = 1
)

// Labels are what users noted about a run.
type Labels struct {
	Pinned bool     `json:"pinned"` // the run is not deleted
	Tags   []string `json:"tags"`   // sorted, each once
	Note   string   `json:"note,omitempty"`
}

// Patch changes labels; what is nil stays.
type Patch struct {
	Pinned *bool     `json:"pinned,omitempty"`
	Tags   *[]string `json:"tags,omitempty"`
	Note   *string   `json:"note,omitempty"`
}

// labelsFile is what LabelsName holds.
type labelsFile struct {
	SchemaVersion int `json:"schema_version"`
	Labels
}

// check puts tags in order and says what is wrong with a patch, as a *protocol.FieldError.
func (p *Patch) check() error {
	if p.Tags != nil {
		tags := []string{}
		for _, t := range *p.Tags {
			t = strings.TrimSpace(t)
			if t == "" || len(t) > MaxTag || !plain(t) || strings.ContainsRune(t, ',') {
				return &protocol.FieldError{Field: "tags",
					Text: fmt.Sprintf("tag %.80q: a tag has 1 to %d bytes of text on one line, without commas", t, MaxTag)}
			}
			tags = append(tags, t)
		}
		slices.Sort(tags)
		tags = slices.Compact(tags)
		if len(tags) > MaxTags {
			return &protocol.FieldError{Field: "tags", Text: fmt.Sprintf("%d tags: a run has at most %d", len(tags),
				MaxTags)}
		}
		p.Tags = &tags
	}
	if p.Note != nil && (len(*p.Note) > MaxNote || !plain(strings.ReplaceAll(*p.Note, "\n", " "))) {
		return &protocol.FieldError{Field: "note",
			Text: fmt.Sprintf("note: at most %d bytes of text are allowed, without control characters", MaxNote)}
	}
	return nil
}

// plain reports whether s is text on one line.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, neutral.Command)
}

// readLabels reads the labels of the run in dir. A file that cannot be read counts as no labels,
// because others may have written it.
func readLabels(dir string) Labels {
	none := Labels{Tags: []string{}}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return none
	}
	defer root.Close()
	f, err := plainfile.Regular(root, LabelsName)
	if err != nil {
		return none
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		return none
	}
	return parseLabels(data)
}

// parseLabels reads LabelsName; labels that break the limits are left out.
func parseLabels(data []byte) Labels {
	var l labelsFile
	if json.Unmarshal(data, &l) != nil || l.SchemaVersion < 1 {
		return Labels{Tags: []string{}}
	}
	p := Patch{Tags: &l.Tags}
	if p.check() != nil {
		p.Tags = &[]string{}
	}
	l.Tags = *p.Tags
	if (&Patch{Note: &l.Note}).check() != nil {
		l.Note = ""
	}
	return l.Labels
}

// Label changes the labels of a finished run and returns the changed run. The error is a
// *protocol.FieldError, or wraps store.ErrNotFound.
func (c *Catalog) Label(id string, p Patch) (Item, error) {
	if err := p.check(); err != nil {
		return Item{}, err
	}
	c.write.Lock()
	defer c.write.Unlock()
	info, err := c.find(id)
	if err != nil {
		return Item{}, err
	}
	l := readLabels(info.Dir)
	if p.Pinned != nil {
		l.Pinned = *p.Pinned
	}
	if p.Tags != nil {
		l.Tags = *p.Tags
	}
	if p.Note != nil {
		l.Note = *p.Note
	}
	if err := writeLabels(info.Dir, l); err != nil {
		return Item{}, fmt.Errorf("label run %s: %w", id, err)
	}
	c.mu.Lock()
	delete(c.cache, info.Dir) // the file's time may not show the change: it may be within one tick
	c.revision++
	c.mu.Unlock()
	return c.item(info), nil
}

// writeLabels replaces the file as a whole or not at all.
func writeLabels(dir string, l Labels) (err error) {
	data, err := json.MarshalIndent(labelsFile{labelsV1, l}, "", "  ")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	temp := ".tmp-labels-" + rand.Text()
	f, err := root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(temp, LabelsName)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}
