package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// idleBody answers a stop that had nothing to stop.
type idleBody struct {
	State   session.State `json:"state"`
	Message string        `json:"message"`
}

func (s *Server) startProfile(w http.ResponseWriter, r *http.Request) error {
	req, ignored, err := s.startRequest(w, r)
	if err != nil {
		return err
	}
	if err := s.requireProfiler(); err != nil {
		return err
	}
	st, err := s.api.StartProfile(r.Context(), req)
	if err != nil {
		return err
	}
	if st == nil {
		return errors.New("start_profile: the engine gave no session")
	}
	s.last.set(st)
	s.watch.now()
	s.log.Info("session started", "session", st.ID, "state", st.State, "prefix", st.Prefix, "ignored",
		ignored)
	s.writeJSON(w, http.StatusOK, api.Session{Status: withURLs(st), Message: ignored})
	return nil
}

// startRequest reads the body of a start; no body asks for the default. ignored says which members of
// it had no effect, "" if all had.
func (s *Server) startRequest(w http.ResponseWriter, r *http.Request) (req protocol.StartRequest, ignored string,
	err error) {
	data, err := s.readBody(w, r, MaxProfileBody)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return req, "", err
	}
	err = req.UnmarshalJSON(data)
	if c, ok := errors.AsType[*protocol.ConfigError](err); ok {
		return req, "", openai.Within("profiler_config", openai.Explain(c.Value, c.Err))
	}
	if err != nil {
		return req, "", openai.Explain(data, err)
	}
	return req, ignoredText("start", protocol.IgnoredStart(data)), req.Validate()
}

// Bounds of what is said of members without effect: a load generator's request has a dozen.
const (
	maxIgnored     = 16 // names
	maxIgnoredName = 64 // bytes of one
)

// ignoredText says which members of a start or stop had no effect.
func ignoredText(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	more := ""
	if n := len(names) - maxIgnored; n > 0 {
		names, more = names[:maxIgnored], fmt.Sprintf(" and %d more", n)
	}
	shown := make([]string, len(names))
	for i, name := range names {
		if len(name) > maxIgnoredName {
			name = strings.ToValidUTF8(name[:maxIgnoredName], "") + "…"
		}
		shown[i] = neutral.Plain(name)
	}
	return "without effect, for a " + what + " has no such fields: " + strings.Join(shown, ", ") + more
}

// stopRequest reads the body of a stop, as startRequest does that of a start.
func (s *Server) stopRequest(w http.ResponseWriter, r *http.Request) (req api.StopRequest, ignored string, err error) {
	data, err := s.readBody(w, r, MaxProfileBody)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return req, "", err
	}
	err = openai.Decode(data, &req)
	return req, ignoredText("stop", protocol.Ignored(data, stopMembers)), err
}

// stopMembers are the members that a stop takes.
var stopMembers = map[string]bool{"wait": true}

// requireProfiler returns the 404 of a server whose stages have no profiler. vLLM answers so too,
// also to a stop.
func (s *Server) requireProfiler() error {
	var without []string
	for _, st := range s.api.Stages() {
		if st.Profiler {
			return nil
		}
		without = append(without, fmt.Sprintf("%d (%s)", st.ID, st.Name))
	}
	if without == nil {
		return nil // without stages the API says what is missing
	}
	return &hub.ErrNoProfiler{Pipeline: s.api.Model(), Stages: without}
}

func (s *Server) stopProfile(w http.ResponseWriter, r *http.Request) error {
	b, ignored, err := s.stopRequest(w, r)
	if err != nil {
		return err
	}
	if err := s.requireProfiler(); err != nil {
		return err
	}
	running := s.current(r.Context())
	call := s.beginStop(running)
	s.watch.now()
	// Without a known session the stop is over at once, and its answer says so.
	if b.Wait != nil && !*b.Wait && running != nil && !running.State.Terminal() {
		st := *running
		if early(st.State) {
			st.State = session.StateStopping
		}
		s.writeJSON(w, http.StatusOK, api.Session{Status: withURLs(&st),
			Message: joined("stopping; see "+api.SessionPath(st.ID), ignored)})
		return nil
	}
	select {
	case <-call.done:
	case <-r.Context().Done():
		return r.Context().Err() // the client is gone; the stop goes on
	}
	if call.err != nil {
		return call.err
	}
	if call.status == nil || call.status.State == session.StateIdle {
		s.writeJSON(w, http.StatusOK, idleBody{session.StateIdle,
			joined("no session was recording; nothing to stop", ignored)})
		return nil
	}
	s.writeJSON(w, http.StatusOK, api.Session{Status: withURLs(call.status), Message: ignored})
	return nil
}

// joined is a message and, if there is more to say, that.
func joined(message, more string) string {
	if more == "" {
		return message
	}
	return message + "; " + more
}

func early(st session.State) bool {
	return st == session.StateArming || st == session.StateArmed || st == session.StateRecording
}

// stopper holds the stops that go on, one a session at most: that of a session whose artifacts are still
// being made must not stand for that of one which has begun to record meanwhile.
type stopper struct {
	mu    sync.Mutex
	calls map[string]*stopCall // guarded by mu; by the session that was under way, "" if none was
}

// stopCall is a stop under way. Its results are read after done is closed.
type stopCall struct {
	done   chan struct{}
	status *session.Status // nil: nothing was recording
	err    error
}

// beginStop stops the session in a goroutine of the server's, so that neither an impatient client nor
// "wait": false ends the collection of artifacts. Callers that come while a stop of the same session,
// running, goes on share it.
func (s *Server) beginStop(running *session.Status) *stopCall {
	id := ""
	if running != nil && !running.State.Terminal() {
		id = running.ID
	}
	s.stops.mu.Lock()
	defer s.stops.mu.Unlock()
	if call := s.stops.calls[id]; call != nil {
		return call
	}
	call := &stopCall{done: make(chan struct{})}
	if s.stops.calls == nil {
		s.stops.calls = map[string]*stopCall{}
	}
	s.stops.calls[id] = call
	s.work.Go(func() {
		call.status, call.err = s.callStop()
		s.stops.mu.Lock()
		delete(s.stops.calls, id)
		s.stops.mu.Unlock()
		close(call.done)
	})
	return call
}

func (s *Server) callStop() (st *session.Status, err error) {
	defer func() {
		// No middleware is around this goroutine, so it recovers its own panics.
		if v := recover(); v != nil {
			err = fmt.Errorf("stop_profile: panic: %v", v)
			s.log.Error("panic in a stop", "panic", v)
		}
	}()
	st, err = s.api.StopProfile(s.life)
	if e, ok := errors.AsType[statuser](err); ok && e.HTTPStatus() == http.StatusOK {
		return nil, nil // the caller answers with the state idle
	}
	if err != nil {
		s.log.Error("stop failed", "err", err)
		return nil, err
	}
	if st != nil && st.State != session.StateIdle {
		s.last.set(st)
		s.log.Info("session stopped", "session", st.ID, "state", st.State)
	}
	return st, nil
}

// lastSession is the last session that went through this server.
type lastSession struct {
	mu sync.Mutex
	st *session.Status // guarded by mu
}

func (l *lastSession) set(st *session.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st = st
}

func (l *lastSession) get() *session.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st
}

// current returns the session that runs, or the last one; nil if there was none. The engine is
// asked first, then the store, then this server's memory.
func (s *Server) current(ctx context.Context) *session.Status {
	if sr, ok := s.api.(SessionReporter); ok {
		return sr.Session()
	}
	st := s.last.get()
	if st != nil && s.cfg.Sessions != nil && !st.State.Terminal() {
		if now, err := s.cfg.Sessions.Get(ctx, st.ID); err == nil && now != nil {
			return now
		}
	}
	return st
}
