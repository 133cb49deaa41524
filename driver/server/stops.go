package server

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// lastStop is how long a driver that is closed waits for stops to be on their way to a server: as
// long as a busy host may take to open a connection. It does not wait for their answers.
const lastStop = 10 * time.Second

// stops are the stops that have not reached a server yet. A profiler that is never told to stop
// records until its process has no memory left, so that a driver is not closed before them.
type stops struct {
	mu      sync.Mutex
	pending int
	idle    chan struct{} // closed when pending falls to 0; nil while it is
}

// add counts a stop until sent is called.
func (s *stops) add() (sent func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending++; s.pending == 1 {
		s.idle = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pending--; s.pending == 0 {
			close(s.idle)
			s.idle = nil
		}
	})
}

// whenSent returns a context that has requests call sent once they are written.
func whenSent(ctx context.Context, sent func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			sent()
		}
	}})
}

// wait waits until no stop is pending, at most for d, and reports whether none is.
func (s *stops) wait(d time.Duration) bool {
	s.mu.Lock()
	idle := s.idle
	s.mu.Unlock()
	if idle == nil {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-idle:
		return true
	case <-t.C:
		return false
	}
}
