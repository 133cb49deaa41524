package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// noProfilerHint is the hint of the 404.
const noProfilerHint = `give a stage a profiler: profiler_config {"profiler": "torch", "torch_profiler_dir": DIR} in the deployment file, or --profiler-config JSON`

// startBody is the body of POST /start_profile; every member is optional.
type startBody struct {
	Stages          []int          `json:"stages"`
	Prefix          string         `json:"profile_prefix"`
	DelayIterations *int           `json:"delay_iterations"`
	MaxIterations   *int           `json:"max_iterations"`
	MaxDurationS    *float64       `json:"max_duration_s"`
	LastS           *float64       `json:"last_s"`
	AllowPartial    bool           `json:"allow_partial"`
	ProfilerConfig  jsontext.Value `json:"profiler_config"`
}

// stopBody is the body of POST /stop_profile. Stages are read for the sake of
// vLLM-Omni's clients: a session ends as a whole.
type stopBody struct {
	Stages []int `json:"stages"`
	Wait   *bool `json:"wait"`
}

// sessionBody is a session as the profile endpoints answer it.
type sessionBody struct {
	*session.Status
	Message string `json:"message,omitempty"`
}

// idleBody answers a stop that had nothing to stop.
type idleBody struct {
	State   session.State `json:"state"`
	Message string        `json:"message"`
}

func (s *Server) startProfile(w http.ResponseWriter, r *http.Request) error {
	var b startBody
	if err := s.optionalBody(w, r, &b); err != nil {
		return err
	}
	if err := s.requireProfiler(); err != nil {
		return err
	}
	o, err := b.options(s.api.Stages())
	if err != nil {
		return err
	}
	st, err := s.api.StartProfile(r.Context(), o)
	if err != nil {
		return err
	}
	if st == nil {
		return errors.New("start_profile: the engine gave no session")
	}
	s.last.set(st)
	s.log.Info("session started", "session", st.ID, "state", st.State, "prefix", st.Prefix)
	s.writeJSON(w, http.StatusOK, sessionBody{Status: withURLs(st)})
	return nil
}

// optionalBody decodes the body into v; no body leaves v alone.
func (s *Server) optionalBody(w http.ResponseWriter, r *http.Request, v any) error {
	data, err := s.readBody(w, r, MaxProfileBody)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return err
	}
	return openai.Decode(data, v)
}

// requireProfiler returns the 404 of servers whose stages have no profiler.
func (s *Server) requireProfiler() error {
	stages := s.api.Stages()
	if len(stages) == 0 || slices.ContainsFunc(stages, func(st omni.StageInfo) bool { return st.Profiler }) {
		return nil // without stages the API says what is missing
	}
	return noProfilerError{}
}

type noProfilerError struct{}

// Error says what is missing.
func (noProfilerError) Error() string { return "no stage has a profiler configured" }

// HTTPStatus is 404, as vLLM answers without a profiler.
func (noProfilerError) HTTPStatus() int { return http.StatusNotFound }

// Hint says what to do.
func (noProfilerError) Hint() string { return noProfilerHint }

// options checks b against stages. The engine checks again, as it does for
// callers in Go; here the field at fault is named.
func (b *startBody) options(stages []omni.StageInfo) (omni.ProfileOptions, error) {
	o := omni.ProfileOptions{
		Prefix: b.Prefix, DelayIterations: b.DelayIterations, MaxIterations: b.MaxIterations, AllowPartial: b.AllowPartial,
	}
	if err := checkPrefix(b.Prefix); err != nil {
		return o, err
	}
	var err error
	if o.Stages, err = checkStages(b.Stages, stages); err != nil {
		return o, err
	}
	for _, n := range []struct {
		name  string
		value *int
	}{{"delay_iterations", b.DelayIterations}, {"max_iterations", b.MaxIterations}} {
		if n.value != nil && *n.value < 0 {
			return o, openai.Invalid(n.name, "%s is %d; it must not be negative", n.name, *n.value)
		}
	}
	for _, f := range []struct {
		name  string
		value *float64
		to    *time.Duration
	}{{"max_duration_s", b.MaxDurationS, &o.MaxDuration}, {"last_s", b.LastS, &o.Last}} {
		const longest = 24 * 60 * 60 // a day; the watchdog is there to be reached
		if d := f.value; d != nil {
			if *d <= 0 || *d > longest {
				return o, openai.Invalid(f.name, "%s is %g; it must be over 0 and at most %d", f.name, *d, longest)
			}
			*f.to = time.Duration(*d * float64(time.Second))
		}
	}
	o.Config, err = parseProfilerConfig(b.ProfilerConfig)
	return o, err
}

func checkPrefix(p string) error {
	const name = "profile_prefix"
	switch {
	case len(p) > protocol.MaxPrefix:
		return openai.Invalid(name, "profile_prefix has %d bytes; at most %d are allowed", len(p), protocol.MaxPrefix)
	case strings.ContainsAny(p, `/\`):
		return openai.Invalid(name, "profile_prefix %q holds a path separator; it is part of a file name", p)
	case strings.HasPrefix(p, "."):
		return openai.Invalid(name, "profile_prefix %q begins with a dot", p)
	case strings.ContainsFunc(p, unicode.IsControl):
		return openai.Invalid(name, "profile_prefix %q holds a control character", p)
	}
	return nil
}

// checkStages returns ids without repetitions; nil means all.
func checkStages(ids []int, stages []omni.StageInfo) ([]int, error) {
	if ids == nil {
		return nil, nil
	}
	known := make([]int, len(stages))
	names := make([]string, len(stages))
	for i, st := range stages {
		known[i], names[i] = st.ID, fmt.Sprintf("%d (%s)", st.ID, st.Name)
	}
	has := strings.Join(names, ", ")
	if len(ids) == 0 {
		return nil, openai.Invalid("stages", "stages is empty; leave it out or give null for all, or some of %s", has)
	}
	var out []int
	for i, id := range ids {
		if !slices.Contains(known, id) {
			return nil, openai.Invalid(fmt.Sprintf("stages[%d]", i), "no stage %d; the pipeline has %s", id, has)
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// parseProfilerConfig reads a session's own profiler_config over the defaults.
// A remote caller does not choose where a rank's host writes.
func parseProfilerConfig(raw jsontext.Value) (*protocol.ProfilerConfig, error) {
	if len(raw) == 0 || raw.Kind() == 'n' {
		return nil, nil
	}
	c := protocol.DefaultProfilerConfig()
	c.Profiler = "torch"
	if err := openai.DecodeStrict(raw, &c, "profiler_config"); err != nil {
		return nil, err
	}
	if c.TorchProfilerDir != "" {
		return nil, openai.Invalid("profiler_config.torch_profiler_dir",
			"profiler_config.torch_profiler_dir is set by the deployment, not by a request")
	}
	return &c, nil
}

func (s *Server) stopProfile(w http.ResponseWriter, r *http.Request) error {
	var b stopBody
	if err := s.optionalBody(w, r, &b); err != nil {
		return err
	}
	if err := s.requireProfiler(); err != nil {
		return err
	}
	running := s.current(r.Context())
	call := s.beginStop()
	// Without a known session the stop is over at once, and its answer says so.
	if b.Wait != nil && !*b.Wait && running != nil && !running.State.Terminal() {
		st := *running
		if early(st.State) {
			st.State = session.StateStopping
		}
		s.writeJSON(w, http.StatusOK, sessionBody{withURLs(&st), "stopping; see /v1/sessions/" + st.ID})
		return nil
	}
	select {
	case <-call.done:
	case <-r.Context().Done():
		return r.Context().Err() // the stop goes on
	}
	if call.err != nil {
		return call.err
	}
	if call.status == nil || call.status.State == session.StateIdle {
		s.writeJSON(w, http.StatusOK, idleBody{session.StateIdle, "no session was recording; nothing to stop"})
		return nil
	}
	s.writeJSON(w, http.StatusOK, sessionBody{Status: withURLs(call.status)})
	return nil
}

func early(st session.State) bool {
	return st == session.StateArming || st == session.StateArmed || st == session.StateRecording
}

// stopper holds the one stop that may be going on.
type stopper struct {
	mu   sync.Mutex
	call *stopCall // guarded by mu; nil: none
}

// stopCall is a stop under way. Its results are read after done is closed.
type stopCall struct {
	done   chan struct{}
	status *session.Status // nil: nothing was recording
	err    error
}

// beginStop stops the session in a goroutine of the server's, so that neither
// an impatient client nor "wait": false ends the collection of artifacts.
// Callers that come while a stop goes on share it.
func (s *Server) beginStop() *stopCall {
	s.stops.mu.Lock()
	defer s.stops.mu.Unlock()
	if s.stops.call != nil {
		return s.stops.call
	}
	call := &stopCall{done: make(chan struct{})}
	s.stops.call = call
	s.work.Go(func() {
		call.status, call.err = s.callStop()
		s.stops.mu.Lock()
		s.stops.call = nil
		s.stops.mu.Unlock()
		close(call.done)
	})
	return call
}

func (s *Server) callStop() (st *session.Status, err error) {
	defer func() {
		// No request is round this goroutine to recover for it.
		if v := recover(); v != nil {
			err = fmt.Errorf("stop_profile: panic: %v", v)
			s.log.Error("panic in a stop", "panic", v)
		}
	}()
	st, err = s.api.StopProfile(s.life)
	if e, ok := errors.AsType[statuser](err); ok && e.HTTPStatus() == http.StatusOK {
		return nil, nil // idle, said as an error
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

// current is the session that runs, or the last one; nil if there was none.
// The engine knows best, then the store, then this server's memory.
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
