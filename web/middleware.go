package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler/httptrace"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// recorder notes the status and size of an answer.
type recorder struct {
	http.ResponseWriter
	stall  time.Duration // how long one piece may wait for the client
	status int           // 0: nothing sent yet
	bytes  int64
	err    error // that the endpoint returned
}

// writePiece is how much is written under one deadline: a slow but living
// client takes it within StallTimeout at 4.3 KiB/s.
const writePiece = 256 << 10

// Unwrap lets http.ResponseController reach the connection.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// WriteHeader notes status.
func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write counts bytes and gives each piece a deadline.
func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	rc := http.NewResponseController(rec.ResponseWriter)
	done := 0
	for {
		_ = rc.SetWriteDeadline(time.Now().Add(rec.stall))
		n, err := rec.ResponseWriter.Write(p[done:min(len(p), done+writePiece)])
		done += n
		rec.bytes += int64(n)
		if err != nil || done == len(p) {
			return done, err
		}
	}
}

func recorderOf(w http.ResponseWriter) *recorder {
	rec, _ := w.(*recorder)
	return rec
}

// middleware wraps mux in, from the outside: request id, log and metrics,
// panics, host and origin.
func (s *Server) middleware(mux *http.ServeMux) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := requestIdentOf(r)
		w.Header().Set(HeaderRequestID, id.id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		r = carryTrace(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
		rec := &recorder{ResponseWriter: w, stall: s.cfg.stallTimeout}
		if r.ContentLength != 0 {
			// A writer without deadlines (httptest's recorder) has no slow client.
			_ = http.NewResponseController(w).SetReadDeadline(start.Add(s.cfg.bodyTimeout))
		}
		s.metrics.inFlight.Inc()
		defer func() {
			v := recover()
			s.metrics.inFlight.Dec()
			s.finish(rec, r, start, v)
		}()
		if err := s.guard(origin, r); err != nil {
			s.fail(rec, r, err)
			return
		}
		mux.ServeHTTP(rec, r)
	})
}

// finish turns the panic v of an endpoint into an answer, counts and logs the request. It panics
// again with http.ErrAbortHandler where the connection must be cut.
func (s *Server) finish(rec *recorder, r *http.Request, start time.Time, v any) {
	abort := v == http.ErrAbortHandler //nolint:errorlint // net/http compares it so
	if v != nil && !abort {
		s.log.Error("panic in a request", "method", r.Method, "path", r.URL.Path,
			"request_id", requestIDOf(r), "panic", v, "stack", string(debug.Stack()))
		if abort = rec.status != 0; !abort {
			s.fail(rec, r, &openai.Error{
				Status: http.StatusInternalServerError, Type: openai.TypeServer, Code: "panic",
				Message: "internal error; the log has it under request id " + requestIDOf(r),
			})
		}
	}
	status := rec.status
	if status == 0 {
		status = http.StatusOK // net/http sends it for an endpoint that wrote nothing
	}
	s.metrics.observe(r, status, time.Since(start))
	s.logRequest(rec, r, status, start)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) logRequest(rec *recorder, r *http.Request, status int, start time.Time) {
	level := slog.LevelInfo
	switch {
	case status == http.StatusServiceUnavailable:
		// A refusal because of overload is normal, comes by the hundred, and is counted in the
		// metrics.
	case status >= 500:
		level = slog.LevelError
	case r.URL.Path == "/health" || r.URL.Path == "/metrics":
		level = slog.LevelDebug // polled routes, which would flood the log
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status),
		slog.Int64("bytes", rec.bytes), slog.Duration("dur", time.Since(start)),
		slog.String("request_id", requestIDOf(r)), slog.String("remote", r.RemoteAddr),
	}
	if p, ok := httptrace.TraceParentOf(r.Context()); ok {
		attrs = append(attrs, slog.String("trace_id", p.TraceHex()))
	}
	if rec.err != nil {
		attrs = append(attrs, slog.String("err", rec.err.Error()))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// guard refuses what a web page of another site may have sent.
func (s *Server) guard(origin *http.CrossOriginProtection, r *http.Request) error {
	if !s.hostAllowed(r.Host) {
		return forbidden("bad_host", fmt.Sprintf(
			"host %q is refused: reach this server as localhost, by its address or its host's name; kinetoscope serve --allow-host allows other names", r.Host))
	}
	if forPerfetto(r) {
		return nil
	}
	if err := origin.Check(r); err != nil {
		return forbidden("bad_origin", fmt.Sprintf("request from origin %q is refused: %v", r.Header.Get("Origin"),
			err))
	}
	// Safe methods change nothing, but a page of a rebound name must not read either.
	if o := r.Header.Get("Origin"); o != "" {
		_, host, ok := strings.Cut(o, "://")
		if !ok || !s.hostAllowed(host) {
			return forbidden("bad_origin", fmt.Sprintf("request from origin %q is refused", o))
		}
	}
	return nil
}

func forbidden(code, msg string) error {
	return &openai.Error{Status: http.StatusForbidden, Type: openai.TypeForbidden, Code: code, Message: msg}
}

// hostAllowed reports whether host, with or without port, is how this server is reached:
// see Config.AllowedHosts.
func (s *Server) hostAllowed(host string) bool {
	name := hostName(host)
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(s.cfg.AllowedHosts, func(h string) bool {
		return h == "*" || strings.EqualFold(h, name)
	}) {
		return true
	}
	if !s.loopback.Load() && s.hostname != "" && strings.EqualFold(name, s.hostname) {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && (ip.IsLoopback() || !s.loopback.Load())
}

func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// IsLoopback reports whether only this host reaches addr, HOST or HOST:PORT. It is false for names
// other than localhost, which are not looked up.
func IsLoopback(addr string) bool {
	name := hostName(addr)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// clientGone reports whether err was caused by the client closing its connection.
func clientGone(r *http.Request, err error) bool {
	return r.Context().Err() != nil && errors.Is(err, context.Canceled)
}
