package omni

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// torchReady is long: each rank imports torch and loads Kineto, on a busy machine one
// after the other.
const torchReady = 10 * time.Minute

// openTorch opens an example pipeline on real torch, or skips: make interop sets the
// interpreter.
func openTorch(t *testing.T, name string) *Engine {
	t.Helper()
	if os.Getenv(pythonEnv) == "" {
		t.Skipf("%s is not set: run make interop", pythonEnv)
	}
	file := filepath.Join("..", "examples", "torch", name, name+".yaml")
	return open(t, Config{Pipeline: file, ReadyTimeout: torchReady})
}

// rankTrace reads the trace that a rank left in a run.
func rankTrace(t *testing.T, runDir string, r protocol.RankStatus) *trace.Trace {
	t.Helper()
	for _, a := range r.Artifacts {
		if a.Kind == "trace" {
			tr, err := kineto.ReadFile(t.Context(), filepath.Join(runDir, filepath.FromSlash(a.Name)), kineto.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return tr
		}
	}
	t.Fatalf("stage %d rank %d left no trace: %v", r.Stage, r.Rank, r.Artifacts)
	return nil
}

// named returns how many slices of t are called name, and the arguments of the first.
func named(t *trace.Trace, name string) (n int, requests string) {
	for i := range t.Slices.Len() {
		if t.String(t.Slices.Name[i]) == name {
			if n == 0 {
				requests, _ = t.ArgText(i, trace.ArgRequests)
			}
			n++
		}
	}
	return n, requests
}

// wantTorch fails the test unless every rank of a run of the omni example left what a
// torch rank leaves, and its trace shows its work.
func wantTorch(t *testing.T, st *session.Status) {
	t.Helper()
	steps := map[string]string{"thinker": trace.NameDecodeStep, "talker": trace.NameDecodeStep,
		"code2wav": trace.NameVocode, "dit": trace.NameDenoiseStep}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			kinds := map[protocol.ArtifactKind]bool{}
			for _, a := range r.Artifacts {
				kinds[a.Kind] = true
			}
			for _, k := range []protocol.ArtifactKind{"trace", "ops", "stacks", "table", "memory"} {
				if !kinds[k] {
					t.Errorf("%s rank %d left no %s: %v", s.Name, r.Rank, k, r.Artifacts)
				}
			}
			wantMemoryTimeline(t, st, s.Name, r)
			tr := rankTrace(t, st.RunDir, r)
			if tr.Meta.Stage != s.Name || tr.Meta.Rank != r.Rank || !tr.Meta.WallClock ||
				tr.Meta.WorldSize != len(s.Ranks) {
				t.Errorf("%s rank %d: the trace says %+v", s.Name, r.Rank, tr.Meta)
			}
			n, requests := named(tr, steps[s.Name])
			if n == 0 || requests == "" {
				t.Errorf("%s rank %d: %d slices %s, of requests %q", s.Name, r.Rank, n, steps[s.Name], requests)
			}
			if k, _ := named(tr, "ProfilerStep#"); k != 0 {
				t.Errorf("%s rank %d: a profiler step without a number", s.Name, r.Rank)
			}
			wantDevice(t, tr)
			if s.Name == "thinker" || s.Name == "talker" {
				if n, _ := named(tr, trace.NameAllReduce); n == 0 {
					t.Errorf("%s rank %d: no %s between two ranks", s.Name, r.Rank, trace.NameAllReduce)
				}
			}
			if n, _ := named(tr, "gloo:broadcast"); n != 0 {
				t.Errorf("%s rank %d: %d plans look like the model's collectives", s.Name, r.Rank, n)
			}
		}
	}
}

// wantDevice fails the test if a rank that ran on a card shows no kernels on a stream,
// or none of NCCL although its ranks share the model over NCCL. On the CPU there is
// nothing to look for.
func wantDevice(t *testing.T, tr *trace.Trace) {
	t.Helper()
	if len(tr.Meta.Devices) == 0 {
		return
	}
	kernels, nccl := 0, 0
	for i, cat := range tr.Slices.Cat {
		if cat != trace.CatKernel {
			continue
		}
		if tr.Tracks[tr.Slices.Track[i]].Stream >= 0 {
			kernels++
		}
		if strings.HasPrefix(tr.String(tr.Slices.Name[i]), "nccl") {
			nccl++
		}
	}
	// The backend is "cpu:gloo,cuda:nccl", or gloo where ranks have to share a card.
	if kernels == 0 || strings.Contains(tr.Meta.Backend, "nccl") && tr.Meta.WorldSize > 1 && nccl == 0 {
		t.Errorf("%s rank %d on %s: %d kernels on streams, %d of NCCL", tr.Meta.Stage, tr.Meta.Rank,
			tr.Meta.Devices[0].Name, kernels, nccl)
	}
}

// completeTorch fails the test unless every rank of the session is complete and its run
// holds what the manifest says.
func completeTorch(t *testing.T, st *session.Status, ranks int) {
	t.Helper()
	if st.State != session.StateComplete {
		t.Fatalf("session %s is %s: %s", st.ID, st.State, st.Error)
	}
	n := 0
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			n++
			if r.State != protocol.StateComplete || r.Reason != "" || r.Drops != 0 || r.StartedAtNs == 0 ||
				r.Events == 0 {
				t.Errorf("%s rank %d: %s (%s), %d events, %d drops", s.Name, r.Rank, r.State, r.Reason, r.Events,
					r.Drops)
			}
		}
	}
	if n != ranks {
		t.Errorf("%d ranks in the session, want %d", n, ranks)
	}
	verifyRun(t, st)
}

func TestTorchOmni(t *testing.T) {
	e := openTorch(t, "omni")
	for _, r := range e.Ranks() {
		if r.Engine != protocol.EngineTorch {
			t.Errorf("stage %d rank %d runs on %s", r.Stage, r.Rank, r.Engine)
		}
	}
	t.Run("start and stop under load", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var load sync.WaitGroup
		for range 3 {
			load.Go(func() {
				for ctx.Err() == nil {
					if _, err := generate(ctx, e, say("Tell me about trains.", 12)); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for round := range 2 {
			limit := 8
			_, err := e.StartProfile(t.Context(), protocol.StartRequest{Prefix: "load", MaxIterations: &limit})
			if err != nil {
				t.Fatal(err)
			}
			eventuallyIn(t, 3*time.Minute, "all ranks to have recorded their iterations", func() (bool, string) {
				done, err := e.Recorded(t.Context())
				return err == nil && done, ""
			})
			st, err := e.StopProfile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			completeTorch(t, st, 6)
			wantTorch(t, st)
			for _, s := range st.Stages {
				for _, r := range s.Ranks {
					if r.Iterations != limit || r.StoppedBy != protocol.StoppedByIterations {
						t.Errorf("round %d: %s rank %d recorded %d iterations, stopped by %s", round, s.Name, r.Rank,
							r.Iterations, r.StoppedBy)
					}
				}
			}
		}
		stop()
		load.Wait()
	})
	t.Run("open-ended, flows and outputs", func(t *testing.T) {
		_, err := e.StartProfile(t.Context(), protocol.StartRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := generate(t.Context(), e, say("Hello.", 8))
		if err != nil {
			t.Fatal(err)
		}
		st, err := e.StopProfile(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		completeTorch(t, st, 6)
		if got.text == "" || len(got.pcm) == 0 || got.rate != 16000 || got.last.Usage.CompletionTokens != 8 {
			t.Errorf("text %q, %d samples at %d Hz, usage %+v", got.text, len(got.pcm), got.rate, got.last.Usage)
		}
		out := map[uint64]bool{}
		tr := rankTrace(t, st.RunDir, st.Stages[0].Ranks[0])
		for i, id := range tr.Flows.ID {
			if tr.Flows.Start[i] && strings.HasPrefix(tr.String(tr.Flows.Cat[i]), "handoff") {
				out[id] = true
			}
		}
		in := 0
		tr = rankTrace(t, st.RunDir, st.Stages[1].Ranks[0])
		for i, id := range tr.Flows.ID {
			if !tr.Flows.Start[i] && out[id] {
				in++
			}
		}
		if len(out) == 0 || in != len(out) {
			t.Errorf("%d hand-offs leave the thinker, %d of them reach the talker", len(out), in)
		}
		openWithHTA(t, st)
	})
	t.Run("look back", func(t *testing.T) { lookBackTorch(t, e) })
	t.Run("sampled requests", func(t *testing.T) { sampleTorch(t, e) })
	t.Run("durations", func(t *testing.T) {
		wantDurations(t, e, map[string][]string{
			"thinker":  {trace.NamePrefill, trace.NameDecodeStep},
			"talker":   {trace.NamePrefill, trace.NameDecodeStep, "handoff"},
			"code2wav": {trace.NameVocode, "handoff"}})
	})
	t.Run("killed rank", func(t *testing.T) { killTorchRank(t, e) })
}

// lookBackTorch captures what happened before: no operators, but every step.
func lookBackTorch(t *testing.T, e *Engine) {
	if _, err := generate(t.Context(), e, say("Hello.", 6)); err != nil {
		t.Fatal(err)
	}
	st, err := e.Flight(t.Context(), protocol.StartRequest{Prefix: "past", Last: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	completeTorch(t, st, 6)
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			step := trace.NameDecodeStep
			if s.Name == "code2wav" {
				step = trace.NameVocode
			}
			tr := rankTrace(t, st.RunDir, r)
			if n, requests := named(tr, step); n < 2 || requests == "" {
				t.Errorf("%s rank %d: %d slices %s of requests %q", s.Name, r.Rank, n, step, requests)
			}
			if tr.Repairs.Total() != 0 || !tr.Meta.WallClock ||
				tr.Meta.WindowEnd-tr.Meta.WindowStart > time.Minute.Nanoseconds() {
				t.Errorf("%s rank %d: repairs %v, %+v", s.Name, r.Rank, tr.Repairs, tr.Meta)
			}
			if r.StoppedBy != protocol.StoppedByFlight {
				t.Errorf("%s rank %d stopped by %s", s.Name, r.Rank, r.StoppedBy)
			}
		}
	}
}

// sampleTorch records one request of two, whole, in all stages.
func sampleTorch(t *testing.T, e *Engine) {
	const every = 2
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler, cfg.SampleRequests = "torch", every
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{Config: &cfg}); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for i := 0; len(want) == 0 || i < 4; i++ {
		o := say("Hello.", 4)
		o.ID = ulid.Make().String()
		if _, err := generate(t.Context(), e, o); err != nil {
			t.Fatal(err)
		}
		if wire.Sampled(o.ID, every) {
			want[o.ID] = true
		}
	}
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			got := map[string]bool{}
			tr := rankTrace(t, st.RunDir, r)
			for i := range tr.Slices.Len() {
				for _, id := range requestsOf(tr, i) {
					got[id] = true
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s rank %d shows requests %v, want %v", s.Name, r.Rank, got, want)
			}
			if r.State != protocol.StateComplete || !strings.Contains(r.Reason, "no stacks") {
				t.Errorf("%s rank %d: %s (%s)", s.Name, r.Rank, r.State, r.Reason)
			}
		}
	}
}

// requestsOf returns the requests that slice i of t names.
func requestsOf(t *trace.Trace, i int) []string {
	var out []string
	for _, arg := range []string{trace.ArgRequests, "request"} {
		if text, ok := t.ArgText(i, arg); ok && text != "" {
			out = append(out, strings.Split(text, ",")...)
		}
	}
	return out
}

// wantDurations fails the test unless every stage has measured the given phases.
func wantDurations(t *testing.T, e *Engine, want map[string][]string) {
	t.Helper()
	list, err := e.StageDurations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, d := range list {
		if d.Count == 0 || d.SumSeconds <= 0 || d.Buckets[len(d.Buckets)-1] != d.Count {
			t.Errorf("%s %s: %+v", d.Stage, d.Phase, d.Durations)
		}
		got[d.Stage] = append(got[d.Stage], d.Phase)
	}
	for stage, phases := range want {
		for _, p := range phases {
			if !slices.Contains(got[stage], p) {
				t.Errorf("%s measured %v, not %s", stage, got[stage], p)
			}
		}
	}
}

// killTorchRank kills a rank that records. The others keep what they have, the replica
// comes back and serves.
func killTorchRank(t *testing.T, e *Engine) {
	begun, err := e.StartProfile(t.Context(), protocol.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := generate(t.Context(), e, say("Hello.", 4)); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(e.Ranks(), func(r protocol.RankInfo) bool { return r.Stage == 1 && r.Rank == 1 })
	victim := e.Ranks()[i]
	// What it did in its last quarter of a second is lost with it.
	kept := filepath.Join(victim.SpoolDir, begun.ID, victim.FileBase()+".regions.json")
	eventuallyIn(t, time.Minute, "the steps to be kept for the case of a crash", func() (bool, string) {
		b, err := os.ReadFile(kept)
		return bytes.Contains(b, []byte(trace.NameDecodeStep)), errText(err)
	})
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventuallyIn(t, time.Minute, "the rank to be missed", func() (bool, string) { return e.Health() != nil, "" })
	st, err := e.StopProfile(t.Context())
	if st == nil {
		t.Fatal(err)
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			want := protocol.StateComplete
			if s.Stage == 1 {
				want = protocol.StateLost
			}
			if r.State != want {
				t.Errorf("%s rank %d is %s (%s), want %s", s.Name, r.Rank, r.State, r.Reason, want)
			}
			if s.Stage != 1 {
				continue
			}
			// The killed one's steps up to the kill; the other came to an end of its own.
			tr := rankTrace(t, st.RunDir, r)
			if n, requests := named(tr, trace.NameDecodeStep); n == 0 || requests == "" {
				t.Errorf("%s rank %d: %d slices %s of requests %q", s.Name, r.Rank, n, trace.NameDecodeStep, requests)
			}
			if m := tr.Meta; m.Stage != s.Name || m.Rank != r.Rank || m.WorldSize != 2 {
				t.Errorf("%s rank %d: the trace says %+v", s.Name, r.Rank, m)
			}
			if n, _ := named(tr, trace.NameAllReduce); (n > 0) == (r.Rank == 1) {
				t.Errorf("%s rank %d: %d operators", s.Name, r.Rank, n)
			}
		}
	}
	eventuallyIn(t, torchReady, "the replica to come back", func() (bool, string) {
		err := e.Health()
		return err == nil, errText(err)
	})
	if _, err := generate(t.Context(), e, say("Hello again.", 4)); err != nil {
		t.Error(err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// openWithHTA has Holistic Trace Analysis open the traces of each stage, where it is installed.
func openWithHTA(t *testing.T, st *session.Status) {
	t.Helper()
	script := filepath.Join("..", "python", "tools", "open_with_hta.py")
	for _, s := range st.Stages {
		args := []string{script}
		for _, r := range s.Ranks {
			for _, a := range r.Artifacts {
				if a.Kind == "trace" {
					args = append(args, filepath.Join(st.RunDir, filepath.FromSlash(a.Name)))
				}
			}
		}
		out, err := exec.CommandContext(t.Context(), os.Getenv(pythonEnv), args...).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 3 {
			t.Logf("HTA is not installed: %s", out)
			return
		}
		if err != nil {
			t.Errorf("%s: HTA: %v\n%s", s.Name, err, out)
		}
		t.Logf("%s: %s", s.Name, out)
	}
}

// TestTorchBesideNative puts a native thinker before torch stages: one wire, one session,
// one timeline.
func TestTorchBesideNative(t *testing.T) {
	if os.Getenv(pythonEnv) == "" {
		t.Skipf("%s is not set: run make interop", pythonEnv)
	}
	p, _, err := deploy.Load(filepath.Join("..", "examples", "torch", "omni", "omni.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	native, _, err := deploy.Load("omni")
	if err != nil {
		t.Fatal(err)
	}
	p.Stages[0] = native.Stages[0]
	p.Stages[1].Ranks, p.Stages[2].Ranks = 1, 1
	e := open(t, Config{Deployment: p, ReadyTimeout: torchReady})
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	got, err := generate(t.Context(), e, say("Hello.", 6))
	if err != nil {
		t.Fatal(err)
	}
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	completeTorch(t, st, 4)
	if got.text == "" || len(got.pcm) == 0 {
		t.Errorf("text %q, %d samples", got.text, len(got.pcm))
	}
	var kinds []protocol.ArtifactKind
	for _, a := range st.Artifacts {
		kinds = append(kinds, a.Kind)
	}
	if !slices.Contains(kinds, "timeline") || !slices.Contains(kinds, "report") {
		t.Errorf("the run has %v", kinds)
	}
}

func TestTorchDiffusion(t *testing.T) {
	e := openTorch(t, "diffusion")
	_, err := e.StartProfile(t.Context(), protocol.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := generate(t.Context(), e, draw("a lighthouse", 2))
	if err != nil {
		t.Fatal(err)
	}
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	completeTorch(t, st, 2)
	wantTorch(t, st)
	if len(got.images) != 2 || !strings.HasPrefix(string(got.images[0]), "\x89PNG") {
		t.Fatalf("%d images", len(got.images))
	}
	for _, r := range st.Stages[0].Ranks {
		tr := rankTrace(t, st.RunDir, r)
		for name, want := range map[string]int{trace.NameDenoiseStep: 4, trace.NameTextEncode: 1,
			trace.NameVAEDecode: 1} {
			if n, _ := named(tr, name); n != want {
				t.Errorf("rank %d: %d slices %s, want %d", r.Rank, n, name, want)
			}
		}
		if r.Iterations != 4 {
			t.Errorf("rank %d recorded %d iterations, want the 4 denoise steps", r.Rank, r.Iterations)
		}
	}
	wantDurations(t, e, map[string][]string{"dit": {trace.NameTextEncode, trace.NameDenoiseStep, trace.NameVAEDecode}})
}

// eventuallyIn is eventually with a bound of its own.
func eventuallyIn(t *testing.T, patience time.Duration, what string, f func() (bool, string)) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		ok, why := f()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s: %s", what, why)
		case <-tick.C:
		}
	}
}
