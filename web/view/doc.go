// Package view serves timelines over HTTP: the tracks of a run's traces, what they hold in
// a window, details, search, selections and exports. docs/http.md documents the endpoints;
// the pages at /view/ID and /compare use them and nothing else. Two runs are compared as wholes,
// or a trace of each.
//
// A run is read when it is first asked for, in a goroutine of the API's, while GET
// …/view says how far it is; the other endpoints wait for it. The timelines that were
// asked for last stay in memory, within Config.Memory.
package view

import (
	"context"
	"fmt"
	"net/http"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Opened is a run whose traces are read.
type Opened struct {
	Title   string
	Detail  string // what kind of thing it is, where it lies
	Sources []timeline.Source
	// Failed lists what could not be read; the rest is shown.
	Failed []Failure
	// Left lists, with the reasons, what is not shown because it is not a trace or a copy of
	// another.
	Left  []Failure
	Place timeline.Placement
	Session
}

// Session is what a run knows beside its traces. The zero value is that of files.
type Session struct {
	// CreatedBy is the program and version that made the run; "" for files.
	CreatedBy string
	// AgreedNs is when the ranks of the run were told to begin, Unix ns of the hub's clock; 0:
	// there was no such instant.
	AgreedNs int64
	// Outcomes are the ranks that did not complete.
	Outcomes []pipeline.Outcome
}

// SessionOf is what the manifest of a run says of its session.
func SessionOf(m *store.Manifest) Session {
	return Session{CreatedBy: m.CreatedBy, AgreedNs: m.Session.StartAtNs, Outcomes: convert.Outcomes(&m.Session)}
}

// Failure is a trace that could not be read.
type Failure struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// Library finds runs.
type Library interface {
	// Open reads the traces of the run that id means. It calls progress from one goroutine
	// at a time. What is not there is an error that wraps fs.ErrNotExist.
	Open(ctx context.Context, id string, progress func(open.Progress)) (*Opened, error)
}

// Config is what an API needs. Library is required.
type Config struct {
	Library Library
	// Memory bounds what finished timelines keep; 0 is DefaultMemory. The timeline asked
	// for last is kept whatever it takes.
	Memory int64
	// Runs says that the server has a page of runs, which those of timelines lead to.
	Runs bool
}

// DefaultMemory is a quarter of what a workstation has.
const DefaultMemory = 8 << 30

// Route is one endpoint. Handle writes the answer or returns why there is none, with
// HTTPStatus where it is not the server's fault.
type Route struct {
	Method, Pattern string
	Handle          func(http.ResponseWriter, *http.Request) error
}

// Error is a refusal with its HTTP status.
type Error struct {
	Status  int
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// HTTPStatus is the status to answer with.
func (e *Error) HTTPStatus() int { return e.Status }

func refuse(status int, format string, args ...any) error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

// Routes lists the endpoints.
func (a *API) Routes() []Route {
	get := func(path string, h func(http.ResponseWriter, *http.Request, *timeline.Timeline) error) Route {
		return Route{http.MethodGet, "/v1/runs/{id}/" + path, func(w http.ResponseWriter, r *http.Request) error {
			tl, err := a.timeline(r.Context(), r.PathValue("id"))
			if err != nil {
				return err
			}
			return h(w, r, tl)
		}}
	}
	return []Route{
		{http.MethodGet, "/v1/runs/{id}/view", a.view},
		get("tracks", tracks),
		get("slices", slicesOf),
		get("slices/{slice}", slice),
		get("slices/{slice}/next", next),
		get("counters", counters),
		get("steps", stepsOf),
		get("windows", windows),
		get("requests", requests),
		get("arrows", arrows),
		get("findings", findings),
		get("search", search),
		get("selection", selection),
		get("export", export),
		get("derived", derived),
		get("overview", overview),
		get("steptimes", stepTimes),
		get("ops", ops),
		get("flame", flame),
		get("communication", communication),
		get("memory", memory),
		get("rooflines", rooflines),
		get("criticalpath", criticalPath),
		{http.MethodGet, "/v1/compare", a.compare},
		{http.MethodGet, "/v1/compare/traces", a.compareTraces},
		{http.MethodGet, "/v1/compare/flame", a.compareFlames},
	}
}
