package omni

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/conversion"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// readyRank is a rank that hands over a ready trace, as torch ranks do.
type readyRank struct {
	state protocol.RankStatus
	dir   string
	trace []byte
	more  map[string]protocol.ArtifactKind // further files by name, and their kinds
	armed protocol.ProfilerConfig
}

func (r *readyRank) Arm(_ context.Context, q protocol.ArmRequest) (protocol.RankStatus, error) {
	r.state = protocol.RankStatus{State: protocol.StateArmed, Session: q.Session}
	r.armed = q.Config
	return r.state, nil
}

func (r *readyRank) Start(context.Context, protocol.BeginRequest) (protocol.RankStatus, error) {
	r.state.State, r.state.StartedAtNs = protocol.StateRecording, time.Now().UnixNano()
	return r.state, nil
}

func (r *readyRank) Stop(context.Context, protocol.StopRequest) (protocol.RankStatus, error) {
	r.state.State, r.state.StoppedAtNs, r.state.StoppedBy = protocol.StateStopped, time.Now().UnixNano(),
		protocol.StoppedByRequest
	return r.state, nil
}

func (r *readyRank) Collect(context.Context, protocol.CollectRequest) (protocol.RankStatus, rank.Handover, error) {
	path := filepath.Join(r.dir, "trace.json.gz")
	if err := os.WriteFile(path, r.trace, 0o644); err != nil {
		return r.state, rank.Handover{}, err
	}
	files := []rank.File{{Name: "trace.json.gz", Kind: "trace", Path: path}}
	for name, kind := range r.more {
		path := filepath.Join(r.dir, name)
		if err := os.WriteFile(path, []byte("the rank's own "+name), 0o644); err != nil {
			return r.state, rank.Handover{}, err
		}
		files = append(files, rank.File{Name: name, Kind: kind, Path: path})
	}
	handed := r.state
	handed.Events = 12 // torch counts while it exports, after the stop was answered
	return handed, rank.Handover{Files: files}, nil
}

func (r *readyRank) Abort(context.Context, protocol.AbortRequest) (protocol.RankStatus, error) {
	r.state = protocol.RankStatus{State: protocol.StateIdle}
	return r.state, nil
}

func (r *readyRank) Status(context.Context) protocol.RankStatus { return r.state }

func (r *readyRank) Call(context.Context, protocol.CallRequest) (any, error) { return nil, nil }

// kinetoTrace is a trace as torch writes it: one decode step with an operator, one allocation.
func kinetoTrace(t *testing.T, stage string, rankNo int, memory bool) []byte {
	t.Helper()
	base := time.Now().Add(-time.Minute).UnixNano()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprintf(z, `{"schemaVersion": 1, "stage_id": 0, "stage": %q, "replica": 0, "host_name": "h",
"distributedInfo": {"backend": "gloo", "rank": %d, "world_size": 2},
"baseTimeNanoseconds": %d, "traceEvents": [
  {"ph": "X", "cat": "user_annotation", "name": "decode_step", "pid": 1, "tid": 1, "ts": 10.0, "dur": 100.0, "args": {"step": 0, "requests": "a"}},
  {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 20.0, "dur": 50.0, "args": {"Input Dims": [[2, 2], [2, 2]]}}`,
		stage, rankNo, base)
	if memory {
		fmt.Fprint(z, `,
  {"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": 30.0, "args": {"Total Reserved": 0, "Total Allocated": 64, "Bytes": 64, "Addr": 4096, "Device Id": -1, "Device Type": 0}}`)
	}
	fmt.Fprint(z, "\n], \"traceName\": \"x\"}")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// startHub starts a hub that converts as an engine's does.
func startHub(t *testing.T) *hub.Hub {
	t.Helper()
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), RunsDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler), Convert: conversion.Session})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestReadyTracesBecomeARun(t *testing.T) {
	h := startHub(t)
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler, cfg.WithMemory, cfg.RecordShapes = "torch", true, true
	traces := map[int][]byte{}
	for k := range 2 {
		r := &readyRank{dir: t.TempDir(), trace: kinetoTrace(t, "decoder", k, k == 0)}
		traces[k] = r.trace
		if k == 0 {
			r.more = map[string]protocol.ArtifactKind{"stacks_cpu.txt": "stacks"}
		}
		info := protocol.RankInfo{RankID: protocol.RankID{Pipeline: "p", Rank: k}, StageName: "decoder",
			StageType: "llm",
			WorldSize: 2, Engine: "torch", Profiler: &cfg, Ready: true}
		m, err := rank.Join(t.Context(), h.Conn(), info, r, rank.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.Leave(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}()
	}
	eventually(t, "the hub to see both ranks", func() (bool, string) { return len(h.Ranks("p")) == 2, "" })
	if _, err := h.StartProfile(t.Context(), "p", protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	st, err := h.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	completeTorch(t, st, 2)
	for _, r := range st.Stages[0].Ranks {
		var kinds []protocol.ArtifactKind
		for _, a := range r.Artifacts {
			kinds = append(kinds, a.Kind)
			data, err := os.ReadFile(filepath.Join(st.RunDir, filepath.FromSlash(a.Name)))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case a.Kind == "trace" && !bytes.Equal(data, traces[r.Rank]):
				t.Errorf("rank %d: the trace is not the one that the rank left", r.Rank)
			case a.Kind == "stacks" && r.Rank == 0 && string(data) != "the rank's own stacks_cpu.txt":
				t.Errorf("the rank's own stacks were replaced by %q", data)
			}
		}
		slices.Sort(kinds)
		want := []protocol.ArtifactKind{"memory", "memory", "memory", "ops", "stacks", "table", "trace"}
		if r.Rank == 1 {
			want = want[3:] // its trace holds no allocations, of which a snapshot or a timeline could be made
		} else {
			wantMemoryTimeline(t, st, "decoder", r)
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("rank %d has artifacts %v, want %v", r.Rank, kinds, want)
		}
	}
	var whole []protocol.ArtifactKind
	for _, a := range st.Artifacts {
		whole = append(whole, a.Kind)
	}
	if !slices.Contains(whole, "timeline") || !slices.Contains(whole, "report") {
		t.Errorf("the run has %v", whole)
	}
}

func TestBrokenReadyTrace(t *testing.T) {
	h := startHub(t)
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	info := protocol.RankInfo{RankID: protocol.RankID{Pipeline: "p"}, StageName: "decoder", StageType: "llm",
		WorldSize: 1, Engine: "torch", Profiler: &cfg, Ready: true}
	m, err := rank.Join(t.Context(), h.Conn(), info, &readyRank{dir: t.TempDir(), trace: []byte("no trace")},
		rank.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Leave(context.WithoutCancel(t.Context()))
	eventually(t, "the hub to see the rank", func() (bool, string) { return len(h.Ranks("p")) == 1, "" })
	if _, err := h.StartProfile(t.Context(), "p", protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	st, err := h.StopProfile(t.Context())
	if st == nil {
		t.Fatal(err)
	}
	if st.State != session.StateFailed || !strings.Contains(st.Error, "stage 0 (decoder) replica 0 rank 0: failed") {
		t.Errorf("session is %s: %q", st.State, st.Error)
	}
}

// attachScript works in a loop until its standard input ends.
const attachScript = `
import sys, threading
import torch, kinetoscope
gone = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), gone.set()), daemon=True).start()
layer, step = torch.nn.Linear(32, 32), 0
while not gone.is_set():
    with torch.no_grad(), kinetoscope.annotate("decode_step", step=step, requests="a,b"):
        layer(torch.randn(4, 32))
    kinetoscope.step()
    step += 1
    if step % 20 == 0:
        print(".", end="", flush=True)
`

// counter counts what is written to it.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// sharedLog is a process's log, read while it is written.
type sharedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestTorchAttach(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skipf("%s is not set: run make interop", pythonEnv)
	}
	h := startHub(t)
	script := filepath.Join(t.TempDir(), "decoder.py")
	if err := os.WriteFile(script, []byte(attachScript), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-m", "kinetoscope", "run", "--nats", h.ClientURL(), "--pipeline",
		"mine", "--stage-id", "3", script)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log sharedLog
	var progress counter
	cmd.Stderr, cmd.Stdout = &log, &progress
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ranks := func() (bool, string) { return len(h.Ranks("mine")) == 1, log.String() }
	eventuallyIn(t, torchReady, "the process to attach", ranks)
	if r := h.Ranks("mine")[0]; r.Stage != 3 || r.StageName != "decoder" || r.Engine != "torch" ||
		r.PID != cmd.Process.Pid {
		t.Errorf("attached as %+v", r)
	}
	found, err := h.Conn().Request("$SRV.INFO."+protocol.ServiceName, nil, 5*time.Second)
	if err != nil {
		t.Fatalf("discovery: %v", err)
	}
	var info micro.Info
	if err := json.Unmarshal(found.Data, &info); err != nil || info.Metadata["rank"] != "mine.s3.r0.k0" ||
		len(info.Endpoints) != 8 {
		t.Errorf("discovery says %s: %v", found.Data, err)
	}
	for round := range 2 {
		if _, err := h.StartProfile(t.Context(), "mine", protocol.StartRequest{}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		before := progress.n.Load()
		eventually(t, "the program to work on", func() (bool, string) { return progress.n.Load() > before+1, "" })
		st, err := h.StopProfile(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		completeTorch(t, st, 1)
		tr := rankTrace(t, st.RunDir, st.Stages[0].Ranks[0])
		if n, requests := named(tr, "decode_step"); n < 2 || requests != "a,b" {
			t.Errorf("round %d: %d steps of requests %q", round, n, requests)
		}
		if n, _ := named(tr, "aten::linear"); n < 2 {
			t.Errorf("round %d: %d operators of the program's own thread", round, n)
		}
	}
	// A program that ends while it is recorded waits until its recording is home.
	st, err := h.StartProfile(t.Context(), "mine", protocol.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	before := progress.n.Load()
	eventually(t, "the program to work on", func() (bool, string) { return progress.n.Load() > before+1, "" })
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v: %s", err, log.String())
	}
	if st, err = h.Wait(t.Context(), st.ID); err != nil {
		t.Fatal(err)
	}
	completeTorch(t, st, 1)
	if r := st.Stages[0].Ranks[0]; r.StoppedBy != protocol.StoppedByExit {
		t.Errorf("stopped by %s", r.StoppedBy)
	}
	eventually(t, "the rank to have left", func() (bool, string) { return len(h.Ranks("mine")) == 0, "" })
}
