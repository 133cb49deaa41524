package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// Sessions gives access to sessions, those that run and those in the store. For a session that does
// not exist, the error wraps fs.ErrNotExist.
type Sessions interface {
	// List returns at most limit sessions, newest first.
	List(ctx context.Context, limit int) ([]session.Status, error)
	// Get returns the session id.
	Get(ctx context.Context, id string) (*session.Status, error)
	// OpenArtifact opens the file name of the run of session id. The server
	// has checked that name is a clean relative path; the caller closes.
	OpenArtifact(ctx context.Context, id, name string) (*ArtifactFile, error)
}

// ArtifactFile is an open artifact.
type ArtifactFile struct {
	io.ReadSeekCloser
	ModTime time.Time // zero: not said
	SHA256  string    // hex; "": not known. It becomes the ETag
}

// OpenFile opens the regular file name under the run's directory dir. No name
// and no symbolic link leads out of dir.
func OpenFile(dir, name string) (*ArtifactFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open run: %w", err)
	}
	defer root.Close()
	f, err := plainfile.Regular(root, name)
	if errors.Is(err, plainfile.ErrKind) {
		err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return &ArtifactFile{ReadSeekCloser: f, ModTime: info.ModTime()}, nil
}

// maxSessionID bounds the id in a path.
const maxSessionID = 128

func (s *Server) sessionList(w http.ResponseWriter, r *http.Request) error {
	limit := api.DefaultSessions
	if q := r.URL.Query().Get("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > api.MaxSessions {
			return openai.Invalid("limit", "limit is %q; allowed are 1 to %d", q, api.MaxSessions)
		}
		limit = n
	}
	body := api.Sessions([]*session.Status{})
	if s.cfg.Sessions != nil {
		list, err := s.cfg.Sessions.List(r.Context(), limit)
		if err != nil {
			return fmt.Errorf("list sessions: %w", err)
		}
		for i := range list[:min(limit, len(list))] {
			body.Data = append(body.Data, withURLs(&list[i]))
		}
	}
	s.writeJSON(w, http.StatusOK, body)
	return nil
}

func (s *Server) sessionGet(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if s.cfg.Sessions == nil || !validID(id) {
		return noSession(id)
	}
	st, err := s.cfg.Sessions.Get(r.Context(), id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st == nil {
		return noSession(id)
	}
	if err != nil {
		return fmt.Errorf("session %s: %w", id, err)
	}
	s.writeJSON(w, http.StatusOK, s.live(r.Context(), st))
	return nil
}

func noSession(id string) error {
	return notFound(fmt.Sprintf("no session %q; GET /v1/sessions lists them", id))
}

func validID(id string) bool {
	return id != "" && len(id) <= maxSessionID && !strings.ContainsFunc(id, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_')
	})
}

// validName reports whether name is a clean relative path on every system.
func validName(name string) bool {
	return name != "." && fs.ValidPath(name) && !strings.ContainsAny(name, "\\:\x00")
}

func (s *Server) artifact(w http.ResponseWriter, r *http.Request) error {
	id, name := r.PathValue("id"), r.PathValue("name")
	missing := notFound(fmt.Sprintf("no artifact %q in session %q; GET /v1/sessions/%s lists them", name, id, id))
	if s.cfg.Sessions == nil || !validID(id) || !validName(name) {
		return missing
	}
	f, err := s.cfg.Sessions.OpenArtifact(r.Context(), id, name)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("artifact %s of session %s: %w", name, id, err)
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", contentType(name))
	// Downloads, not pages: a file of a run must not act in this origin. There
	// is no Content-Encoding, so .gz arrives as the file that it is.
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cache-Control", "private, no-cache")
	if f.SHA256 != "" {
		h.Set("ETag", `"`+f.SHA256+`"`)
	}
	http.ServeContent(w, r, "", f.ModTime, f)
	return nil
}

// contentType is told by the name alone: sniffing would call a trace text.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".gz":
		return "application/gzip"
	case ".json":
		return "application/json"
	case ".txt", ".folded", ".md":
		return "text/plain; charset=utf-8"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".xlsx":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case ".png":
		return "image/png"
	case ".svg":
		return "image/svg+xml"
	case ".html":
		return "text/html; charset=utf-8"
	case ".wav":
		return "audio/wav"
	}
	return "application/octet-stream"
}

// withURLs returns a copy of st in which every artifact says where it is
// downloaded; st itself belongs to its owner. A nil st stays nil.
func withURLs(st *session.Status) *session.Status {
	if st == nil {
		return nil
	}
	out := *st
	out.Artifacts = artifactURLs(st.ID, st.Artifacts)
	out.Stages = slices.Clone(st.Stages)
	if out.Stages == nil {
		out.Stages = []session.StageStatus{}
	}
	for i := range out.Stages {
		ranks := slices.Clone(out.Stages[i].Ranks)
		for j := range ranks {
			ranks[j].Artifacts = artifactURLs(st.ID, ranks[j].Artifacts)
		}
		out.Stages[i].Ranks = ranks
	}
	return &out
}

func artifactURLs(id string, in []protocol.Artifact) []protocol.Artifact {
	out := slices.Clone(in)
	for i := range out {
		if out[i].URL == "" && validName(out[i].Name) {
			out[i].URL = api.ArtifactPath(id, out[i].Name)
		}
	}
	return out
}
