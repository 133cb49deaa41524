// Package api has the bodies and paths of the server's own endpoints, beside OpenAI's, as types:
// health, profiling, sessions, runs and errors. It does no I/O: package web answers with these
// types and package client reads them. docs/http.md describes every endpoint. The body of a start
// is protocol.StartRequest, a session is session.Status.
package api

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store/catalog"
)

// DefaultAddr is where a server listens unless told: its own host only. Clients look for it
// there.
const DefaultAddr = "127.0.0.1:8000"

// Paths of the endpoints.
const (
	HealthPath   = "/health"
	StartPath    = "/start_profile"
	StopPath     = "/stop_profile"
	SessionsPath = "/v1/sessions"
	EventsPath   = "/v1/events"
	RunsPath     = "/v1/runs"
	// QuestionsPath takes questions about traces that lie on nodes.
	QuestionsPath = "/v1/questions"
)

// Limits of the query "limit" of SessionsPath.
const (
	DefaultSessions = 100
	MaxSessions     = 1000 // each holds every rank's artifacts
)

// RunPath is where the run of session id is.
func RunPath(id string) string { return RunsPath + "/" + url.PathEscape(id) }

// SessionPath is where session id is.
func SessionPath(id string) string { return SessionsPath + "/" + url.PathEscape(id) }

// ArtifactPath is where the file name of the run of session id is downloaded.
func ArtifactPath(id, name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return SessionPath(id) + "/artifacts/" + strings.Join(parts, "/")
}

// HealthStatus says whether a pipeline serves.
type HealthStatus string

// The states of a server. All but HealthOK answer 503.
const (
	HealthOK        HealthStatus = "ok"
	HealthStarting  HealthStatus = "starting"
	HealthUnhealthy HealthStatus = "unhealthy"
	HealthStopping  HealthStatus = "stopping"
)

// Health answers GET HealthPath.
type Health struct {
	Status HealthStatus  `json:"status"`
	Reason string        `json:"reason,omitempty"` // which stage lacks what
	Model  string        `json:"model"`
	Stages []StageHealth `json:"stages"`
}

// StageHealth is one stage of the pipeline and its ranks.
type StageHealth struct {
	ID       int                `json:"id"`
	Name     string             `json:"name"`
	Type     protocol.StageType `json:"type"`
	Output   string             `json:"output,omitempty"` // text, audio or image, if it is an output
	Profiler bool               `json:"profiler"`
	Replicas int                `json:"replicas"`
	Ranks    int                `json:"ranks"` // in a replica
	// Ready counts the ranks that serve, of Replicas times Ranks. A pipeline that does not list its
	// ranks counts them all, since it opens only when all are ready.
	Ready  int          `json:"ready_ranks"`
	Detail []RankHealth `json:"rank_details,omitempty"`
}

// All is how many ranks the stage has when it is complete.
func (h StageHealth) All() int { return h.Replicas * h.Ranks }

// RankHealth is a rank that is present.
type RankHealth struct {
	Replica int             `json:"replica"`
	Rank    int             `json:"rank"`
	Host    string          `json:"host"`
	PID     int             `json:"pid"`
	Engine  protocol.Engine `json:"engine"`
	Ready   bool            `json:"ready"`
}

// StopRequest is the body of POST StopPath. What else other servers' clients send, as vLLM-Omni's do stages,
// has no effect, for a session ends as a whole; the answer names it.
type StopRequest struct {
	Wait *bool `json:"wait,omitempty"` // nil: true, until the artifacts are durable
}

// Session answers StartPath and StopPath. A stop that had nothing to stop answers with the
// state idle and no more.
type Session struct {
	*session.Status
	Message string `json:"message,omitempty"`
}

// SessionList answers GET SessionsPath, newest first.
type SessionList struct {
	SchemaVersion int               `json:"schema_version"`
	Object        string            `json:"object"` // "list"
	Data          []*session.Status `json:"data"`
}

// Sessions is the list of these sessions.
func Sessions(list []*session.Status) SessionList { return SessionList{1, "list", list} }

// ErrorBody is OpenAI's error object and what the server adds to it.
type ErrorBody struct {
	Error   ErrorDetail     `json:"error"`
	Detail  string          `json:"detail,omitempty"`  // the message, as vLLM's servers have it
	Hint    string          `json:"hint,omitempty"`    // what to do
	Session *session.Status `json:"session,omitempty"` // in the way, or that did not start
}

// ErrorDetail is the inner object of ErrorBody. All four members are always there, null
// where they say nothing.
type ErrorDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"` // the field at fault
	Code    *string `json:"code"`
}

// WatchedSessions is how many of the newest sessions EventsPath tells of.
const WatchedSessions = 20

// LiveSession answers GET SessionPath, and is the event "session".
type LiveSession struct {
	*session.Status
	Bounds *session.Bounds `json:"bounds,omitempty"` // of a session that is under way
}

// SessionIDs is the event "sessions": the ids of the newest sessions, newest first. A page drops
// the sessions that are not among them.
type SessionIDs struct {
	IDs   []string `json:"ids"`
	Error string   `json:"error,omitempty"` // why they cannot be listed
}

// Has reports whether id is among them.
func (s SessionIDs) Has(id string) bool { return slices.Contains(s.IDs, id) }

// Load is the event "load": what the pipeline does, recorded or not.
type Load struct {
	At       time.Time   `json:"at"` // the server's clock
	Requests RequestLoad `json:"requests"`
	Stages   []StageLoad `json:"stages"`
}

// RequestLoad is the requests that ended well in the last OverS seconds.
type RequestLoad struct {
	Finished   int                 `json:"finished"`
	InFlight   int                 `json:"in_flight"`
	OverS      float64             `json:"over_s"`
	PerS       float64             `json:"per_s"`
	TokensPerS float64             `json:"tokens_per_s"` // text
	TTFT       *pipeline.Quantiles `json:"ttft,omitempty"`
	FirstAudio *pipeline.Quantiles `json:"first_audio,omitempty"`
}

// StageLoad is what a stage does.
type StageLoad struct {
	Stage  int         `json:"stage"`
	Name   string      `json:"name"`
	Queue  *int        `json:"queue,omitempty"` // requests at the stage; nil: not known
	Phases []PhaseLoad `json:"phases"`          // none: its engine does not tell, or not yet
}

// PhaseLoad is how often a phase of a stage ended in the last OverS seconds, on rank 0 of
// every replica together, and how long it took.
type PhaseLoad struct {
	Phase string  `json:"phase"` // prefill, decode_step, denoise_step …, as in stage_duration_seconds
	Count uint64  `json:"count"`
	OverS float64 `json:"over_s"`
	PerS  float64 `json:"per_s"`
	MeanS float64 `json:"mean_s"`
}

// RunList answers GET RunsPath.
type RunList struct {
	SchemaVersion int    `json:"schema_version"`
	Object        string `json:"object"` // "list"
	catalog.Found
	FreeBytes *int64       `json:"free_bytes,omitempty"` // on the store's disk; nil: not known
	Live      bool         `json:"live"`                 // the server has a pipeline, whose page is at /
	Retention Retention    `json:"retention"`
	Uploads   UploadLimits `json:"uploads"`
}

// Retention is how long runs stay, and which went lately; zero is for ever.
type Retention struct {
	MaxAgeS  float64           `json:"max_age_s"`
	MaxBytes int64             `json:"max_bytes"`
	Removed  []catalog.Removed `json:"removed"` // newest first
}

// UploadLimits bounds what may be brought: one file, and all of them.
type UploadLimits struct {
	MaxBytes    int64 `json:"max_bytes"`
	MaxAllBytes int64 `json:"max_all_bytes"`
	Temporary   bool  `json:"temporary,omitempty"` // they are gone when the server ends
}

// Deleted answers DELETE RunPath.
type Deleted struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted"`
}

// RunsChanged is the event "runs": the revision grows when runs are labelled, deleted or
// brought.
type RunsChanged struct {
	Revision uint64 `json:"revision"`
}
