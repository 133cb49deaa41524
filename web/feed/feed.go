// Package feed tells browsers what changes on a server, as server-sent events (WHATWG HTML, section
// 9.2). A feed is a set of topics, each with one newest value. A slow client misses values that
// were replaced in the meantime, but never the newest one.
//
// So a client's queue is never longer than the number of topics. A client that takes nothing for
// Config.Stall is dropped and counted. It connects again with Last-Event-ID and gets what has
// changed since, or everything if another process answers.
package feed

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of a feed.
const (
	// MaxClients bounds the clients; each holds a connection and a goroutine. People have a few
	// pages open.
	MaxClients = 64
	// DefaultStall is how long a client may take nothing before it is dropped. Values come every
	// second or two.
	DefaultStall = 15 * time.Second
	// Heartbeat is how often a client without news gets a comment, so that proxies keep the
	// connection and a client that is gone is noticed.
	Heartbeat = 10 * time.Second
	// retry is what browsers are told to wait before they connect again.
	retry = 2 * time.Second
)

// ErrFull says that MaxClients clients are listening already.
var ErrFull = errors.New("as many clients as a feed may have are listening")

// Event is the type of a topic's events, which clients listen for.
type Event string

// Hello is the first event of every connection. {"full": true} says that everything follows and the
// client must forget what it knew; otherwise only what has changed follows.
const Hello Event = "hello"

// Feed is a set of topics and the clients that listen to them. It is safe for concurrent use and
// starts no goroutine.
type Feed struct {
	boot string // tells this process's event ids from another's

	mu      sync.Mutex
	seq     uint64
	topics  map[string]value
	clients map[*client]struct{}
	dropped uint64
}

type value struct {
	seq   uint64
	event Event
	data  []byte // one line
}

// client is woken when a topic has changed since it last looked.
type client struct{ wake chan struct{} }

// New makes a feed without topics.
func New() *Feed {
	return &Feed{boot: rand.Text(), topics: map[string]value{}, clients: map[*client]struct{}{}}
}

// Set gives a topic its newest value: JSON on one line, which the caller must not change
// afterwards. A value equal to the topic's last one is not sent.
func (f *Feed) Set(topic string, event Event, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if have, ok := f.topics[topic]; ok && have.event == event && bytes.Equal(have.data, data) {
		return
	}
	f.seq++
	f.topics[topic] = value{f.seq, event, data}
	for c := range f.clients {
		select {
		case c.wake <- struct{}{}:
		default: // the client is awake already
		}
	}
}

// Keep drops all topics for which keep is false. Clients are not told; they learn of it from an
// event that lists what there is.
func (f *Feed) Keep(keep func(topic string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.topics {
		if !keep(t) {
			delete(f.topics, t)
		}
	}
}

// Clients returns how many clients listen.
func (f *Feed) Clients() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.clients)
}

// Dropped is the number of clients that were dropped because they took nothing.
func (f *Feed) Dropped() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped
}

// since returns the values newer than seq, oldest first, and the newest number there is.
func (f *Feed) since(seq uint64) ([]value, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []value
	for _, v := range f.topics {
		if v.seq > seq {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b value) int { return cmp.Compare(a.seq, b.seq) })
	return out, f.seq
}

func (f *Feed) join() (*client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.clients) >= MaxClients {
		return nil, ErrFull
	}
	c := &client{wake: make(chan struct{}, 1)}
	f.clients[c] = struct{}{}
	return c, nil
}

func (f *Feed) leave(c *client, stalled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.clients, c)
	if stalled {
		f.dropped++
	}
}

// seen returns the number in Last-Event-ID; false if the client has no id of this process.
func (f *Feed) seen(r *http.Request) (uint64, bool) {
	boot, n, _ := strings.Cut(r.Header.Get("Last-Event-ID"), "-")
	seq, err := strconv.ParseUint(n, 10, 64)
	f.mu.Lock()
	defer f.mu.Unlock()
	return seq, err == nil && boot == f.boot && seq <= f.seq
}

// Serve sends a client the values of all topics and then their changes. It returns when the client
// leaves, done is closed, or the client takes nothing for stall. The only error is ErrFull, before
// anything was written.
func (f *Feed) Serve(w http.ResponseWriter, r *http.Request, done <-chan struct{}, stall time.Duration) error {
	c, err := f.join()
	if err != nil {
		return err
	}
	stalled := false
	defer func() { f.leave(c, stalled) }()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that collect answers are told not to
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	seq, known := f.seen(r)
	if !known {
		seq = 0
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "retry: %d\nevent: %s\ndata: {\"full\":%t}\n\n", retry.Milliseconds(), Hello, !known)
	rc := http.NewResponseController(w)
	beat := time.NewTicker(Heartbeat)
	defer beat.Stop()
	for {
		var list []value
		list, seq = f.since(seq)
		for _, v := range list {
			fmt.Fprintf(&b, "id: %s-%d\nevent: %s\ndata: %s\n\n", f.boot, v.seq, v.event, v.data)
		}
		if b.Len() > 0 {
			if err := send(w, rc, b.Bytes(), stall); err != nil {
				stalled = errors.Is(err, os.ErrDeadlineExceeded)
				return nil
			}
		}
		b.Reset()
		select {
		case <-c.wake:
		case <-beat.C:
			b.WriteString(":\n\n")
		case <-done:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

// send writes data to the client, which has stall to take it.
func send(w http.ResponseWriter, rc *http.ResponseController, data []byte, stall time.Duration) error {
	_ = rc.SetWriteDeadline(time.Now().Add(stall)) // a writer without deadlines has no slow client
	if _, err := w.Write(data); err != nil {
		return err
	}
	return rc.Flush()
}
