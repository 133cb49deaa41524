package server

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

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

// newShared joins the drivers of the stages of a server whose first rank is first.
func newShared(first protocol.RankID) *shared {
	return &shared{first: first, rounds: map[string]*sharedRound{}}
}

// maxRounds is how many sessions are remembered: the one that records, and those whose files are
// still being written.
const maxRounds = 8

// sharedRound is one session on all stages.
type sharedRound struct{ begin, end *sharedCall }

// sharedCall is a call that one of several drivers makes for all.
type sharedCall struct {
	taken atomic.Bool
	done  chan struct{} // closed when a and err are set
	a     answer
	err   error
}

func newSharedCall() *sharedCall { return &sharedCall{done: make(chan struct{})} }

// take reports whether the call is the caller's to make, with run. Everybody else waits.
func (s *sharedCall) take() bool { return s.taken.CompareAndSwap(false, true) }

// run makes the call, for who took it.
func (s *sharedCall) run(f func() (answer, error)) (answer, error) {
	defer close(s.done)
	s.a, s.err = f()
	return s.a, s.err
}

// wait waits for the answer to the call of another stage's driver.
func (s *sharedCall) wait() (answer, error) {
	<-s.done
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
		r = &sharedRound{newSharedCall(), newSharedCall()}
		s.rounds[session] = r
		s.order = append(s.order, session)
	}
	return r
}

// begin starts the server's profiler for a session.
func (d *Driver) begin(ctx context.Context, c *capture) (answer, error) {
	f := func() (answer, error) {
		body := allowed(c.start.body, c.round.facts.Fields)
		a, err := d.post(ctx, c.round.facts.Start, body)
		if older := c.round.facts.Older; older != nil && err == nil && a.status == http.StatusNotFound {
			c.round.facts.Start, c.round.facts.Stop = older.Start, older.Stop
			a, err = d.post(ctx, older.Start, body)
		}
		return a, err
	}
	if d.shared == nil {
		return f()
	}
	call := d.shared.round(c.job.Session).begin
	if call.take() {
		return call.run(f)
	}
	return call.wait()
}

// finish stops it. Sent, which the driver's stops gave out, is called once the request is on its
// way or another stage's driver makes it.
func (d *Driver) finish(ctx context.Context, c *capture, sent func()) (answer, error) {
	defer sent()
	f := func() (answer, error) {
		return d.post(whenSent(ctx, sent), c.round.facts.Stop, d.e.stop(c.round))
	}
	if d.shared == nil {
		return f()
	}
	call := d.shared.round(c.job.Session).end
	if call.take() {
		return call.run(f)
	}
	sent()
	return call.wait()
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
