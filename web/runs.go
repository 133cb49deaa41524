package web

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/catalog"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// runsTable has the paths for the runs of a store.
func (s *Server) runsTable() map[string]methods {
	return map[string]methods{
		"/runs":      {http.MethodGet: s.runsPage},
		api.RunsPath: {http.MethodGet: s.runList, http.MethodPost: s.runUpload},
		"/v1/runs/{id}": {http.MethodGet: s.runGet, http.MethodPatch: s.runLabel,
			http.MethodDelete: s.runDelete},
		"/v1/runs/{id}/archive": {http.MethodGet: s.runArchive},
		api.EventsPath:          {http.MethodGet: s.events},
	}
}

// estimateTable has the path that needs both a pipeline and a store.
func (s *Server) estimateTable() map[string]methods {
	return map[string]methods{"/v1/estimate": {http.MethodPost: s.estimate}}
}

func (s *Server) runsPage(w http.ResponseWriter, _ *http.Request) error {
	return servePage(w, "runs.html")
}

// runQuery reads a query. A parameter that is unknown, or given twice, is an error, because
// ignoring it would answer another question than the one asked.
func runQuery(v url.Values) (q catalog.Query, err error) {
	number := func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0, errors.New("want a whole number")
		}
		return n, nil
	}
	for key, list := range v {
		text := list[len(list)-1]
		if key != "tag" && len(list) > 1 {
			return q, openai.Invalid(key, "%s is given %d times", key, len(list))
		}
		var err error
		switch key {
		case "q":
			q.Text = text
		case "tag":
			q.Tags = list
		case "state":
			q.State = session.State(text)
		case "health":
			q.Health = catalog.Health(text)
		case "kind":
			q.Kind = catalog.Kind(text)
		case "pinned":
			q.Pinned, err = strconv.ParseBool(text)
		case "sort":
			q.Sort = catalog.SortKey(text)
		case "order":
			if q.Up = text == "asc"; !q.Up && text != "desc" {
				err = errors.New("allowed are asc, desc")
			}
		case "offset":
			q.Offset, err = number(text)
		case "limit":
			if q.Limit, err = number(text); err == nil && q.Limit == 0 {
				err = errors.New("want 1 or more")
			}
		default:
			err = errors.New("there is no such parameter")
		}
		if err != nil {
			return q, openai.Invalid(key, "%s %q: %v", key, text, err)
		}
	}
	return q, q.Check()
}

func (s *Server) runList(w http.ResponseWriter, r *http.Request) error {
	q, err := runQuery(r.URL.Query())
	if err != nil {
		return err
	}
	found, err := s.cfg.Catalog.Search(q)
	if err != nil {
		return err
	}
	policy, removed := s.cfg.Catalog.Retention()
	limits := s.cfg.Catalog.Limits()
	body := api.RunList{SchemaVersion: 1, Object: "list", Found: found, Live: s.api != nil,
		Retention: api.Retention{MaxAgeS: policy.MaxAge.Seconds(), MaxBytes: policy.MaxBytes, Removed: removed},
		Uploads: api.UploadLimits{MaxBytes: limits.MaxUpload, MaxAllBytes: limits.MaxUploads,
			Temporary: limits.Temporary},
	}
	if free, ok := store.Free(s.cfg.Catalog.Root()); ok {
		body.FreeBytes = &free
	}
	if body.Retention.Removed == nil {
		body.Retention.Removed = []catalog.Removed{}
	}
	s.writeJSON(w, http.StatusOK, body)
	return nil
}

// runID returns the id in a path; the catalog accepts whole ids only.
func runID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !validID(id) {
		return "", noRun(id)
	}
	return id, nil
}

func noRun(id string) error {
	return notFound(fmt.Sprintf("no finished run %.40q; GET %s lists them", id, api.RunsPath))
}

// runError makes a 404 of an error that says the run does not exist.
func runError(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return noRun(id)
	}
	return err
}

// run is the run of a path.
func (s *Server) run(r *http.Request) (catalog.Item, error) {
	id, err := runID(r)
	if err != nil {
		return catalog.Item{}, err
	}
	it, err := s.cfg.Catalog.Get(id)
	if err != nil {
		return catalog.Item{}, runError(id, err)
	}
	return it, nil
}

func (s *Server) runGet(w http.ResponseWriter, r *http.Request) error {
	it, err := s.run(r)
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, it)
	return nil
}

func (s *Server) runLabel(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	data, err := s.readBody(w, r, MaxProfileBody)
	if err != nil {
		return err
	}
	var p catalog.Patch
	if err := openai.DecodeStrict(data, &p); err != nil {
		return err
	}
	it, err := s.cfg.Catalog.Label(id, p)
	if err != nil {
		return runError(id, err)
	}
	s.watch.now()
	s.writeJSON(w, http.StatusOK, it)
	return nil
}

func (s *Server) runDelete(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	if err := s.cfg.Catalog.Delete(r.Context(), id); err != nil {
		return runError(id, err)
	}
	if s.cfg.View != nil {
		s.cfg.View.Forget(id)
	}
	s.log.Info("run deleted", "run", id, "request_id", requestIDOf(r))
	s.watch.now()
	s.writeJSON(w, http.StatusOK, api.Deleted{ID: id, Deleted: true})
	return nil
}

func (s *Server) runArchive(w http.ResponseWriter, r *http.Request) error {
	it, err := s.run(r)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": it.Name + ".tar"}))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cache-Control", "private, no-store")
	if r.Method == http.MethodHead {
		return nil
	}
	return runError(it.ID, s.cfg.Catalog.Archive(r.Context(), it.ID, w))
}

// runUpload takes the body as the file; the query names it.
func (s *Server) runUpload(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	for key := range v {
		if key != "name" {
			return openai.Invalid(key, "%s: there is no such parameter", key)
		}
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return openai.Invalid("", "send the file itself as the body, not a form: curl --data-binary @FILE")
	}
	body := &slowBody{r.Body, http.NewResponseController(w), s.cfg.bodyTimeout}
	it, err := s.cfg.Catalog.Upload(r.Context(), v.Get("name"), r.ContentLength, body)
	if err != nil {
		return err
	}
	_ = body.rc.SetReadDeadline(time.Time{}) // the body is whole; a writer without deadlines has none to lift
	s.log.Info("trace uploaded", "run", it.ID, "name", it.Upload.Name, "format", it.Upload.Format, "bytes", it.Bytes,
		"request_id", requestIDOf(r))
	s.watch.now()
	s.writeJSON(w, http.StatusCreated, it)
	return nil
}

// slowBody is a body that may take any time in all, as long as each read makes progress.
type slowBody struct {
	io.Reader
	rc    *http.ResponseController
	stall time.Duration
}

// Read gives each read its own deadline.
func (b *slowBody) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(time.Now().Add(b.stall))
	return b.Reader.Read(p)
}

// tellRuns announces that runs have changed, so that pages load them again.
func (w *watcher) tellRuns() {
	if c := w.s.cfg.Catalog; c != nil {
		w.tell("runs", "runs", api.RunsChanged{Revision: c.Revision()})
	}
}
