package protocol

import (
	"fmt"
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
)

// Validate refuses a presence whose texts are none: control characters, also those that turn the
// direction of text or end a line, invalid UTF-8, more bytes than their limits.
func (r *RankInfo) Validate() error {
	if err := r.RankID.Validate(); err != nil {
		return err
	}
	for _, f := range []struct {
		name, text string
		most       int
	}{
		{"incarnation", r.Incarnation, MaxStageName}, {"stage_name", r.StageName, MaxStageName},
		{"stage_type", string(r.StageType), MaxStageName}, {"engine", string(r.Engine), MaxStageName},
		{"host", r.Host, MaxHost}, {"coll_addr", r.CollAddr, MaxSpoolDir}, {"spool_dir", r.SpoolDir, MaxSpoolDir},
		{"session", r.Session, MaxStageName},
	} {
		switch {
		case len(f.text) > f.most:
			return fmt.Errorf("%s has %d bytes; at most %d are allowed", f.name, len(f.text), f.most)
		case !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, neutral.Command):
			return fmt.Errorf("%s %q is not text on one line", f.name, f.text)
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
