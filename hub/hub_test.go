package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

func TestStartStopBringsEverythingHome(t *testing.T) {
	r := newRig(t, nil)
	r.join(2, 1, 1)
	st := r.start(protocol.StartRequest{Prefix: "warm"})
	if st.State != session.StateRecording || len(st.Stages) != 3 || len(st.Stages[0].Ranks) != 2 {
		t.Fatalf("started: %+v", st)
	}
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			if k.State != protocol.StateRecording || k.StartedAtNs < st.StartAtNs+k.Clock.OffsetNs ||
				k.Clock.ErrorNs <= 0 {
				t.Errorf("rank %s: %+v, agreed instant %d", k.RankID.Text(), k, st.StartAtNs)
			}
		}
	}
	r.work(3)
	st = r.stop()
	if st.State != session.StateComplete || st.Error != "" || st.StoppedBy != "request" {
		t.Fatalf("stopped: %+v", st)
	}
	steps := r.verify(st)
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			if k.State != protocol.StateComplete || len(k.Artifacts) != 2 || k.Events == 0 {
				t.Errorf("rank %s: %+v", k.RankID.Text(), k)
			}
			if _, ok := steps[k.RankID]; !ok {
				t.Errorf("rank %s has no recording", k.RankID.Text())
			}
			for _, a := range k.Artifacts {
				if want := "/v1/sessions/" + st.ID + "/artifacts/" + a.Name; a.URL != want {
					t.Errorf("URL %q, want %q", a.URL, want)
				}
			}
		}
	}
	if !strings.HasSuffix(st.RunDir, "_warm_"+st.ID) || len(st.Artifacts) != 1 || st.Artifacts[0].SHA256 == "" {
		t.Errorf("run %s, artifacts %+v", st.RunDir, st.Artifacts)
	}
	// Everything on the way home is gone: objects, spools.
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			obs, err := r.js.ObjectStore(t.Context(), k.ArtifactsBucket())
			if err != nil {
				t.Fatal(err)
			}
			if objs, err := obs.List(t.Context()); err == nil && len(objs) > 0 {
				t.Errorf("%d objects are left of %s", len(objs), k.Text())
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(r.spool, "*")); len(left) > 0 {
		t.Errorf("spools are left: %v", left)
	}
}

func TestFiftyStartsAndStops(t *testing.T) {
	r := newRig(t, nil)
	r.join(2, 1)
	seen := map[string]bool{}
	for i := range 50 {
		r.start(protocol.StartRequest{Prefix: fmt.Sprintf("p%d", i)})
		st := r.stop()
		if st.State != session.StateComplete || seen[st.RunDir] {
			t.Fatalf("round %d: %+v", i, st)
		}
		seen[st.RunDir] = true
		if n := len(r.verify(st)); n != 3 {
			t.Fatalf("round %d: %d recordings of 3", i, n)
		}
	}
	runs, err := r.Store().List()
	if err != nil || len(runs) != 50 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, i := range runs {
		if !i.Complete {
			t.Errorf("%s has no manifest", i.Dir)
		}
	}
}

func TestBusyIdleIdempotent(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	if st := r.stop(); st.State != session.StateIdle {
		t.Fatalf("stop when idle: %+v", st)
	}
	first := r.start(protocol.StartRequest{})
	_, err := r.StartProfile(t.Context(), "omni", protocol.StartRequest{})
	busy, ok := errors.AsType[*ErrBusy](err)
	if !ok || busy.Running().ID != first.ID || busy.HTTPStatus() != 409 {
		t.Fatalf("second start: %v", err)
	}
	st, err := r.StopProfile(canceled(t))
	if !errors.Is(err, context.Canceled) || st.ID != first.ID {
		t.Fatalf("stop by a client that leaves: %+v, %v", st, err)
	}
	if st := r.stop(); st.State != session.StateIdle && (st.ID != first.ID || st.State != session.StateComplete) {
		t.Fatalf("second stop: %+v", st)
	}
	if st := r.stop(); st.State != session.StateIdle {
		t.Fatalf("third stop: %+v", st)
	}
	if st, err := r.Session(first.ID); err != nil || st.State != session.StateComplete {
		t.Fatalf("Session: %+v, %v", st, err)
	}
	if all := r.Sessions(); len(all) != 1 || all[0].ID != first.ID {
		t.Fatalf("Sessions: %+v", all)
	}
	if _, err := r.Session("../x"); err == nil {
		t.Error("an unknown session was found")
	}
}

func TestBadRequestsStartNothing(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	c := r.config(1, 0)
	c.Info.Profiler = nil
	r.add(c)
	r.ready(2)
	neg := -1
	bad := protocol.DefaultProfilerConfig()
	bad.Profiler, bad.Iteration = "torch", "epoch"
	cuda := protocol.DefaultProfilerConfig()
	cuda.Profiler = protocol.ProfilerCUDA
	for name, tt := range map[string]struct {
		q    protocol.StartRequest
		code int
		want string
	}{
		"separator": {protocol.StartRequest{Prefix: "a/b"}, 400, "profile_prefix"},
		"300":       {protocol.StartRequest{Prefix: strings.Repeat("x", 300)}, 400, "300"},
		"stage": {protocol.StartRequest{Stages: []int{0, 7}}, 400,
			"no stage 7; the stages are 0 (thinker), 1 (talker)"},
		"no stages": {protocol.StartRequest{Stages: []int{}}, 400, "empty"},
		"negative":  {protocol.StartRequest{MaxIterations: &neg}, 400, "max_iterations"},
		"iteration": {protocol.StartRequest{Config: &bad}, 400, "epoch"},
		"engine": {protocol.StartRequest{Config: &cuda}, 400,
			"stage 0 (thinker): profiler_config.profiler \"cuda\""},
		"no profiler":  {protocol.StartRequest{Stages: []int{1}}, 404, "1 (talker)"},
		"off":          {protocol.StartRequest{Config: &protocol.ProfilerConfig{}}, 404, "thinker"},
		"pipeline":     {protocol.StartRequest{}, 503, "nope"},
		"max duration": {protocol.StartRequest{MaxDuration: -1}, 400, "max_duration"},
	} {
		pipeline := "omni"
		if name == "pipeline" {
			pipeline = "nope"
		}
		_, err := r.StartProfile(t.Context(), pipeline, tt.q)
		coded, ok := errors.AsType[interface {
			error
			HTTPStatus() int
		}](err)
		if !ok || coded.HTTPStatus() != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %d and %q", name, err, tt.code, tt.want)
		}
	}
	if len(r.Sessions()) != 0 {
		t.Errorf("sessions were made: %+v", r.Sessions())
	}
	// Without a selection, the stages that have a profiler are captured.
	if st := r.start(protocol.StartRequest{}); len(st.Stages) != 1 || st.Stages[0].Name != "thinker" {
		t.Errorf("started %+v", st)
	}
	r.stop()
}

func TestKilledRankIsLostAndItsTraceKept(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	victim := r.config(0, 1)
	p := spawnRank(t, victim)
	r.ready(2)
	st := r.start(protocol.StartRequest{})
	spool := filepath.Join(r.spool, st.ID, victim.Info.FileBase()+protocol.RecordingExt)
	waitFor(t, func() bool { // a few flushes are on disk
		fi, err := os.Stat(spool)
		return err == nil && fi.Size() > 2000
	})
	p.kill(t)
	r.RankGone(victim.Info.RankID, p.inc, "signal: killed")
	begun := time.Now()
	st = r.stop()
	if d := time.Since(begun); d > protocol.PresenceTTL {
		t.Errorf("stop took %v: it waited for a reply that cannot come", d)
	}
	k := st.Rank(victim.Info.RankID)
	if k.State != protocol.StateLost || !strings.HasPrefix(k.Reason,
		"signal: killed; what it recorded is kept up to +") || len(k.Artifacts) == 0 {
		t.Fatalf("victim: %+v", k)
	}
	if other := st.Rank(r.ranks[0].member.Info().RankID); other.State != protocol.StateComplete {
		t.Errorf("other: %+v", other)
	}
	if n := r.verify(st)[victim.Info.RankID]; n == 0 {
		t.Error("the partial recording holds no step")
	}
	if st.State != session.StatePartial || !strings.Contains(st.Error, "killed") {
		t.Errorf("session: %s %s", st.State, st.Error)
	}
}

func TestSilentDeathIsNoticed(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PresenceTTL = 2500 * time.Millisecond })
	p := spawnRank(t, r.config(0, 0))
	r.ready(1)
	started := r.start(protocol.StartRequest{})
	r.spooled(started.ID, r.config(0, 0).Info.RankID)
	p.kill(t) // nobody tells the hub
	st := r.stop()
	if k := st.Stages[0].Ranks[0]; k.State != protocol.StateLost || !strings.Contains(k.Reason, "no sign of life") {
		t.Fatalf("rank: %+v", k)
	}
	if st.State != session.StatePartial || st.Error == "" {
		t.Errorf("a session of which a part is kept is %s: %q", st.State, st.Error)
	}
}

func TestRestartedRankDoesNotAnswerForTheOld(t *testing.T) {
	r := newRig(t, nil)
	old := spawnRank(t, r.config(0, 0))
	r.ready(1)
	st := r.start(protocol.StartRequest{})
	old.kill(t)
	young := spawnRank(t, r.config(0, 0))
	if young.inc == old.inc {
		t.Fatal("the incarnation is the same")
	}
	st = r.until(st.ID, func(s *session.Status) bool { return s.State.Terminal() })
	if k := st.Stages[0].Ranks[0]; k.State != protocol.StateLost ||
		!strings.Contains(k.Reason, fmt.Sprintf("another one, %d on ", young.cmd.Process.Pid)) {
		t.Fatalf("rank: %+v, want lost to process %d", k, young.cmd.Process.Pid)
	}
	r.ready(1)
	r.start(protocol.StartRequest{})
	if st := r.stop(); st.State != session.StateComplete {
		t.Fatalf("session on the new process: %+v", st)
	}
}

func TestRankThatNeverAnswers(t *testing.T) {
	bounds := session.Timeouts{Arm: 300 * time.Millisecond, Stop: 300 * time.Millisecond,
		Collect: 300 * time.Millisecond}
	for _, method := range []protocol.Method{protocol.MethodArm, protocol.MethodStop, protocol.MethodCollect} {
		t.Run(string(method), func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Timeouts = bounds })
			r.join(1)
			c := r.config(0, 1)
			c.Block = method
			r.add(c)
			r.ready(2)
			if method == protocol.MethodArm {
				_, err := r.StartProfile(t.Context(), "omni", protocol.StartRequest{})
				ns, ok := errors.AsType[*ErrNotStarted](err)
				if !ok || ns.Session.Rank(c.Info.RankID).State != protocol.StateTimedOut {
					t.Fatalf("start: %v", err)
				}
				if s := r.ranks[0].Status(t.Context()); s.State != protocol.StateIdle {
					t.Fatalf("the other rank is left %s", s.State)
				}
				return
			}
			r.start(protocol.StartRequest{})
			r.work(3)
			st := r.stop()
			k := st.Rank(c.Info.RankID)
			if k.State != protocol.StateTimedOut || !strings.Contains(k.Reason, string(method)) {
				t.Fatalf("rank: %+v", k)
			}
			// Its file is on this host: the abort ended the recording, the salvage took it.
			if len(k.Artifacts) == 0 {
				t.Errorf("nothing was salvaged: %+v", k)
			}
			r.verify(st)
			if st.State != session.StatePartial {
				t.Errorf("session %s: %s", st.State, st.Error)
			}
		})
	}
}

func TestSkewedClockIsMeasured(t *testing.T) {
	r := newRig(t, nil)
	const skew = 90 * time.Second
	c := r.config(0, 0)
	c.Skew = skew
	r.add(c)
	r.join(0, 1)
	r.ready(2)
	st := r.start(protocol.StartRequest{})
	k := st.Stages[0].Ranks[0]
	if off := k.Clock.OffsetNs + int64(skew); max(off, -off) > k.Clock.ErrorNs {
		t.Errorf("offset %d ns ± %d, want %d", k.Clock.OffsetNs, k.Clock.ErrorNs, -int64(skew))
	}
	other := st.Stages[1].Ranks[0]
	// Both began at the one instant, each late by its timer only.
	for _, s := range []protocol.RankStatus{k, other} {
		if late := s.StartedAtNs + s.Clock.OffsetNs - st.StartAtNs; late < -s.Clock.ErrorNs ||
			late > int64(2*time.Second) {
			t.Errorf("stage %d began %v off the agreed instant", s.Stage, time.Duration(late))
		}
	}
	r.stop()
}

func TestMaxIterationsEndsTheSession(t *testing.T) {
	r := newRig(t, nil)
	r.join(2)
	n, delay := 7, 3
	st := r.start(protocol.StartRequest{MaxIterations: &n, DelayIterations: &delay})
	st, err := r.Wait(t.Context(), st.ID)
	if err != nil || st.State != session.StateComplete || st.StoppedBy != "ranks" {
		t.Fatalf("%+v, %v", st, err)
	}
	for id, steps := range r.verify(st) {
		k := st.Rank(id)
		if steps != n || k.Iterations != n || k.StoppedBy != protocol.StoppedByIterations {
			t.Errorf("%s: %d steps in the recording, status %+v; want %d", id.Text(), steps, k, n)
		}
	}
}

func TestBoundsEndTheRecording(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	st := r.start(protocol.StartRequest{MaxDuration: 150 * time.Millisecond})
	if st, err := r.Wait(t.Context(), st.ID); err != nil || st.State != session.StateComplete ||
		len(r.verify(st)) != 1 {
		t.Fatalf("max_duration: %+v, %v", st, err)
	}
	st = r.start(protocol.StartRequest{MaxBytes: 3000})
	st, err := r.Wait(t.Context(), st.ID)
	if err != nil || st.State != session.StateComplete {
		t.Fatalf("max_bytes: %+v, %v", st, err)
	}
	if k := st.Stages[0].Ranks[0]; k.StoppedBy != protocol.StoppedByMaxBytes || k.Bytes < 3000 {
		t.Errorf("rank: %+v", k)
	}
	r.verify(st)
}

func TestStopBeforeTheScheduleOpens(t *testing.T) {
	r := newRig(t, nil)
	c := r.config(0, 0)
	c.Step = time.Hour
	r.add(c)
	r.ready(1)
	wait := 5
	r.start(protocol.StartRequest{DelayIterations: &wait})
	st := r.stop()
	k := st.Stages[0].Ranks[0]
	if st.State != session.StateComplete || k.State != protocol.StateComplete || len(k.Artifacts) != 0 ||
		!strings.Contains(k.Reason, "schedule") {
		t.Fatalf("%+v", st)
	}
}

func TestClientThatVanishesLeavesNothingOn(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	c := r.config(0, 1)
	c.Block = protocol.MethodArm
	r.add(c)
	r.ready(2)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := r.StartProfile(ctx, "omni", protocol.StartRequest{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("start: %v", err)
	}
	waitFor(t, func() bool {
		return r.ranks[0].Status(t.Context()).State == protocol.StateIdle && r.Sessions()[0].State.Terminal()
	})
}

func TestConversionFailureKeepsTheRecordings(t *testing.T) {
	for name, f := range map[string]ConvertFunc{
		"error": func(context.Context, ConvertInput) (map[protocol.RankID][]protocol.Artifact, []protocol.Artifact,
			error) {
			return nil, nil, errors.New("no space left")
		},
		"panic": func(context.Context, ConvertInput) (map[protocol.RankID][]protocol.Artifact, []protocol.Artifact,
			error) {
			panic("no space left")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Convert = f })
			r.join(1)
			r.start(protocol.StartRequest{})
			st := r.stop()
			if st.State != session.StateFailed || !strings.Contains(st.Error, "no space left") ||
				len(r.verify(st)) != 1 {
				t.Fatalf("%+v", st)
			}
		})
	}
}

func TestCallAnswersForEveryRank(t *testing.T) {
	r := newRig(t, nil)
	r.join(2, 1)
	p := spawnRank(t, r.config(2, 0))
	r.ready(4)
	got, err := r.Call(t.Context(), "omni", "echo", map[string]any{"x": "y"}, nil)
	if err != nil || len(got) != 3 || len(got[0].Ranks) != 2 {
		t.Fatalf("echo: %+v, %v", got, err)
	}
	for _, s := range got {
		for _, k := range s.Ranks {
			if m, ok := k.Result.(map[string]any); !k.OK || !ok || m["x"] != "y" {
				t.Errorf("%s: %+v", k.RankID.Text(), k)
			}
		}
	}
	if got, err := r.Call(t.Context(), "omni", "panic", nil, []int{0}); err != nil || got[0].Ranks[0].OK ||
		!strings.Contains(got[0].Ranks[0].Error, "on purpose") {
		t.Errorf("panic: %+v, %v", got, err)
	}
	// What ranks answer is bounded, and text.
	if got, err := r.Call(t.Context(), "omni", "much", nil, []int{0}); err != nil || got[0].Ranks[0].OK ||
		!strings.Contains(got[0].Ranks[0].Error, "at most 256 KiB are taken") || got[0].Ranks[0].Result != nil {
		t.Errorf("too much: %+v, %v", got, err)
	}
	hostile := map[string]any{"k\x1b[2J": []any{map[string]any{"x": "\u202efdp"}}}
	if got, err := r.Call(t.Context(), "omni", "echo", hostile, []int{0}); err != nil ||
		fmt.Sprint(got[0].Ranks[0].Result) != "map[k [2J:[map[x: fdp]]]" {
		t.Errorf("hostile: %+v, %v", got, err)
	}
	// One rank hangs and is killed meanwhile: its part of the reply ends at once.
	type answer struct {
		replies []protocol.StageReply
		err     error
	}
	out := make(chan answer, 1)
	go func() {
		replies, err := r.Call(t.Context(), "omni", "hang", nil, []int{2})
		out <- answer{replies, err}
	}()
	p.kill(t)
	id := protocol.RankID{Pipeline: "omni", Stage: 2}
	r.RankGone(id, "", "signal: killed")
	a := <-out
	if _, none := errors.AsType[*protocol.FieldError](a.err); none {
		return // the kill won the race against the call: stage 2 is not there any more
	}
	if a.err != nil || a.replies[0].Ranks[0].OK || a.replies[0].Ranks[0].Error != "lost: signal: killed" {
		t.Errorf("hang: %+v, %v", a.replies, a.err)
	}
}

// TestRefusals: a rank may refuse faster than the service returns that handed it the request. Under the race detector
// this finds who writes into a request that the service still reads.
func TestRefusals(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	for range 300 {
		got, err := r.Call(t.Context(), "omni", "panic", nil, []int{0})
		if err != nil || got[0].Ranks[0].OK || !strings.Contains(got[0].Ranks[0].Error, "on purpose") {
			t.Fatalf("%+v, %v", got, err)
		}
	}
}

func TestHubRestartGoesOnWithTheSession(t *testing.T) {
	addr := freePort(t)
	r := newRig(t, func(c *Config) { c.Listen = addr })
	r.join(1)
	spawnRank(t, r.config(0, 1))
	r.ready(2)
	st := r.start(protocol.StartRequest{Prefix: "kept"})
	if err := r.Hub.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := Start(t.Context(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Hub = h
	got := r.until(st.ID, func(s *session.Status) bool { return s.State.Terminal() })
	if got.State != session.StateComplete || got.StoppedBy != "hub_restart" || len(r.verify(got)) != 2 {
		t.Fatalf("after the restart: %+v", got)
	}
	r.ready(2)
	r.start(protocol.StartRequest{})
	if st := r.stop(); st.State != session.StateComplete {
		t.Fatalf("next session: %+v", st)
	}
}

// With a NATS server of its own life, the hub dies and the ranks go on: they end
// the recording themselves, and the next hub brings it home.
func TestHubVanishesAndTheRanksStopThemselves(t *testing.T) {
	srv, err := startServer(&Config{DataDir: t.TempDir()}, testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	t.Run("rig", func(t *testing.T) { // ends before the server does
		r := newRig(t, func(c *Config) { c.NATSURL, c.Name = srv.ownURL(), "h1" })
		c := r.config(0, 0)
		c.HubLoss = 1500 * time.Millisecond
		k := r.add(c)
		r.ready(1)
		st := r.start(protocol.StartRequest{})
		r.work(1)
		if err := r.Hub.Close(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return k.Status(t.Context()).State == protocol.StateIdle })
		if r.Hub, err = Start(t.Context(), r.cfg); err != nil {
			t.Fatal(err)
		}
		got := r.until(st.ID, func(s *session.Status) bool { return s.State.Terminal() })
		if got.State != session.StateComplete || got.Stages[0].Ranks[0].StoppedBy != protocol.StoppedByHubLost ||
			len(r.verify(got)) != 1 {
			t.Fatalf("%+v", got)
		}
	})
}

func TestConversionsQueueWhileTheNextSessionRecords(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(c *Config) {
		c.Convert = func(ctx context.Context, in ConvertInput) (map[protocol.RankID][]protocol.Artifact,
			[]protocol.Artifact, error) {
			in.Progress(1, 2, "waiting")
			select {
			case <-release:
			case <-ctx.Done():
			}
			return copyConvert(ctx, in)
		}
	})
	r.join(1)
	var ids []string
	for range 3 {
		r.start(protocol.StartRequest{})
		r.work(1)
		st, err := r.StopProfile(canceled(t))
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		r.until(st.ID, func(s *session.Status) bool { return !s.State.HoldsRecorders() })
		ids = append(ids, st.ID)
	}
	st := r.until(ids[0], func(s *session.Status) bool { return s.State == session.StateConverting })
	if _, err := r.Wait(canceled(t), st.ID); !errors.Is(err, context.Canceled) {
		t.Fatalf("wait with a context that has ended: %v", err)
	}
	close(release)
	for _, id := range ids {
		if st, err := r.Wait(t.Context(), id); err != nil || st.State != session.StateComplete ||
			len(r.verify(st)) != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"DataDir":         {},
		"hub name":        {DataDir: t.TempDir(), Name: "a.b"},
		"port":            {DataDir: t.TempDir(), Connection: Connection{Listen: "127.0.0.1:99999"}},
		"listen":          {DataDir: t.TempDir(), Connection: Connection{Listen: "nonsense"}},
		"connect":         {DataDir: t.TempDir(), Connection: Connection{NATSURL: "nats://127.0.0.1:1"}},
		"not a directory": {DataDir: "/dev/null/x"},
	} {
		c.Logger = testLogger(t)
		if h, err := Start(t.Context(), c); err == nil {
			h.Close()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v does not say so", name, err)
		}
	}
}

// waitFor polls what has no event to wait for.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	waittest.Until(t, 20*time.Second, "it did not come about", ok)
}
