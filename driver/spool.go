package driver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// maxLeftovers bounds the result of Leftovers: a spool that is never emptied may hold the
// recordings of months.
const maxLeftovers = 64

// Spool is where the files of a rank lie until they are collected:
// <Dir>/<session>/<Base>.<ending>, as docs/protocol.md says, so that a hub on the same
// host finds them there when the process is dead.
type Spool struct {
	Dir  string
	Base string // protocol.RankID.FileBase of the rank
}

// Create makes a new file for a session and the directory above it.
func (s Spool) Create(session, ext string) (*os.File, error) {
	dir := filepath.Join(s.Dir, session)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, s.Base+ext), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// Remove removes a file that Create made, and the directory with its last file. That it
// is gone already is not an error.
func (s Spool) Remove(path string) error {
	err := os.Remove(path)
	_ = os.Remove(filepath.Dir(path)) // fails while other ranks' files are in it
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Leftovers returns the paths of files that earlier processes of this rank left, oldest
// session first. A hub whose session still runs takes them by collect; the others stay,
// complete up to what their process had written.
func (s Spool) Leftovers() []string {
	dirs, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil // no spool yet
	}
	var out []string
	for _, d := range dirs {
		for _, f := range s.Leftover(d.Name()) {
			if len(out) == maxLeftovers {
				return out
			}
			out = append(out, f.Path)
		}
	}
	return out
}

// Leftover returns the files that are there for a session, without those that are empty.
func (s Spool) Leftover(session string) []rank.File {
	if _, err := ulid.ParseStrict(session); err != nil { // it becomes part of a path
		return nil
	}
	dir := filepath.Join(s.Dir, session)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []rank.File
	for _, e := range entries {
		ext, ok := strings.CutPrefix(e.Name(), s.Base+".")
		if !ok {
			continue
		}
		if st, err := e.Info(); err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
			continue
		}
		f := rank.File{Name: ext, Kind: protocol.KindTrace, Path: filepath.Join(dir, e.Name())}
		if "."+ext == protocol.RecordingExt {
			f.Name, f.Kind = "recording"+protocol.RecordingExt, protocol.KindRecording
		}
		out = append(out, f)
	}
	return out
}

// DiscardLeftover removes what Leftover returns.
func (s Spool) DiscardLeftover(session string) error {
	var err error
	for _, f := range s.Leftover(session) {
		err = errors.Join(err, s.Remove(f.Path))
	}
	return err
}

var _ interface {
	Leftover(string) []rank.File
	DiscardLeftover(string) error
} = Spool{}
