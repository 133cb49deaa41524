package rank

import (
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// maxLeftovers bounds what Leftovers returns; a spool that nobody empties may hold
// the recordings of months.
const maxLeftovers = 64

// Leftovers returns the paths of recordings that earlier processes of this rank left
// in the spool, oldest session first. A hub whose session still runs takes them by
// collect; the others stay, complete up to what their process had written.
func (h *RecorderHandler) Leftovers() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	dirs, err := os.ReadDir(h.spool)
	if err != nil {
		return nil // no spool yet
	}
	var out []string
	for _, d := range dirs {
		if h.captures[d.Name()] != nil || len(out) == maxLeftovers {
			continue
		}
		if path, ok := h.leftover(d.Name()); ok {
			out = append(out, path)
		}
	}
	return out
}

// leftover returns the file that another process of this rank, or this one in a
// session it has forgotten, left for a session.
func (h *RecorderHandler) leftover(session string) (path string, ok bool) {
	if _, err := ulid.ParseStrict(session); err != nil { // it becomes part of a path
		return "", false
	}
	path = filepath.Join(h.spool, session, h.info.FileBase()+protocol.RecordingExt)
	st, err := os.Lstat(path)
	return path, err == nil && st.Mode().IsRegular() && st.Size() > 0
}
