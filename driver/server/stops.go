package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
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

// whenSent returns a context that has requests call sent once they have left this process. Their
// client's transport has to dial with dialWatched. WroteRequest alone is too early: HTTP/1 requests
// lie in a buffer then, and are lost if the connection is closed before it is flushed. HTTP/2 has
// flushed them.
func whenSent(ctx context.Context, sent func()) context.Context {
	var conn net.Conn
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn },
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if i.Err != nil {
				return
			}
			under, http2 := conn, false
			if t, ok := conn.(*tls.Conn); ok {
				under, http2 = t.NetConn(), t.ConnectionState().NegotiatedProtocol == "h2"
			}
			if w, ok := under.(*watchedConn); ok && !http2 {
				w.afterWrite(sent)
				return
			}
			sent()
		},
	})
}

// watchedConn is a connection that tells when something was written to it.
type watchedConn struct {
	net.Conn
	next atomic.Pointer[func()]
}

// afterWrite has the next write that succeeds call f, once.
func (c *watchedConn) afterWrite(f func()) { c.next.Store(&f) }

// Write writes to the connection.
func (c *watchedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil {
		if f := c.next.Swap(nil); f != nil {
			(*f)()
		}
	}
	return n, err
}

// dialWatched returns dial with connections for whenSent.
func dialWatched(dial func(ctx context.Context, network, address string) (net.Conn, error),
) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watchedConn{Conn: c}, nil
	}
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
