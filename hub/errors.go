package hub

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Errors of this package say with HTTPStatus how a server answers them, and some
// with Hint what to do.

// ErrBusy says that a session holds the recorders.
type ErrBusy struct{ Session *session.Status }

func (e *ErrBusy) Error() string {
	return fmt.Sprintf("session %s is %s: stop it first", e.Session.ID, e.Session.State)
}

// Running is the session in the way.
func (e *ErrBusy) Running() *session.Status { return e.Session }

// HTTPStatus is 409.
func (e *ErrBusy) HTTPStatus() int { return http.StatusConflict }

// Code is session_running.
func (e *ErrBusy) Code() protocol.Code { return protocol.CodeSessionRunning }

// ErrNoProfiler says that chosen stages have no profiler configured.
type ErrNoProfiler struct {
	Pipeline string
	Stages   []string // those without, "0 (thinker)"
}

func (e *ErrNoProfiler) Error() string {
	return fmt.Sprintf("pipeline %s: no profiler is configured for stage %s", e.Pipeline, strings.Join(e.Stages, ", "))
}

// Hint says what to do about it.
func (e *ErrNoProfiler) Hint() string {
	return `give a stage a profiler: profiler_config {"profiler": "torch"} in the deployment file, or --profiler-config JSON`
}

// HTTPStatus is 404.
func (e *ErrNoProfiler) HTTPStatus() int { return http.StatusNotFound }

// ErrNoRanks says that a pipeline has no live rank.
type ErrNoRanks struct{ Pipeline string }

func (e *ErrNoRanks) Error() string { return fmt.Sprintf("pipeline %q has no live rank", e.Pipeline) }

// HTTPStatus is 503.
func (e *ErrNoRanks) HTTPStatus() int { return http.StatusServiceUnavailable }

// ErrBacklog says that too many sessions wait for their artifacts.
type ErrBacklog struct{ Unfinished int }

func (e *ErrBacklog) Error() string {
	return fmt.Sprintf("%d sessions are still being collected and converted; try again when one has ended",
		e.Unfinished)
}

// HTTPStatus is 503.
func (e *ErrBacklog) HTTPStatus() int { return http.StatusServiceUnavailable }

// ErrNotStarted says that a session failed before it recorded; nothing was left on.
type ErrNotStarted struct{ Session *session.Status }

func (e *ErrNotStarted) Error() string {
	return fmt.Sprintf("session %s did not start: %s", e.Session.ID, e.Session.Error)
}

// HTTPStatus is 503: a rank or its server is gone, or does not record now. This server is well,
// and the same request may succeed when the rank is back.
func (e *ErrNotStarted) HTTPStatus() int { return http.StatusServiceUnavailable }

// Hint says what to do about it.
func (e *ErrNotStarted) Hint() string {
	return "the session has each rank's state and reason; nothing was left on. Start again when the rank is back, " +
		"or with allow_partial to go on without it"
}

// ErrUnknownSession says that there is no session of that id.
type ErrUnknownSession struct{ ID string }

func (e *ErrUnknownSession) Error() string { return fmt.Sprintf("there is no session %q", e.ID) }

// HTTPStatus is 404.
func (e *ErrUnknownSession) HTTPStatus() int { return http.StatusNotFound }

// RankError is why a rank did not answer as asked: its State is failed, lost or timed_out.
type RankError struct {
	Rank   protocol.RankID
	Method protocol.Method
	State  protocol.RankState
	Reason string
}

func (e *RankError) Error() string {
	return fmt.Sprintf("%s of %s: %s: %s", e.Method, e.Rank.Text(), e.State, e.Reason)
}

// ErrNameTaken says that another hub of this name lives on the NATS cluster.
type ErrNameTaken struct {
	Name string
	Host string
	PID  int
}

func (e *ErrNameTaken) Error() string {
	return fmt.Sprintf("%q is served on this NATS cluster already, by process %d on %s: stop that or choose another name", e.Name, e.PID, e.Host)
}

// HTTPStatus is 409.
func (e *ErrNameTaken) HTTPStatus() int { return http.StatusConflict }

// Code is name_taken.
func (e *ErrNameTaken) Code() protocol.Code { return protocol.CodeNameTaken }
