package protocol

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// Limits of what a rank says of itself. It may be anybody's process: what it says is shown to
// people, logged, and kept with every session.
const (
	MaxStageName = 128     // bytes
	MaxHost      = 256     // bytes: a name of DNS has 253
	MaxSpoolDir  = 4 << 10 // bytes: PATH_MAX of Linux
	MaxReason    = 4 << 10 // bytes
	MaxFileName  = 200     // bytes: a file system has 255 for a name, and the rank's number is added
)

// said is a field of a message and the bytes that it may have.
type said struct {
	name, text string
	most       int
}

// check refuses what is no text on one line, or longer than it may be.
func (f said) check() error {
	switch {
	case len(f.text) > f.most:
		return fmt.Errorf("%s has %d bytes; at most %d are allowed", f.name, len(f.text), f.most)
	case !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, neutral.Command):
		return fmt.Errorf("%s %q is not text on one line", f.name, f.text)
	}
	return nil
}

// Validate refuses a presence whose texts are none: control characters, also those that turn the
// direction of text or end a line, invalid UTF-8, more bytes than their limits.
func (r *RankInfo) Validate() error {
	if err := r.RankID.Validate(); err != nil {
		return err
	}
	for _, f := range []said{
		{"incarnation", r.Incarnation, MaxStageName}, {"stage_name", r.StageName, MaxStageName},
		{"stage_type", string(r.StageType), MaxStageName}, {"engine", string(r.Engine), MaxStageName},
		{"host", r.Host, MaxHost}, {"coll_addr", r.CollAddr, MaxSpoolDir}, {"spool_dir", r.SpoolDir, MaxSpoolDir},
		{"session", r.Session, MaxStageName},
	} {
		if err := f.check(); err != nil {
			return err
		}
	}
	return nil
}

// Hear makes a status that came from a rank fit to be shown and kept: reasons become text, as Heard says. A
// state that is none, other texts that are none, and an artifact whose name is that of no file, but a path,
// are errors; so are ranks of ranks that the rank stands for.
func (s *RankStatus) Hear() error {
	if err := s.hear(); err != nil {
		return err
	}
	for i := range s.Others {
		o := &s.Others[i]
		if err := o.RankID.Validate(); err != nil {
			return fmt.Errorf("it stands for a rank that is none: %w", err)
		}
		if len(o.Others) > 0 {
			return fmt.Errorf("%s stands for others itself", o.Text())
		}
		if err := o.hear(); err != nil {
			return fmt.Errorf("%s: %w", o.Text(), err)
		}
	}
	return nil
}

func (s *RankStatus) hear() error {
	s.Reason = Heard(s.Reason)
	if s.State != "" && !slices.Contains(rankStates, s.State) {
		return fmt.Errorf("state %.40q is none", s.State)
	}
	fields := []said{{"stage_name", s.StageName, MaxStageName}, {"session", s.Session, MaxStageName},
		{"stopped_by", string(s.StoppedBy), MaxStageName}}
	for _, h := range s.Held {
		fields = append(fields, said{"held", h, MaxStageName})
	}
	for i := range s.Artifacts {
		a := &s.Artifacts[i]
		if a.Name == "" || strings.ContainsAny(a.Name, `/\`) || a.Size < 0 || a.Parts < 0 {
			return fmt.Errorf("artifact %.80q is no file", a.Name)
		}
		a.URL = "" // where the hub serves it is the hub's to say
		fields = append(fields, said{"an artifact's name", a.Name, MaxFileName},
			said{"its kind", string(a.Kind), MaxStageName}, said{"its sha256", a.SHA256, MaxStageName},
			said{"its object", a.Object, MaxSpoolDir})
	}
	for _, f := range fields {
		if err := f.check(); err != nil {
			return err
		}
	}
	return nil
}

// Heard makes a reason that a rank gave a text on one line of MaxReason bytes at most. What is
// left out of a longer one is its middle: it begins with what failed and ends with why.
func Heard(reason string) string {
	if len(reason) > MaxReason {
		const gap = " … "
		half := (MaxReason - len(gap)) / 2
		// A half that is cut within a character ends before it, or begins behind it.
		reason = strings.ToValidUTF8(reason[:half], "") + gap + strings.ToValidUTF8(reason[len(reason)-half:], "")
	}
	return neutral.Plain(reason)
}
