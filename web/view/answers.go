package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/timeline"
)

// SchemaVersion is the version of the JSON answers. It grows when a field changes its
// meaning or goes away; new fields do not change it.
const SchemaVersion = 1

// traceInfo is one trace of a run.
type traceInfo struct {
	Index   int    `json:"index"`
	Label   string `json:"label"`
	Stage   string `json:"stage,omitempty"`
	StageID int    `json:"stage_id"`
	Replica int    `json:"replica"`
	Rank    int    `json:"rank"`
	Host    string `json:"host,omitempty"`
	Format  string `json:"format"`
	Slices  int    `json:"slices"`
	// ClockErrorNs bounds how far the trace's times may lie off the common clock.
	ClockErrorNs int64  `json:"clock_error_ns"`
	Note         string `json:"note,omitempty"` // what is wrong with it
}

// viewBody is the body of GET …/view.
type viewBody struct {
	SchemaVersion int    `json:"schema_version"`
	ID            string `json:"id"`
	State         string `json:"state"` // "reading" or "ready"

	Progress *progressBody `json:"progress,omitempty"` // while it is read

	Title         string             `json:"title,omitempty"`
	Detail        string             `json:"detail,omitempty"`
	StartNs       int64              `json:"start_ns,string,omitempty"` // of time 0; Unix ns if Wall
	Wall          bool               `json:"wall"`
	EndNs         int64              `json:"end_ns"`
	Placement     timeline.Placement `json:"placement,omitempty"`
	UncertaintyNs int64              `json:"uncertainty_ns"`
	Slices        int                `json:"slices"`
	ReadMs        int64              `json:"read_ms"`
	Native        bool               `json:"native"`
	Classes       []string           `json:"classes,omitempty"`
	Traces        []traceInfo        `json:"traces,omitempty"`
	Failed        []Failure          `json:"failed"`
	Left          []Failure          `json:"left"`
	Exports       []exportInfo       `json:"exports,omitempty"` // formats that an area can be written in
	Runs          bool               `json:"runs,omitempty"`    // the server has a page of runs, which takes traces
}

type progressBody struct {
	Files   int   `json:"files"`
	Done    int   `json:"done"`
	Read    int64 `json:"read_bytes"`
	Size    int64 `json:"size_bytes"`
	Events  int64 `json:"events"`
	Elapsed int64 `json:"elapsed_ms"`
}

// readingWait is how long GET …/view waits for a run before it answers with the progress. A run
// that is read faster needs no progress, and a client that polls gets at most one answer per
// readingWait.
const readingWait = 250 * time.Millisecond

func (a *API) view(w http.ResponseWriter, r *http.Request) error {
	run, err := a.get(r.PathValue("id"))
	if err != nil {
		return err
	}
	b := viewBody{SchemaVersion: SchemaVersion, ID: r.PathValue("id"), State: "reading", Failed: []Failure{},
		Left: []Failure{}}
	wait := time.NewTimer(readingWait)
	defer wait.Stop()
	select {
	case <-run.done:
	case <-r.Context().Done():
		return r.Context().Err()
	case <-wait.C:
		p := &progressBody{Elapsed: time.Since(run.began).Milliseconds()}
		if q := run.progress.Load(); q != nil {
			p.Files, p.Done, p.Read, p.Size, p.Events = q.Files, q.Done, q.Read, q.Size, q.Events
		}
		b.Progress = p
		return writeJSON(w, b)
	}
	if run.err != nil {
		return run.err
	}
	tl := run.tl
	b.Runs, b.Exports = a.cfg.Runs, exports()
	b.State, b.Title, b.Detail = "ready", run.opened.Title, run.opened.Detail
	b.StartNs, b.Wall, b.EndNs, b.Placement, b.UncertaintyNs = tl.StartNs, tl.Wall, tl.EndNs, tl.Placement,
		tl.UncertaintyNs
	b.Slices, b.ReadMs, b.Native, b.Classes = tl.Count(), run.took.Milliseconds(), tl.Native(), timeline.Classes()
	b.Failed = append(b.Failed, run.opened.Failed...)
	b.Left = append(b.Left, run.opened.Left...)
	for i, s := range run.opened.Sources {
		m := &s.Trace.Meta
		b.Traces = append(b.Traces, traceInfo{Index: i, Label: s.Label, Stage: m.Stage, StageID: m.StageID,
			Replica: m.Replica, Rank: m.Rank,
			Host: m.Host, Format: m.Format, Slices: s.Trace.Slices.Len(), ClockErrorNs: s.Clock.ErrorNs, Note: s.Note})
	}
	return writeJSON(w, b)
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answer does not marshal: %w", err)
	}
	data = neutral.JSON(data) // names in it are shown in terminals too
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	_, _ = w.Write(append(data, '\n')) // if the client is gone, the answer does not matter
	return nil
}

// list answers with a list, in the form that all lists of the server have.
func list[T any](w http.ResponseWriter, data []T) error {
	if data == nil {
		data = []T{}
	}
	return writeJSON(w, struct {
		SchemaVersion int    `json:"schema_version"`
		Object        string `json:"object"`
		Data          []T    `json:"data"`
	}{SchemaVersion, "list", data})
}

// query reads from, to, px and tracks. Without from and to it is the whole.
func query(r *http.Request, tl *timeline.Timeline, px int) (timeline.Query, error) {
	v := r.URL.Query()
	q := timeline.Query{From: 0, To: tl.EndNs, Px: px}
	var err error
	if q.From, err = integer(v, "from", q.From); err != nil {
		return q, err
	}
	if q.To, err = integer(v, "to", q.To); err != nil {
		return q, err
	}
	n, err := integer(v, "px", int64(px))
	if err != nil {
		return q, err
	}
	if n < 1 || n > timeline.MaxPx {
		return q, refuse(400, "px is %d; allowed are 1 to %d", n, timeline.MaxPx)
	}
	q.Px = int(n)
	if q.To <= q.From {
		return q, refuse(400, "from %d, to %d: to must be greater", q.From, q.To)
	}
	if t := v.Get("tracks"); t != "" {
		q.Tracks = strings.Split(t, ",")
	}
	return q, nil
}

func integer(v url.Values, name string, def int64) (int64, error) {
	t := v.Get(name)
	if t == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(t, 64)
		if ferr != nil || f != f || f > 1<<62 || f < -1<<62 {
			return 0, refuse(400, "%s is %.40q; a whole number is expected", name, t)
		}
		n = int64(f)
	}
	return n, nil
}

// flag reads a switch.
func flag(v url.Values, name string) (bool, error) {
	switch v.Get(name) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	return false, refuse(400, "%s is %.40q; allowed are 0 and 1", name, v.Get(name))
}

// answered gives an error of package timeline its HTTP status.
func answered(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, timeline.ErrNotFound):
		return refuse(404, "%v", err)
	}
	return refuse(400, "%v", err)
}

func packing(r *http.Request) (timeline.Packing, error) {
	switch p := timeline.Packing(r.URL.Query().Get("pack")); p {
	case "":
		return timeline.PackAuto, nil
	case timeline.PackAuto, timeline.PackAll, timeline.PackNone:
		return p, nil
	default:
		return "", refuse(400, "pack is %.40q; allowed are auto, on and off", string(p))
	}
}

func tracks(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	p, err := packing(r)
	if err != nil {
		return err
	}
	return list(w, tl.Tree(p))
}

// all fills in the tracks of a query that names none: all tracks with slices.
func all(q *timeline.Query, tl *timeline.Timeline) {
	if len(q.Tracks) > 0 {
		return
	}
	for _, n := range tl.Tree(timeline.PackNone) {
		if n.Slices > 0 {
			q.Tracks = append(q.Tracks, n.ID)
		}
	}
}

func slicesOf(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1000)
	if err != nil {
		return err
	}
	all(&q, tl)
	data, err := tl.Slices(nil, q)
	if err != nil {
		return answered(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // if the client is gone, the answer does not matter
	return nil
}

func slice(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	d, err := tl.Detail(r.PathValue("slice"))
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, d)
}

func next(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	back, err := flag(r.URL.Query(), "back")
	if err != nil {
		return err
	}
	ref, err := tl.Next(r.PathValue("slice"), back)
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, struct {
		Slice *timeline.Ref `json:"slice"`
	}{ref})
}

func counters(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1000)
	if err != nil {
		return err
	}
	if len(q.Tracks) == 0 {
		for _, n := range tl.Tree(timeline.PackNone) {
			if n.Kind == "counter" {
				q.Tracks = append(q.Tracks, n.ID)
			}
		}
	}
	c, err := tl.Counters(q)
	if err != nil {
		return answered(err)
	}
	return list(w, c)
}

func stepsOf(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1000)
	if err != nil {
		return err
	}
	s, err := tl.Steps(q)
	if err != nil {
		return answered(err)
	}
	return list(w, s)
}

func windows(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return writeJSON(w, tl.Windows())
}

func requests(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return list(w, tl.Requests())
}

func arrows(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1000)
	if err != nil {
		return err
	}
	a, err := tl.Arrows(q)
	if err != nil {
		return answered(err)
	}
	return list(w, a)
}

func findings(w http.ResponseWriter, _ *http.Request, tl *timeline.Timeline) error {
	return list(w, tl.Findings())
}

func search(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	v := r.URL.Query()
	s := timeline.Search{Text: v.Get("q")}
	for name, on := range map[string]*bool{"regex": &s.Regex, "args": &s.Args, "exact": &s.Exact} {
		var err error
		if *on, err = flag(v, name); err != nil {
			return err
		}
	}
	n, err := integer(v, "limit", 0)
	if err != nil {
		return err
	}
	if n < 0 {
		return refuse(400, "limit is %d; a number from 0 is expected", n)
	}
	s.Limit = int(min(n, 1<<20))
	f, err := tl.Search(r.Context(), s)
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, f)
}

func selection(w http.ResponseWriter, r *http.Request, tl *timeline.Timeline) error {
	q, err := query(r, tl, 1)
	if err != nil {
		return err
	}
	all(&q, tl)
	s, err := tl.Select(r.Context(), q)
	if err != nil {
		return answered(err)
	}
	return writeJSON(w, s)
}
