package omni

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A session that began while a stop waited for the artifacts of the one before, and has ended by itself,
// is the answer of the next stop: the first one did not answer with it.
func TestStopClaimsItsOwnSession(t *testing.T) {
	release := make(chan struct{})
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		Convert: func(context.Context, hub.ConvertInput) (map[protocol.RankID][]protocol.Artifact,
			[]protocol.Artifact, error) {
			<-release
			return nil, nil, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	info := protocol.RankInfo{RankID: protocol.RankID{Pipeline: AttachedPipeline}, StageName: "decoder",
		StageType: "llm", WorldSize: 1, Engine: "torch", Profiler: &cfg, Ready: true}
	m, err := rank.Join(t.Context(), h.Conn(), info, &readyRank{dir: t.TempDir(),
		trace: kinetoTrace(t, "decoder", 0, false)}, rank.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Leave(context.Background()) }()
	c := &control{hub: h, pipeline: AttachedPipeline}
	waittest.Until(t, 10*time.Second, "rank is there", func() bool { return len(c.Ranks()) == 1 })

	first, err := c.start(t.Context(), protocol.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan *session.Status, 1)
	go func() {
		st, _ := c.StopProfile(context.Background())
		stopped <- st
	}()
	waittest.Until(t, 10*time.Second, "its artifacts are made", func() bool {
		st, err := h.Session(first.ID)
		return err == nil && st.State == session.StateConverting
	})
	second, err := c.start(t.Context(), protocol.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	close(release)
	if st := <-stopped; st.ID != first.ID {
		t.Fatalf("the first stop answered with %s", st.ID)
	}
	if _, err := h.StopProfile(t.Context()); err != nil { // as the rank would have it by itself
		t.Fatal(err)
	}
	if st, err := c.StopProfile(t.Context()); err != nil || st.ID != second.ID {
		t.Errorf("%+v, %v; want session %s", st, err, second.ID)
	}
}
