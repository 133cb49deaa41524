package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni/overhead"
)

// states are the states that take turns; the others are compared with the first.
var states = []string{overhead.StateOff, overhead.StateArmed, overhead.StateRecording}

// starts are the bodies that begin a session in each state. The armed one has a window that never
// opens.
var starts = map[string]string{
	overhead.StateArmed:     `{"delay_iterations": 1000000000, "max_iterations": 0}`,
	overhead.StateRecording: `{"delay_iterations": 0, "max_iterations": 0}`,
}

// kinds of requests that are timed.
const (
	poll   = "a poll"
	first  = "first byte of a stream"
	stream = "a whole stream"
)

var kinds = []string{poll, first, stream}

// turn is what the clients measured in one turn of a state.
type turn struct {
	mu    sync.Mutex
	times map[string][]time.Duration
	bad   int
}

func (t *turn) add(kind string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times[kind] = append(t.times[kind], d)
}

func (t *turn) failed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bad++
}

// size is what the server holds, according to its metrics.
type size struct{ goroutines, files, memory float64 }

// measurement is one run of all rounds.
type measurement struct {
	o      *options
	client *http.Client
	turns  map[string][]*turn
	sizes  []size // after each round
	began  time.Time
	took   time.Duration
}

// run runs all rounds. The first is a warm-up and is left out.
func (m *measurement) run(ctx context.Context) error {
	m.turns = map[string][]*turn{}
	for round := range m.o.rounds + 1 {
		if round == 1 {
			m.turns, m.began = map[string][]*turn{}, time.Now()
		}
		for i := range states {
			state := states[(i+round)%len(states)]
			t, err := m.session(ctx, state)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round, state, err)
			}
			m.turns[state] = append(m.turns[state], t)
		}
		s, err := m.size(ctx)
		if err != nil {
			return err
		}
		if round > 0 {
			m.sizes = append(m.sizes, s)
		}
	}
	m.took = time.Since(m.began)
	return nil
}

// session runs one turn in a state.
func (m *measurement) session(ctx context.Context, state string) (t *turn, err error) {
	if body := starts[state]; body != "" {
		if err := m.post(ctx, "/start_profile", body); err != nil {
			return nil, err
		}
		defer func() {
			if serr := m.post(context.WithoutCancel(ctx), "/stop_profile", "{}"); err == nil {
				err = serr
			}
		}()
	}
	return m.turn(ctx)
}

// turn lets all clients work for one turn.
func (m *measurement) turn(ctx context.Context) (*turn, error) {
	t := &turn{times: map[string][]time.Duration{}}
	ctx, cancel := context.WithTimeout(ctx, m.o.turn)
	defer cancel()
	var wg sync.WaitGroup
	for i := range m.o.clients {
		wg.Go(func() {
			if i < m.o.streams {
				for ctx.Err() == nil {
					m.stream(ctx, t)
				}
				return
			}
			// Clients start spread over their think time.
			d := m.o.think * time.Duration(i) / time.Duration(m.o.clients)
			for ; wait.For(ctx, d) == nil; d = m.o.think {
				m.poll(ctx, m.o.server+pages[i%len(pages)], t)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != context.DeadlineExceeded {
		return nil, err
	}
	return t, nil
}

// pages are what browsers and scrapers poll.
var pages = []string{"/v1/sessions", "/metrics", "/health"}

func (m *measurement) poll(ctx context.Context, url string, t *turn) {
	began := time.Now()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		_, err = m.read(q, nil)
	}
	switch {
	case err == nil:
		t.add(poll, time.Since(began))
	case ctx.Err() == nil:
		t.failed()
	}
}

const completion = `{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 16, "stream": true}`

func (m *measurement) stream(ctx context.Context, t *turn) {
	began := time.Now()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, m.o.server+"/v1/chat/completions",
		strings.NewReader(completion))
	var head time.Duration
	if err == nil {
		q.Header.Set("Content-Type", "application/json")
		_, err = m.read(q, func() { head = time.Since(began) })
	}
	switch {
	case err == nil:
		t.add(first, head)
		t.add(stream, time.Since(began))
	case ctx.Err() == nil:
		t.failed()
	}
}

// read reads an answer to its end and returns it. If first is not nil, it is called at the first
// byte and the answer is not kept.
func (m *measurement) read(q *http.Request, first func()) ([]byte, error) {
	r, err := m.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 1000)) // it only explains the status
		return nil, fmt.Errorf("%s: %s: %s", q.URL.Path, r.Status, text)
	}
	if first == nil {
		return io.ReadAll(r.Body)
	}
	var b [1]byte
	if _, err := io.ReadFull(r.Body, b[:]); err != nil {
		return nil, err
	}
	first()
	_, err = io.Copy(io.Discard, r.Body)
	return nil, err
}

func (m *measurement) post(ctx context.Context, path, body string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, m.o.server+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := m.read(q, nil)
	if err != nil {
		return err
	}
	var st struct{ State, Error string }
	if err := json.Unmarshal(answer, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if path == "/stop_profile" && st.State != "complete" {
		return fmt.Errorf("the session is %s: %s", st.State, st.Error)
	}
	return nil
}

var sizeLine = regexp.MustCompile(
	`(?m)^(go_goroutines|process_open_fds|process_resident_memory_bytes) (\S+)$`)

// size asks the server how much it holds. Memory and files are known on Linux only, goroutines
// everywhere.
func (m *measurement) size(ctx context.Context) (s size, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, m.o.server+"/metrics", nil)
	if err != nil {
		return s, err
	}
	text, err := m.read(q, nil)
	if err != nil {
		return s, err
	}
	for _, l := range sizeLine.FindAllSubmatch(text, -1) {
		v, err := strconv.ParseFloat(string(l[2]), 64)
		if err != nil {
			return s, err
		}
		switch string(l[1]) {
		case "go_goroutines":
			s.goroutines = v
		case "process_open_fds":
			s.files = v
		default:
			s.memory = v
		}
	}
	return s, nil
}
