package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// liveRuns are sessions of which one is under way.
type liveRuns struct {
	dirSessions
	bytes uint64
}

func (l *liveRuns) Live(_ context.Context, id string) (*session.Status, session.Bounds, error) {
	st, err := l.Get(context.Background(), id)
	if err != nil {
		return nil, session.Bounds{}, err
	}
	now := *st
	now.Stages = nil
	now.Artifacts = nil
	l.bytes += 10
	now.StartAtNs = int64(l.bytes)
	return &now, session.Bounds{MaxBytes: 1 << 20}, nil
}

// hear reads a server's events until f has seen enough.
func hear(t *testing.T, url string, f func(event string, data []byte) (enough bool), header ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+api.EventsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	event, lines := "", bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if e, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = e
		}
		if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok && f(event, []byte(d)) {
			return
		}
	}
	t.Fatalf("the events end: %d, %v", res.StatusCode, lines.Err())
}

// A page hears what there is, and how far a session that is under way has come. When
// it leaves nothing is left running (TestMain looks).
func TestEvents(t *testing.T) {
	list, _ := testRuns(t)
	list.list[0].State = session.StateRecording
	runs := &liveRuns{dirSessions: list}
	_, url := start(t, newOmni(), func(c *Config) { c.Sessions = runs })
	if status, _, body := call(t, "POST", url+"/v1/chat/completions",
		`{"messages": [{"role": "user", "content": "one two three"}]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	seen := map[string]int{}
	grows := map[int64]bool{}
	var load api.Load
	hear(t, url, func(event string, data []byte) bool {
		seen[event]++
		switch event {
		case "session":
			var s api.LiveSession
			if err := json.Unmarshal(data, &s); err != nil {
				t.Fatal(err)
			}
			if s.ID == "S2" {
				grows[s.StartAtNs] = true
				if s.Bounds == nil || s.Bounds.MaxBytes != 1<<20 {
					t.Errorf("bounds %+v", s.Bounds)
				}
			} else if s.Bounds != nil || s.Artifacts[0].URL == "" {
				t.Errorf("a session of old: %s", data)
			}
		case "load":
			load = parse[api.Load](t, string(data))
		case "sessions":
			if ids := parse[api.SessionIDs](t, string(data)); !ids.Has("S1") || !ids.Has("S2") {
				t.Errorf("%s", data)
			}
		}
		return len(grows) > 2 && seen["load"] > 0
	})
	if seen["hello"] != 1 || seen["health"] != 1 || seen["sessions"] != 1 {
		t.Errorf("what did not change was told again: %v", seen)
	}
	if r := load.Requests; r.Finished != 1 || r.TTFT == nil || r.TTFT.P50Ns <= 0 || len(load.Stages) != 3 ||
		load.Stages[0].Queue == nil || *load.Stages[0].Queue != 3 {
		t.Errorf("%+v", load)
	}
	_, _, body := call(t, "GET", url+"/v1/sessions/S2", "")
	if s := parse[api.LiveSession](t, body); s.Bounds == nil {
		t.Errorf("who asks for a session does not hear its bounds: %s", body)
	}
}

// Events tell what a key may read.
func TestEventsTakeAKey(t *testing.T) {
	_, url := start(t, newOmni(), func(c *Config) { c.Keys = []Key{{ScopeRead, "reads"}} })
	if status, _, _ := call(t, "GET", url+api.EventsPath, ""); status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", status)
	}
	hear(t, url, func(event string, _ []byte) bool { return event == "load" }, "Authorization", "Bearer reads")
}

// Requests of long ago are not in the load, and more than are remembered shorten its window.
func TestFinishedRing(t *testing.T) {
	var f finishedRing
	base := time.Unix(1e9, 0)
	for i := range maxFinished + 10 {
		f.list[f.n%maxFinished] = finished{at: base.Add(time.Duration(i) * time.Second), tokens: 1}
		f.n++
	}
	list, from := f.since(base)
	if len(list) != maxFinished || !from.Equal(base.Add(10*time.Second)) {
		t.Errorf("%d since %v", len(list), from)
	}
	cut := base.Add(maxFinished * time.Second)
	if list, from = f.since(cut); len(list) != 10 || !from.Equal(cut) {
		t.Errorf("%d since %v, want 10 since %v", len(list), from, cut)
	}
}

// The pace of a phase is that since the first sample of the window, also of one that nobody had
// done by then; a stage that did not answer has none.
func TestPace(t *testing.T) {
	base, decode := time.Unix(1e9, 0), phaseKey{"thinker", "decode_step"}
	of := func(n uint64, sum float64) map[phaseKey]phaseCount { return map[phaseKey]phaseCount{decode: {n, sum}} }
	for name, tt := range map[string]struct {
		first loadSample
		perS  float64
		mean  float64
	}{
		"did some":        {loadSample{base, of(10, 1), true}, 2, .3},
		"did none yet":    {loadSample{base, nil, true}, 3, 7. / 30},
		"did not answer":  {loadSample{base, nil, false}, 0, 0},
		"is another rank": {loadSample{base, of(99, 9), true}, 0, 0},
	} {
		l := loader{samples: []loadSample{tt.first, {base.Add(10 * time.Second), of(30, 7), true}}}
		got := append(l.phases("thinker"), api.PhaseLoad{})[0]
		if got.PerS != tt.perS || got.MeanS-tt.mean > 1e-9 || tt.mean-got.MeanS > 1e-9 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	idle := loader{samples: []loadSample{{base, of(5, 1), true}, {base.Add(time.Second), of(5, 1), true}}}
	if got := idle.phases("thinker"); len(got) != 1 || got[0].Count != 0 || got[0].PerS != 0 {
		t.Errorf("idle: %+v", got)
	}
}

// A page that takes nothing is dropped after the time for events, which is shorter than that for other answers.
func TestPageThatTakesNothingIsDropped(t *testing.T) {
	s, url := start(t, newOmni(), func(c *Config) { c.stallEvents = 100 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "listens", func() bool { return s.watch.feed.Clients() == 1 })
	for n := byte('a'); n < 'q'; n++ { // more than a connection buffers
		s.watch.feed.Set(string(n), "load", bytes.Repeat([]byte{n}, 1<<20))
	}
	eventually(t, "dropped", func() bool { return s.watch.feed.Dropped() == 1 })
}
