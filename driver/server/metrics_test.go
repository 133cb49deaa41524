package server

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/scrape"
	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// What a server tells of itself while it records comes home as counters on its rank's clock, from the
// start to the stop.
func TestMetricsComeHome(t *testing.T) {
	for _, engine := range []protocol.Engine{protocol.EngineVLLM, protocol.EngineSGLang} {
		u := openUnit(t, engine, servertest.Quirks{}, func(to *Target) { to.NoMetrics = false })
		q := request(nil)
		from := time.Now()
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, 20*time.Second, "the server is not asked", func() bool { return u.srv.AskedMetrics() >= 4 })
		if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		if err != nil {
			t.Fatal(err)
		}
		f := over.Files[0]
		if f.Kind != protocol.KindMetrics || f.Name != "metrics.json" {
			t.Fatalf("%s: %s", engine, names(over.Files))
		}
		src, c, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		tr, err := kineto.Read(t.Context(), src, kineto.Options{})
		if err = errors.Join(err, c.Close()); err != nil || !tr.Meta.WallClock {
			t.Fatalf("%v, wall clock %v", err, tr.Meta.WallClock)
		}
		count := map[string]int{}
		for i, at := range tr.Counters.Time {
			if at < from.UnixNano() || at > time.Now().UnixNano() {
				t.Errorf("a sample at %d", at)
			}
			if name := tr.Tracks[tr.Counters.Track[i]].Name; name != trace.TrackServer {
				t.Errorf("a sample on track %q", name)
			}
			count[tr.String(tr.Counters.Name[i])]++
		}
		if count["requests waiting"] < 3 || count["TTFT p99 ms"] < 2 {
			t.Errorf("%s: %v", engine, count)
		}
		if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
	}
}

// A server without metrics, or whose target asks for none, hands over its traces alone.
func TestNoMetrics(t *testing.T) {
	off := openUnit(t, protocol.EngineVLLM, servertest.Quirks{}, nil)
	if _, _, over, err := off.record(nil); err != nil || over.Files[0].Kind == protocol.KindMetrics ||
		off.srv.AskedMetrics() > 0 {
		t.Errorf("%s, %v: asked %d times", names(over.Files), err, off.srv.AskedMetrics())
	}
	none := openUnit(t, protocol.EngineTensorRTLLM, servertest.Quirks{}, func(to *Target) { to.NoMetrics = false })
	if _, s, over, err := none.record(nil); err != nil || s.Reason != "" || over.Files[0].Kind == protocol.KindMetrics {
		t.Errorf("%s, %v: %s", names(over.Files), err, s.Reason)
	}
}

// A long session is thinned and not cut: its beginning and its end stay.
func TestMetricsAreBounded(t *testing.T) {
	m := &metered{every: time.Second}
	start := time.Unix(1_000_000, 0)
	for i := range 10 * maxSamples {
		m.add(meteredRow{start.Add(time.Duration(i) * time.Second), []scrape.Value{{Name: "n", Value: float64(i)}}})
	}
	if len(m.rows) > maxSamples || len(m.rows) < maxSamples/2 || m.every <= time.Second {
		t.Fatalf("%d rows every %v", len(m.rows), m.every)
	}
	for i := 1; i < len(m.rows); i++ {
		if !m.rows[i].at.After(m.rows[i-1].at) {
			t.Fatalf("row %d is not after the one before", i)
		}
	}
	if first, last := m.rows[0].at.Sub(start), m.rows[len(m.rows)-1].at.Sub(start); first > maxSamples*time.Second ||
		last != (10*maxSamples-1)*time.Second {
		t.Errorf("from %v to %v", first, last)
	}
}

// Samples make no file of ours, so a session that fails, or whose agent is killed, leaves none.
func TestMetricsLeaveNoFile(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Cut: []int{1}},
		func(to *Target) { to.NoMetrics = false })
	q := request(nil)
	if _, err := u.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	// A second question shows that the first was answered.
	waittest.Until(t, 20*time.Second, "the server is not asked", func() bool { return u.srv.AskedMetrics() >= 2 })
	if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
	if err != nil || over.Files[0].Kind != protocol.KindMetrics {
		t.Fatalf("%s, %v", names(over.Files), err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// A server whose metrics and models do not answer is profiled all the same, and its replicas are those that it had.
func TestSideQuestionsKeepNoSessionWaiting(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{DP: 2}, func(to *Target) { to.NoMetrics = false })
	had := u.d.Facts().Replicas
	u.web.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" || r.URL.Path == "/v1/models" {
			<-r.Context().Done()
			return
		}
		u.srv.ServeHTTP(w, r)
	})
	u.d.mu.Lock()
	u.d.facts.Models = nil
	u.d.mu.Unlock()
	u.d.c.aside = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // without a bound each question takes ten
	defer cancel()
	q := request(nil)
	if _, err := u.Arm(ctx, q); err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	if got := u.d.Facts().Replicas; len(had) != 2 || !slices.Equal(got, had) {
		t.Errorf("replicas %v, were %v", got, had)
	}
	if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
		t.Error(err)
	}
}
