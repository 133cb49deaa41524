package omni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

func TestMain(m *testing.M) {
	WorkerMain()
	os.Exit(m.Run())
}

func open(t testing.TB, c Config) *Engine {
	t.Helper()
	c.RunsDir = t.TempDir()
	e, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// made is all that a request made.
type made struct {
	text   string
	pcm    []int16
	rate   int
	images [][]byte
	last   Output
}

func generate(ctx context.Context, e *Engine, r Request) (made, error) {
	var m made
	for out, err := range e.Generate(ctx, r) {
		if err != nil {
			return m, err
		}
		m.text += out.Text
		m.pcm = append(m.pcm, out.PCM...)
		m.rate = max(m.rate, out.SampleRate)
		m.images = append(m.images, out.Images...)
		m.last = out
	}
	return m, nil
}

func say(text string, maxTokens int) Request {
	return Request{Messages: []Message{{Role: "user", Content: text}}, Sampling: Sampling{MaxTokens: &maxTokens}}
}

func draw(text string, n int) Request {
	return Request{Messages: []Message{{Role: "user", Content: text}},
		Image: Image{N: n, Width: 64, Height: 64, Steps: 4, Guidance: 3}}
}

// complete fails the test unless every rank of the session is complete and its run
// holds what the manifest says.
func complete(t *testing.T, st *session.Status, stages, ranks int) {
	t.Helper()
	if st.State != session.StateComplete || len(st.Stages) != stages {
		t.Fatalf("session %s is %s with %d stages: %s", st.ID, st.State, len(st.Stages), st.Error)
	}
	n := 0
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			n++
			if r.State != protocol.StateComplete || r.Events == 0 || r.Drops != 0 {
				t.Errorf("stage %d rank %d: %s (%s), %d events, %d drops", s.Stage, r.Rank, r.State, r.Reason, r.Events,
					r.Drops)
			}
			if !slices.ContainsFunc(r.Artifacts, func(a protocol.Artifact) bool { return a.Kind == "trace" }) {
				t.Errorf("stage %d rank %d left no trace: %v", s.Stage, r.Rank, r.Artifacts)
			}
		}
	}
	if n != ranks {
		t.Errorf("%d ranks in the session, want %d", n, ranks)
	}
	verifyRun(t, st)
}

// verifyRun fails the test unless the session's run holds what its manifest says.
func verifyRun(t *testing.T, st *session.Status) {
	t.Helper()
	run, err := store.OpenRun(st.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if err := run.Verify(); err != nil {
		t.Error(err)
	}
}

func TestOmniIsTheSameOnAnyRanks(t *testing.T) {
	var first made
	for _, ranks := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d ranks", ranks), func(t *testing.T) {
			e := open(t, Config{TensorParallelSize: ranks})
			if _, err := e.StartProfile(t.Context(), protocol.StartRequest{Prefix: "same"}); err != nil {
				t.Fatal(err)
			}
			got, err := generate(t.Context(), e, say("Tell me about trains.", 12))
			if err != nil {
				t.Fatal(err)
			}
			st, err := e.StopProfile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			complete(t, st, 3, 3*ranks)
			wantMemoryTimelines(t, st)
			if got.text == "" || len(got.pcm) == 0 || got.rate != 24000 {
				t.Fatalf("text %q, %d samples at %d Hz", got.text, len(got.pcm), got.rate)
			}
			m := got.last.Metrics
			if m.TTFT <= 0 || m.TimeToFirstAudio <= m.TTFT || m.Total < m.TimeToFirstAudio ||
				m.Stages["thinker.prefill"] <= 0 || m.Stages["code2wav.vocode"] <= 0 {
				t.Errorf("metrics %+v", m)
			}
			if u := got.last.Usage; u.CompletionTokens != 12 || u.PromptTokens < 3 {
				t.Errorf("usage %+v", u)
			}
			if first.text == "" {
				first = got
			}
			if got.text != first.text || !slices.Equal(got.pcm, first.pcm) {
				t.Errorf("text %q and %d samples differ from 1 rank's %q and %d", got.text, len(got.pcm), first.text,
					len(first.pcm))
			}
		})
	}
}

func TestDiffusionIsTheSameOnAnyRanks(t *testing.T) {
	var first made
	for _, ranks := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d ranks", ranks), func(t *testing.T) {
			e := open(t, Config{Pipeline: "diffusion", TensorParallelSize: ranks})
			if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
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
			complete(t, st, 3, 3*ranks)
			wantMemoryTimelines(t, st)
			if len(got.images) != 2 || !strings.HasPrefix(string(got.images[0]), "\x89PNG") {
				t.Fatalf("%d images", len(got.images))
			}
			if ranks == 1 {
				alone, err := generate(t.Context(), e, draw("a lighthouse", 1))
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(alone.images[0], got.images[0]) {
					t.Error("an image of a batch differs from the same image alone")
				}
				first = got
			}
			for i := range got.images {
				if !slices.Equal(got.images[i], first.images[i]) {
					t.Errorf("image %d differs from 1 rank's", i)
				}
			}
			for _, r := range st.Stages[1].Ranks {
				if r.Iterations != 4 {
					t.Errorf("dit rank %d recorded %d iterations, want the 4 denoise steps", r.Rank, r.Iterations)
				}
			}
		})
	}
}

func TestStagesPrefixAndSecondRound(t *testing.T) {
	e := open(t, Config{})
	for round := range 2 {
		st, err := e.StartProfile(t.Context(), protocol.StartRequest{Prefix: "two words", Stages: []int{0, 2}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.StartProfile(t.Context(), protocol.StartRequest{})
		var busy *hub.ErrBusy
		if !errors.As(err, &busy) || busy.Session.ID != st.ID {
			t.Fatalf("second start: %v, want busy with %s", err, st.ID)
		}
		if _, err := generate(t.Context(), e, say("Hello there.", 4)); err != nil {
			t.Fatal(err)
		}
		st, err = e.StopProfile(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		complete(t, st, 2, 3)
		if !strings.Contains(filepath.Base(st.RunDir), "two words") {
			t.Errorf("round %d: run %s does not hold the prefix", round, st.RunDir)
		}
		if _, err := os.Stat(filepath.Join(st.RunDir, "stage1_talker")); !os.IsNotExist(err) {
			t.Errorf("stage 1 was not chosen and has artifacts: %v", err)
		}
	}
	st, err := e.StopProfile(t.Context())
	if err != nil || (st.State != session.StateIdle && st.State != session.StateComplete) {
		t.Errorf("stop when idle: %+v, %v", st, err)
	}
}

func TestBadInputStartsNothing(t *testing.T) {
	e := open(t, Config{Pipeline: "omni"})
	n := func(i int) *int { return &i }
	long := strings.Repeat("long ", 40000)
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"empty prompt":                  {Request{}, "prompt is empty"},
		"too long":                      {say(long, 4), "too long"},
		"too many tokens for the model": {say(strings.Repeat("word ", 3000), 4), "too long"},
		"max_tokens": {Request{Messages: []Message{{"user", "hi"}},
			Sampling: Sampling{MaxTokens: n(0)}}, "max_tokens 0"},
		"modality": {Request{Messages: []Message{{"user", "hi"}}, Modalities: []string{"smell"}},
			"makes no smell"},
		"invalid UTF-8": {say("\xff", 4), "UTF-8"},
		"stop string": {Request{Messages: []Message{{"user", "hi"}},
			Sampling: Sampling{Stop: []string{long}}}, "stop[0] has 200000 bytes"},
	} {
		_, err := generate(t.Context(), e, c.r)
		var re *Error
		if !errors.As(err, &re) || re.Code != protocol.CodeBadRequest || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want bad_request with %q", name, err, c.want)
		}
	}
	for name, o := range map[string]protocol.StartRequest{
		"unknown stage":  {Stages: []int{7}},
		"path in prefix": {Prefix: "../x"},
		"long prefix":    {Prefix: strings.Repeat("x", 300)},
	} {
		if _, err := e.StartProfile(t.Context(), o); err == nil ||
			!strings.Contains(fmt.Sprintf("%T", err), "FieldError") {
			t.Errorf("%s: %v, want a bad request", name, err)
		}
	}
	if st := e.Session(); st != nil {
		t.Errorf("a refused start left session %+v", st)
	}
}

func TestNoProfilerConfigured(t *testing.T) {
	p, _, err := deploy.Load("omni")
	if err != nil {
		t.Fatal(err)
	}
	p.Stages = p.Stages[:1]
	p.Stages[0].Profiler.Profiler = ""
	e := open(t, Config{Deployment: p})
	_, err = e.StartProfile(t.Context(), protocol.StartRequest{})
	var none *hub.ErrNoProfiler
	if !errors.As(err, &none) || none.Hint() == "" {
		t.Fatalf("start without profiler_config: %v", err)
	}
}

func TestCancelFreesWhatARequestHeld(t *testing.T) {
	e := open(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pieces := 0
	for _, err := range e.Generate(ctx, say("Tell me a very long story.", 400)) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		if pieces++; pieces == 3 {
			cancel()
		}
	}
	if pieces < 3 {
		t.Fatalf("%d outputs before the cancel", pieces)
	}
	eventually(t, "all stages to be empty", func() (bool, string) { return held(t, e) })
	// A cancellation goes to all stages at once, so it can come before the hand-off that brings the request.
	for i := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%30+1)*time.Millisecond)
		for range e.Generate(ctx, say("Hello.", 16)) {
		}
		cancel()
	}
	eventually(t, "all stages to be empty again", func() (bool, string) { return held(t, e) })
	// The pipeline goes on.
	if _, err := generate(t.Context(), e, say("Hello.", 4)); err != nil {
		t.Fatal(err)
	}
}

// held reports whether no stage holds anything, and what is held.
func held(t *testing.T, e *Engine) (bool, string) {
	replies, err := e.CollectiveRPC(t.Context(), "info", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range replies {
		for _, r := range s.Ranks {
			info, _ := r.Result.(map[string]any)
			if !r.OK {
				t.Fatalf("stage %d rank %d: %s", s.Stage, r.Rank, r.Error)
			}
			if r.Rank == 0 && (info["requests"] != 0.0 || info["held"] != 0.0) {
				return false, fmt.Sprintf("stage %s holds %v requests, %v in the model", s.StageName, info["requests"],
					info["held"])
			}
		}
	}
	return true, ""
}

func eventually(t *testing.T, what string, f func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		ok, why := f()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %s", what, why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestKilledRank(t *testing.T) {
	e := open(t, Config{})
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{Prefix: "killed"}); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	started := make(chan struct{})
	var once sync.Once
	go func() {
		var err error
		for _, err = range e.Generate(t.Context(), say("Tell me a very long story.", 400)) {
			once.Do(func() { close(started) })
		}
		failed <- err
	}()
	<-started
	for _, r := range e.Ranks() {
		if r.StageName == "talker" {
			if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	var re *Error
	if err := <-failed; !errors.As(err, &re) || re.Code != protocol.CodeLost ||
		!strings.Contains(err.Error(), "talker") {
		t.Errorf("the request on its way: %v, want lost, naming the talker", err)
	}
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			want := protocol.StateComplete
			if s.Name == "talker" {
				want = protocol.StateLost
			}
			if r.State != want || len(r.Artifacts) == 0 {
				t.Errorf("%s rank %d: %s (%s), %d artifacts; want %s and a trace, the killed rank's up to the crash",
					s.Name, r.Rank, r.State, r.Reason, len(r.Artifacts), want)
			}
		}
	}
	// The replica comes back, and so does profiling.
	eventually(t, "the talker to come back", func() (bool, string) {
		err := e.Health()
		return err == nil, fmt.Sprint(err)
	})
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(t.Context(), e, say("Hello.", 4)); err != nil {
		t.Fatal(err)
	}
	if st, err = e.StopProfile(t.Context()); err != nil {
		t.Fatal(err)
	}
	complete(t, st, 3, 4)
}

func TestFiftyStartsAndStopsUnderLoad(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	e := open(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := generate(ctx, e, say(fmt.Sprintf("Load %d.", i), 16)); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range rounds {
		if _, err := e.StartProfile(t.Context(), protocol.StartRequest{Prefix: fmt.Sprint("round", i)}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if _, err := generate(t.Context(), e, say("Something for every stage.", 2)); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		st, err := e.StopProfile(t.Context())
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		complete(t, st, 3, 4)
	}
	cancel()
	wg.Wait()
	if runs, err := e.Hub().Store().List(); err != nil || len(runs) != rounds {
		t.Errorf("%d runs, %v; want %d", len(runs), err, rounds)
	}
}

func TestIterationsEndTheRecording(t *testing.T) {
	e := open(t, Config{})
	delay, most := 2, 5
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{Stages: []int{0}, DelayIterations: &delay,
		MaxIterations: &most}); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(t.Context(), e, say("Hello there.", 20)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ranks to have recorded", func() (bool, string) {
		ok, err := e.Recorded(t.Context())
		return ok, fmt.Sprint(err)
	})
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	complete(t, st, 1, 2)
	for _, r := range st.Stages[0].Ranks {
		if r.Iterations != most {
			t.Errorf("rank %d recorded %d iterations, want %d", r.Rank, r.Iterations, most)
		}
	}
}

func TestFlightRecorder(t *testing.T) {
	e := open(t, Config{})
	if _, err := generate(t.Context(), e, say("Before anybody asked.", 12)); err != nil {
		t.Fatal(err)
	}
	st, err := e.Flight(t.Context(), protocol.StartRequest{Prefix: "past", Last: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	complete(t, st, 3, 4)
	data, err := os.ReadFile(filepath.Join(st.RunDir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"prefill"`, `"vocode"`, `"complete": true`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the report of what already happened lacks %s", want)
		}
	}
	// A look back has been answered: there is nothing left for a stop to answer with.
	if idle, err := e.StopProfile(t.Context()); err != nil || idle.State != session.StateIdle {
		t.Errorf("stop after a look back: %+v, %v; want idle", idle, err)
	}
	// A recording beside it works, and so does the next look back.
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(t.Context(), e, say("Again.", 4)); err != nil {
		t.Fatal(err)
	}
	if st, err = e.StopProfile(t.Context()); err != nil {
		t.Fatal(err)
	}
	complete(t, st, 3, 4)
	if st, err = e.Flight(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	complete(t, st, 3, 4)
}

func TestTriggersCaptureThePast(t *testing.T) {
	e := open(t, Config{SlowRequest: time.Nanosecond, FailedRequest: true})
	if _, err := generate(t.Context(), e, say("Slow by decree.", 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(t.Context(), e, say("Too soon for another.", 4)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the capture of the slow request", func() (bool, string) {
		st := e.Session()
		return st != nil && st.State.Terminal(), fmt.Sprint(st)
	})
	runs, err := e.Hub().Store().List()
	if err != nil || len(runs) != 1 || runs[0].Prefix != "slow-request" {
		t.Fatalf("runs %+v, %v; want one of a slow request", runs, err)
	}
}

func TestRankDumpsOnSIGQUIT(t *testing.T) {
	e := open(t, Config{})
	if _, err := generate(t.Context(), e, say("Something to remember.", 4)); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.Ranks() {
		if err := syscall.Kill(r.PID, syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a dump of every rank", func() (bool, string) {
		files, err := filepath.Glob(filepath.Join(e.runs, "flight_*"))
		return err == nil && len(files) == 4, fmt.Sprint(files, err)
	})
	// The ranks live on.
	if _, err := generate(t.Context(), e, say("And on we go.", 4)); err != nil {
		t.Fatal(err)
	}
}

func TestSampledRequestsAreWholeInEveryStage(t *testing.T) {
	const every = 3
	o, err := deploy.ParseProfilerJSON(fmt.Sprintf(`{"sample_requests": %d}`, every))
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, Config{Profiler: o})
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	sampled := 0
	for i := range 6 {
		r := say("One by one.", 3)
		r.ID = fmt.Sprintf("request-%d", i)
		if wire.Sampled(r.ID, every) {
			sampled++
		}
		if _, err := generate(t.Context(), e, r); err != nil {
			t.Fatal(err)
		}
	}
	st, err := e.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	complete(t, st, 3, 4)
	if sampled == 0 || sampled == 6 {
		t.Fatalf("%d of 6 ids are sampled: choose others", sampled)
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			got := requestsIn(t, filepath.Join(st.RunDir, store.ArtifactName(r.RankID, s.Name, "trace", ".json.gz")))
			if len(got) != sampled {
				t.Errorf("stage %s rank %d recorded steps of %v, want those of %d requests", s.Name, r.Rank, got,
					sampled)
			}
			for id := range got {
				if !wire.Sampled(id, every) {
					t.Errorf("stage %s rank %d recorded request %s, which is not sampled", s.Name, r.Rank, id)
				}
			}
		}
	}
}

// requestsIn returns the requests whose steps a trace holds.
func requestsIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	tr, err := kineto.ReadFile(t.Context(), path, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for i := range tr.Slices.Len() {
		if ids, ok := tr.ArgText(i, trace.ArgRequests); ok && ids != "" {
			for _, id := range strings.Split(ids, ",") {
				got[id] = true
			}
		}
	}
	return got
}

func TestDurationsAreAlwaysMeasured(t *testing.T) {
	e := open(t, Config{})
	got, err := generate(t.Context(), e, say("Without any recording.", 5))
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []string{"thinker.prefill", "thinker.decode_step", "talker.handoff", "talker.prefill",
		"code2wav.handoff", "code2wav.vocode"} {
		if got.last.Metrics.Stages[phase] <= 0 {
			t.Errorf("the request's metrics lack %s: %v", phase, got.last.Metrics.Stages)
		}
	}
	list, err := e.StageDurations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, d := range list {
		counts[d.Stage+"."+d.Phase] = d.Count
		if d.SumSeconds <= 0 || d.Buckets[len(d.Buckets)-1] != d.Count {
			t.Errorf("%s.%s: %+v", d.Stage, d.Phase, d)
		}
	}
	if counts["thinker.prefill"] != 1 || counts["thinker.decode_step"] != 4 || counts["code2wav.vocode"] < 1 {
		t.Errorf("counts %v, want 1 prefill and 4 decode steps of the thinker", counts)
	}
}

// What no run has is not thrown away with the temporary directory.
func TestRemoveTempKeepsRecordings(t *testing.T) {
	for _, lost := range []bool{false, true} {
		e := &Engine{tempDir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
		recording := filepath.Join(hub.SpoolDir(e.tempDir), "SESSION", "stage0_replica0_rank0"+protocol.RecordingExt)
		for _, dir := range []string{filepath.Dir(recording), filepath.Join(e.tempDir, "jetstream", "x")} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if lost {
			if err := os.WriteFile(recording, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.removeTemp(); err != nil {
			t.Fatal(err)
		}
		left, err := filepath.Glob(filepath.Join(e.tempDir, "*"))
		if want := map[bool]int{false: 0, true: 1}[lost]; err != nil || len(left) != want {
			t.Errorf("lost recording %v: %v is left, %v", lost, left, err)
		}
		if _, err := os.Stat(recording); (err == nil) != lost {
			t.Errorf("lost recording %v: %v", lost, err)
		}
	}
}
