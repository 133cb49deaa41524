package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// statusClientGone is what the log and the metrics say of a request whose
// client went away; nobody receives it. The number is nginx's.
const statusClientGone = 499

// What an error of the API may implement; found with errors.As.
type (
	statuser interface {
		error
		HTTPStatus() int
	}
	hinter interface {
		error
		Hint() string
	}
	coder interface {
		error
		Code() protocol.Code
	}
	runner interface {
		error
		Running() *session.Status
	}
)

// asError returns what a client is told about err.
func asError(err error) *openai.Error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	if mb, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &openai.Error{
			Status: http.StatusRequestEntityTooLarge, Type: openai.TypeInvalidRequest, Code: "body_too_large",
			Message: fmt.Sprintf("body is over %d bytes", mb.Limit),
		}
	}
	e := &openai.Error{
		Status:  http.StatusInternalServerError,
		Type:    openai.TypeServer,
		Code:    "internal_error",
		Message: err.Error(),
	}
	if oe, ok := errors.AsType[*omni.Error](err); ok {
		e.Param = oe.Param
	}
	if fe, ok := errors.AsType[*protocol.FieldError](err); ok {
		return openai.Invalid(fe.Field, "%s", err)
	}
	if st, ok := errors.AsType[statuser](err); ok && st.HTTPStatus() >= 400 && st.HTTPStatus() <= 599 {
		e.Status = st.HTTPStatus()
	}
	switch {
	case e.Status == http.StatusConflict:
		e.Type, e.Code = openai.TypeConflict, "conflict"
		if c, ok := errors.AsType[coder](err); ok {
			e.Code = string(c.Code())
		} else if _, ok := errors.AsType[runner](err); ok {
			e.Code = string(protocol.CodeSessionRunning)
		}
	case e.Status == http.StatusTooManyRequests:
		e.Type, e.Code = openai.TypeRateLimit, "overloaded"
	case e.Status == http.StatusServiceUnavailable:
		e.Code = "unavailable"
	case e.Status < 500:
		e.Type, e.Code = openai.TypeInvalidRequest, "invalid_request"
	}
	return e
}

// fail answers with err, unless the answer has begun or the client is gone.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	rec := recorderOf(w)
	if rec != nil {
		rec.err = err
	}
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		if rec != nil && rec.status == 0 {
			rec.status = statusClientGone
		}
		return
	}
	if rec != nil && rec.status != 0 {
		// The status has been sent. Cutting the connection is the only way left to tell the client
		// that the body is incomplete.
		panic(http.ErrAbortHandler)
	}
	e := asError(err)
	body := errorBody(e, err)
	if ru, ok := errors.AsType[runner](err); ok {
		body.Session = withURLs(ru.Running())
	}
	if ns, ok := errors.AsType[*hub.ErrNotStarted](err); ok {
		body.Session = withURLs(ns.Session) // every rank says why it did not arm
	}
	if r.URL.Path == api.StartPath || r.URL.Path == api.StopPath {
		body.Detail = e.Message
	}
	s.writeJSON(w, e.Status, body)
}

// errorBody is what a client is told of err, for which asError has made e.
func errorBody(e *openai.Error, err error) api.ErrorBody {
	body := api.ErrorBody{Error: api.ErrorDetail(e.Body().Error)}
	if h, ok := errors.AsType[hinter](err); ok {
		body.Hint = h.Hint()
	}
	return body
}

// writeJSON answers with v, which must marshal.
func (s *Server) writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.log.Error("answer does not marshal", "type", fmt.Sprintf("%T", v), "err", err)
		http.Error(
			w,
			`{"error":{"message":"answer does not marshal","type":"server_error","param":null,"code":null}}`,
			http.StatusInternalServerError,
		)
		return
	}
	data = neutral.JSON(data) // names in it are shown in terminals too
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", fmt.Sprint(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // if the client is gone, the answer does not matter
}

// readBody reads at most limit bytes. The middleware has set a deadline for the body. It is lifted
// when the whole body has been read, since it would cancel the request later. It stays for an
// incomplete body, which net/http tries to drain.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // fails only where setting it failed
		return data, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, err
	}
	return nil, &openai.Error{
		Status: http.StatusBadRequest, Type: openai.TypeInvalidRequest, Code: "body_unreadable",
		Message: fmt.Sprintf("read body after %d bytes: %v", len(data), err),
	}
}

// push writes data to the client now.
func (s *Server) push(w http.ResponseWriter, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return fmt.Errorf("flush to client: %w", err)
	}
	return nil
}
