package server

import (
	"context"
	"net/http"
	"sync"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// shared joins the drivers of a server's stages if one call begins all of them: the first driver to
// begin a session makes the call for all, and so does the first to end it.
type shared struct {
	first protocol.RankID // the session has this rank's name on the server

	mu     sync.Mutex
	rounds map[string]*sharedRound // by session
	order  []string                // the oldest first
}

// maxRounds is how many sessions are remembered: the one that records, and those whose files are
// still being written.
const maxRounds = 8

// sharedRound is one session on all stages.
type sharedRound struct{ begin, end sharedCall }

// sharedCall is a call that is made once.
type sharedCall struct {
	once sync.Once
	a    answer
	err  error
}

// do makes the call, or waits for the answer to the call of another stage's driver.
func (s *sharedCall) do(f func() (answer, error)) (answer, error) {
	s.once.Do(func() { s.a, s.err = f() })
	return s.a, s.err
}

func (s *shared) round(session string) *sharedRound {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rounds[session]
	if r == nil {
		if len(s.order) == maxRounds {
			delete(s.rounds, s.order[0])
			s.order = s.order[1:]
		}
		r = &sharedRound{}
		s.rounds[session] = r
		s.order = append(s.order, session)
	}
	return r
}

// begin starts the server's profiler for a session.
func (d *Driver) begin(ctx context.Context, c *capture) (answer, error) {
	f := func() (answer, error) {
		return d.post(ctx, c.round.facts.Start, allowed(c.start.body, c.round.facts.Fields))
	}
	if d.shared != nil {
		return d.shared.round(c.job.Session).begin.do(f)
	}
	return f()
}

// finish stops it.
func (d *Driver) finish(ctx context.Context, c *capture) (answer, error) {
	f := func() (answer, error) { return d.post(ctx, c.round.facts.Stop, d.e.stop(c.round)) }
	if d.shared != nil {
		return d.shared.round(c.job.Session).end.do(f)
	}
	return f()
}

func (d *Driver) post(ctx context.Context, path string, body map[string]any) (answer, error) {
	if body == nil {
		return d.c.call(ctx, http.MethodPost, path, nil)
	}
	return d.c.call(ctx, http.MethodPost, path, body)
}

// allowed returns body without the members that the server does not know: some releases refuse a
// start that has them.
func allowed(body map[string]any, fields map[string]bool) map[string]any {
	if fields == nil || body == nil {
		return body
	}
	out := map[string]any{}
	for name, value := range body {
		if fields[name] {
			out[name] = value
		}
	}
	return out
}

// withShared makes the driver start and stop together with those of the server's other stages.
func withShared(s *shared) Option { return func(d *Driver) { d.shared = s } }
