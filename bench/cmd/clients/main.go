// Command clients asks a running server as many clients do, in turns without and with a
// recording, and prints what the recording costs them as ratios:
//
//	kinetoscope serve &
//	go run ./bench/cmd/clients -pid $!
//
// Most clients poll pages that are read all the time, the others stream completions. The
// turns alternate, so that what else the machine does falls on both alike.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
)

// options say what is measured.
type options struct {
	server  string
	pid     int
	clients int
	streams int
	rounds  int
	turn    time.Duration
	think   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "http://127.0.0.1:8000", "the server")
	flag.IntVar(&o.pid, "pid", 0, "its process, for memory and open files")
	flag.IntVar(&o.clients, "clients", 200, "clients in all")
	flag.IntVar(&o.streams, "streams", 4, "how many of them stream completions")
	flag.IntVar(&o.rounds, "rounds", 5, "pairs of turns")
	flag.DurationVar(&o.turn, "turn", 6*time.Second, "length of a turn")
	flag.DurationVar(&o.think, "think", time.Second, "what a polling client waits between requests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

// kinds of requests that are timed.
var kinds = []string{"poll", "first byte of a stream", "whole stream"}

// sums are the times of a kind of turn.
type sums struct {
	mu    sync.Mutex
	times map[string][]time.Duration
	bad   int
}

func (s *sums) add(kind string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[kind] = append(s.times[kind], d)
}

func (s *sums) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad++
}

func run(ctx context.Context, o *options) error {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.clients, MaxConnsPerHost: o.clients + 2}}
	off, on := &sums{times: map[string][]time.Duration{}}, &sums{times: map[string][]time.Duration{}}
	fmt.Printf("%d clients, %d of them stream, %d pairs of turns of %v\n", o.clients, o.streams, o.rounds, o.turn)
	for round := range o.rounds {
		if err := turn(ctx, c, o, off); err != nil {
			return err
		}
		if err := post(ctx, c, o.server+"/start_profile"); err != nil {
			return err
		}
		err := turn(ctx, c, o, on)
		if serr := post(context.WithoutCancel(ctx), c, o.server+"/stop_profile"); err == nil {
			err = serr
		}
		if err != nil {
			return err
		}
		fmt.Printf("round %d: %s\n", round+1, process(o.pid))
	}
	fmt.Printf("%-24s %10s %10s %10s %10s %8s %8s\n", "", "p50 off", "recording", "p99 off", "recording", "p50", "p99")
	for _, k := range kinds {
		a, b := off.times[k], on.times[k]
		if len(a) == 0 || len(b) == 0 {
			return fmt.Errorf("no %s was timed", k)
		}
		fmt.Printf("%-24s %10v %10v %10v %10v %8.2f %8.2f   %d and %d requests\n", k, at(a, .5), at(b, .5), at(a, .99),
			at(b, .99),
			ratio(b, a, .5), ratio(b, a, .99), len(a), len(b))
	}
	fmt.Printf("failed: %d off, %d recording\n", off.bad, on.bad)
	return nil
}

// turn has all clients at work for a turn.
func turn(ctx context.Context, c *http.Client, o *options, s *sums) error {
	ctx, cancel := context.WithTimeout(ctx, o.turn)
	defer cancel()
	var wg sync.WaitGroup
	for i := range o.clients {
		wg.Go(func() {
			if i < o.streams {
				for ctx.Err() == nil {
					stream(ctx, c, o.server, s)
				}
				return
			}
			// Clients do not come all at once.
			for d := o.think * time.Duration(i) / time.Duration(o.clients); wait.For(ctx, d) == nil; d = o.think {
				poll(ctx, c, o.server+pages[i%len(pages)], s)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != context.DeadlineExceeded {
		return err
	}
	return nil
}

// pages are what pages and scrapers poll.
var pages = []string{"/v1/sessions", "/metrics", "/health"}

func poll(ctx context.Context, c *http.Client, url string, s *sums) {
	began := time.Now()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		err = read(c, q, nil)
	}
	switch {
	case err == nil:
		s.add("poll", time.Since(began))
	case ctx.Err() == nil:
		s.failed()
	}
}

const completion = `{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 16, "stream": true}`

func stream(ctx context.Context, c *http.Client, server string, s *sums) {
	began := time.Now()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/v1/chat/completions",
		strings.NewReader(completion))
	var first time.Duration
	if err == nil {
		q.Header.Set("Content-Type", "application/json")
		err = read(c, q, func() { first = time.Since(began) })
	}
	switch {
	case err == nil:
		s.add("first byte of a stream", first)
		s.add("whole stream", time.Since(began))
	case ctx.Err() == nil:
		s.failed()
	}
}

// read reads an answer to its end; first is called at its first byte.
func read(c *http.Client, q *http.Request, first func()) error {
	r, err := c.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 1000))
		return fmt.Errorf("%s: %s: %s", q.URL.Path, r.Status, text)
	}
	if first != nil {
		var b [1]byte
		if _, err := io.ReadFull(r.Body, b[:]); err != nil {
			return err
		}
		first()
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

func post(ctx context.Context, c *http.Client, url string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte("{}")))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	return read(c, q, nil)
}

// process says what the server holds, as /proc knows; "" without a pid.
func process(pid int) string {
	if pid == 0 {
		return "done"
	}
	dir := filepath.Join("/proc", fmt.Sprint(pid))
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return err.Error()
	}
	files, _ := os.ReadDir(filepath.Join(dir, "fd"))
	out := fmt.Sprintf("%d open files", len(files))
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "Threads:") {
			out += ", " + strings.Join(strings.Fields(line), " ")
		}
	}
	return out
}

func at(list []time.Duration, q float64) time.Duration {
	slices.Sort(list)
	return list[int(float64(len(list)-1)*q)].Round(10 * time.Microsecond)
}

func ratio(a, b []time.Duration, q float64) float64 { return float64(at(a, q)) / float64(at(b, q)) }
