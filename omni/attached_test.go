package omni

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// attach joins a rank that leaves a ready trace.
func attach(t *testing.T, e *Engine, stage, number, world int, cfg *protocol.ProfilerConfig) *readyRank {
	t.Helper()
	r := &readyRank{dir: t.TempDir(), trace: kinetoTrace(t, "decoder", number, false)}
	info := protocol.RankInfo{RankID: protocol.RankID{Pipeline: AttachedPipeline, Stage: stage, Rank: number},
		StageName: "decoder", StageType: "llm", WorldSize: world, Engine: "torch", Profiler: cfg, Ready: true}
	m, err := rank.Join(t.Context(), e.Hub().Conn(), info, r, rank.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Leave(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// An engine without a model controls whoever attaches.
func TestAttached(t *testing.T) {
	o, err := deploy.ParseProfilerJSON(`{"torch_profiler_record_shapes": true}`)
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, Config{Attached: true, Connection: hub.Connection{Listen: "127.0.0.1:0"}, Profiler: o})
	if err := e.Health(); err != nil || len(e.Stages()) != 0 {
		t.Errorf("alone: %v, %v", err, e.Stages())
	}
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err == nil ||
		!strings.Contains(err.Error(), "no process has attached") {
		t.Errorf("a start with nobody there: %v", err)
	}
	if _, err := generate(t.Context(), e, say("Hello.", 4)); err == nil ||
		!strings.Contains(err.Error(), "no model is served") {
		t.Errorf("a request: %v", err)
	}
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	first := attach(t, e, 3, 0, 2, &cfg)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := e.WaitAttached(short, 0); err == nil ||
		!strings.Contains(err.Error(), "stage 3 (decoder) replica 0: 1 of 2 ranks have attached") {
		t.Errorf("half of a stage: %v", err)
	}
	if err := e.WaitAttached(t.Context(), 1); err != nil {
		t.Errorf("one rank is enough if one is asked for: %v", err)
	}
	attach(t, e, 3, 1, 2, &cfg)
	if err := e.WaitAttached(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := e.Stages(); len(got) != 1 || got[0].Name != "decoder" || got[0].ID != 3 || got[0].Ranks != 2 ||
		got[0].Replicas != 1 || !got[0].Profiler {
		t.Errorf("stages %+v", got)
	}
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{Prefix: "mine"}); err != nil {
		t.Fatal(err)
	}
	if !first.armed.RecordShapes {
		t.Error("--profiler-config did not reach the rank")
	}
	st, err := e.StopProfile(t.Context())
	if err != nil || st.State != session.StateComplete {
		t.Fatalf("%v, %v", st, err)
	}
	completeTorch(t, st, 2)
}
