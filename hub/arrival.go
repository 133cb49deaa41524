package hub

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
)

// wallStepNoted is how far a wall clock may move against the monotonic one in a recording
// before it is told: time daemons slew by less in any recording's time.
const wallStepNoted = 100 * time.Millisecond

// arrival is what the files of one rank that came home were found to hold. Their bytes
// are those that were sent, which says nothing of whether they were whole then.
type arrival struct {
	lacks   []string // for incomplete files, what is missing
	notes   []string // remarks about complete files
	missing bool     // a file did not come home: the rank still has it
	kept    string   // how far a recording reaches that only breaks off, as a killed process leaves it
}

// bad says what is missing, "" if the files are complete.
func (a *arrival) bad() string { return strings.Join(a.lacks, "; ") }

// noteIfBad is note if something is missing, so that a failed rank's reason has it too.
func (a *arrival) noteIfBad() string {
	if len(a.lacks) == 0 {
		return ""
	}
	return a.note()
}

// note says what should be known of the files.
func (a *arrival) note() string { return strings.Join(a.notes, "; ") }

// examine reads a file that has come home from end to end.
func (a *arrival) examine(run *store.Run, art protocol.Artifact) error {
	f, err := run.Open(art.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case strings.HasSuffix(art.Name, protocol.RecordingExt):
		return a.recording(f)
	case strings.HasSuffix(art.Name, ".json.gz"):
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err == nil {
			var last lastByte
			if _, err = io.Copy(&last, z); err == nil {
				err = last.check()
			}
		}
		a.lack(art, err)
	case strings.HasSuffix(art.Name, ".json"):
		var last lastByte
		_, err := io.Copy(&last, f)
		if err == nil {
			err = last.check()
		}
		a.lack(art, err)
	}
	return nil
}

func (a *arrival) lack(art protocol.Artifact, err error) {
	if err != nil {
		a.lacks = append(a.lacks, fmt.Sprintf("%s is damaged: %v", art.Name, err))
	}
}

func (a *arrival) recording(r io.Reader) error {
	c, err := format.Verify(r)
	if damage := (*format.Error)(nil); errors.As(err, &damage) {
		a.lacks = append(a.lacks, "its recording cannot be read: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	if c.Damage == nil && c.Cut != nil && c.Generations > 0 {
		a.kept = fmt.Sprintf("what it recorded is kept up to +%v",
			time.Duration(c.EndNs-c.Header.Start).Round(100*time.Microsecond))
	}
	if c.Damage == nil && c.Cut != nil && c.Generations == 0 {
		a.kept = "nothing of what it recorded had reached its file"
	}
	if s := c.Lacks(); s != "" {
		a.lacks = append(a.lacks, "its recording is damaged: "+s)
	}
	if step := time.Duration(c.WallStepNs()); step.Abs() > wallStepNoted {
		a.notes = append(a.notes,
			fmt.Sprintf("its wall clock was moved by %v while it recorded; its times go by its monotonic clock",
				step.Round(time.Millisecond)))
	}
	return nil
}

// lastByte keeps the last byte of a JSON text that is not white space.
type lastByte struct {
	b    byte
	size int64
}

// Write takes the next part of the text.
func (l *lastByte) Write(p []byte) (int, error) {
	l.size += int64(len(p))
	if t := bytes.TrimRight(p, " \t\r\n"); len(t) > 0 {
		l.b = t[len(t)-1]
	}
	return len(p), nil
}

func (l *lastByte) check() error {
	if l.b != '}' && l.b != ']' {
		return fmt.Errorf("the JSON text breaks off after %d bytes", l.size)
	}
	return nil
}
