package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host serves a feed until the test ends.
func host(t *testing.T, f *Feed, stall time.Duration) (url string, done chan struct{}) {
	t.Helper()
	done = make(chan struct{})
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f.Serve(w, r, done, stall); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		hs.CloseClientConnections()
		hs.Close()
	})
	return hs.URL, done
}

// stream is a client's end.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
	id    string // of the last event
	close func()
}

func listen(t *testing.T, url, last string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Fatalf("%d, %s", res.StatusCode, ct)
	}
	s := &stream{t: t, lines: bufio.NewScanner(res.Body), close: func() { cancel(); _ = res.Body.Close() }}
	t.Cleanup(s.close)
	return s
}

// next returns the next event as "name data".
func (s *stream) next() string {
	s.t.Helper()
	var event, data string
	for s.lines.Scan() {
		line := s.lines.Text()
		key, v, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && event != "":
			return event + " " + data
		case key == "event":
			event = v
		case key == "data":
			data = v
		case key == "id":
			s.id = v
		}
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return ""
}

func (s *stream) want(list ...string) {
	s.t.Helper()
	for _, w := range list {
		if got := s.next(); got != w {
			s.t.Fatalf("%q, want %q", got, w)
		}
	}
}

// A new client gets everything, one that was away only what has changed, and one that knew
// another process everything again.
func TestResume(t *testing.T) {
	f := New()
	url, _ := host(t, f, DefaultStall)
	f.Set("a", "x", []byte("1"))
	f.Set("b", "y", []byte("2"))
	s := listen(t, url, "")
	s.want(`hello {"full":true}`, "x 1", "y 2")
	f.Set("a", "x", []byte("1")) // nothing new
	f.Set("a", "x", []byte("3"))
	s.want("x 3")
	last := s.id
	s.close()
	for i := range 100 { // of a hundred values the client that comes back needs one
		f.Set("b", "y", []byte(fmt.Sprint(i)))
	}
	s = listen(t, url, last)
	s.want(`hello {"full":false}`, "y 99")
	for _, foreign := range []string{"other-1", "nonsense", last + "0000000"} {
		listen(t, url, foreign).want(`hello {"full":true}`, "x 3", "y 99")
	}
	f.Keep(func(topic string) bool { return topic == "b" })
	listen(t, url, "").want(`hello {"full":true}`, "y 99")
}

// A client that takes nothing is dropped and counted, and comes back to what holds then.
func TestSlowClientIsDropped(t *testing.T) {
	f := New()
	url, _ := host(t, f, 20*time.Millisecond)
	listen(t, url, "") // and read nothing of it
	big := strings.Repeat("z", 1<<20)
	tick, late := time.NewTicker(time.Millisecond), time.After(2*time.Minute)
	defer tick.Stop()
	for i := 0; f.Dropped() == 0; i++ { // until the buffers of the connection are full
		f.Set("big", "y", []byte(big+fmt.Sprint(i)))
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("a client that reads nothing is not dropped")
		}
	}
	f.Set("big", "y", []byte("small"))
	listen(t, url, "").want(`hello {"full":true}`, "y small")
}

// The number of clients is bounded, and a place becomes free when one leaves.
func TestFull(t *testing.T) {
	f := New()
	url, done := host(t, f, DefaultStall)
	var all []*stream
	for range MaxClients {
		s := listen(t, url, "")
		s.want(`hello {"full":true}`)
		all = append(all, s)
	}
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more client: %d", res.StatusCode)
	}
	if err := f.Serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), nil, 0); !errors.Is(err,
		ErrFull) {
		t.Errorf("%v", err)
	}
	close(done) // the server ends: all streams do
	for _, s := range all {
		for s.lines.Scan() {
			continue
		}
	}
}

// FuzzLastEventID connects with any Last-Event-ID: the answer is one of the standard's, and has all values
// unless the id is one that this feed has given.
func FuzzLastEventID(f *testing.F) {
	for _, id := range []string{"", "-1", "x-2", "\n", "-18446744073709551615", "boot-1"} {
		f.Add(id, "v")
	}
	f.Fuzz(func(t *testing.T, id, text string) {
		feed := New()
		data, err := json.Marshal(text) // topics are JSON on one line
		if err != nil {
			t.Skip()
		}
		feed.Set("topic", "news", data)
		done := make(chan struct{})
		close(done)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Last-Event-Id"] = []string{strings.ReplaceAll(id, "boot", feed.boot)}
		w := httptest.NewRecorder()
		if err := feed.Serve(w, r, done, time.Minute); err != nil {
			t.Fatal(err)
		}
		_, known := feed.seen(r)
		events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
		if full := strings.Contains(events[0], `{"full":true}`); full == known || (full && len(events) != 2) {
			t.Errorf("after %q: %q", id, events)
		}
		for _, e := range events {
			for line := range strings.SplitSeq(e, "\n") {
				if key, _, ok := strings.Cut(line, ": "); !ok ||
					!slices.Contains([]string{"retry", "event", "data", "id"}, key) {
					t.Errorf("line %q", line)
				}
			}
		}
	})
}
