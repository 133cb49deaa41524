package native

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var info = protocol.RankInfo{RankID: protocol.RankID{Pipeline: "omni", Stage: 1, Rank: 2}, StageName: "talker",
	WorldSize: 4}

var span = profiler.Intern("iteration")

// unit is a handler on a real recorder, and its track.
type unit struct {
	*driver.Rank
	t     *testing.T
	track *profiler.Track
	spool string
}

func newUnit(t *testing.T, opts ...driver.Option) *unit {
	t.Helper()
	rec := profiler.New(profiler.Config{Process: "test", FlushEvery: time.Hour})
	spool := filepath.Join(t.TempDir(), "spool")
	opts = append(opts, driver.WithLogger(slog.New(slog.DiscardHandler)))
	u := &unit{Rank: NewRank(rec, info, spool, opts...), t: t, track: rec.Track("t"), spool: spool}
	return u
}

// left is what Leftovers finds.
func (u *unit) left() []string { return driver.Spool{Dir: u.spool, Base: info.FileBase()}.Leftovers() }

func (u *unit) close() {
	u.t.Helper()
	if err := u.Close(); err != nil {
		u.t.Errorf("Close: %v", err)
	}
	u.track.Close()
}

// iterate works n whole iterations.
func (u *unit) iterate(n int) {
	for range n {
		u.BeginStep()
		u.track.Begin(span, profiler.CategoryAnnotation).End()
		u.Step()
	}
}

func (u *unit) arm(c protocol.ProfilerConfig, change func(*protocol.ArmRequest)) string {
	u.t.Helper()
	r := protocol.ArmRequest{Session: ulid.Make().String(), Config: c, MaxDurationNs: int64(time.Hour), Hub: "h"}
	if change != nil {
		change(&r)
	}
	s, err := u.Arm(u.t.Context(), r)
	if err != nil || s.State != protocol.StateArmed {
		u.t.Fatalf("Arm: %+v, %v", s, err)
	}
	return r.Session
}

func (u *unit) start(id string) {
	u.t.Helper()
	s, err := u.Start(u.t.Context(), protocol.BeginRequest{Session: id})
	if err != nil || s.State != protocol.StateRecording {
		u.t.Fatalf("Start: %+v, %v", s, err)
	}
}

func (u *unit) stop(id string) protocol.RankStatus {
	u.t.Helper()
	s, err := u.Stop(u.t.Context(), protocol.StopRequest{Session: id})
	if err != nil {
		u.t.Fatalf("Stop: %v", err)
	}
	return s
}

// spans counts the whole iterations of the recording at path; it must not be cut.
func spans(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rd, err := format.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, name := range g.Slices.Name {
			if rd.Strings()[name] == "iteration" {
				n++
			}
		}
	}
	if rd.Cut() != nil {
		t.Fatalf("recording is cut: %+v", rd.Cut())
	}
	return n
}

func TestRecordsTheWindow(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	id := u.arm(protocol.ProfilerConfig{DelayIterations: 2, MaxIterations: 3}, nil)
	u.iterate(4) // before the start: not counted
	u.start(id)
	u.iterate(10)
	s := u.stop(id)
	if s.State != protocol.StateStopped || s.Iterations != 3 || s.StoppedBy != protocol.StoppedByIterations ||
		s.Events == 0 {
		t.Fatalf("%+v", s)
	}
	again := u.stop(id)
	if d := cmp.Diff(s, again); d != "" {
		t.Errorf("second stop differs:\n%s", d)
	}
	_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: id})
	if err != nil || len(over.Files) != 1 {
		t.Fatalf("Collect: %v, %v", over.Files, err)
	}
	if want := filepath.Join(u.spool, id, "stage1_replica0_rank2.ksrec"); over.Files[0].Path != want ||
		spans(t, want) != 3 {
		t.Errorf("file %+v, want 3 iterations in %s", over.Files[0], want)
	}
	if fi, err := os.Stat(over.Files[0].Path); err != nil || uint64(fi.Size()) != s.Bytes {
		t.Errorf("status says %d bytes, file %v, %v", s.Bytes, fi.Size(), err)
	}
	if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: id}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(u.spool); len(left) != 0 {
		t.Errorf("spool is left: %v", left)
	}
}

func TestAStepUnderWayIsNotCounted(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	id := u.arm(protocol.ProfilerConfig{MaxIterations: 2}, nil)
	u.BeginStep()
	u.start(id)
	u.Step()
	u.iterate(5)
	if s := u.stop(id); s.Iterations != 2 ||
		spans(t, filepath.Join(u.spool, id, info.FileBase()+protocol.RecordingExt)) != 2 {
		t.Fatalf("%+v", s)
	}
}

func TestIterationRequest(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	id := u.arm(protocol.ProfilerConfig{MaxIterations: 1, Iteration: "request"}, nil)
	u.start(id)
	u.iterate(50)
	if s := u.Status(t.Context()); s.State != protocol.StateRecording {
		t.Fatalf("steps ended it: %+v", s)
	}
	u.Request()
	if s := u.stop(id); s.Iterations != 1 || s.StoppedBy != protocol.StoppedByIterations {
		t.Fatalf("%+v", s)
	}
}

func TestStopWhateverTheState(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	armed := u.arm(protocol.ProfilerConfig{}, nil)
	if s := u.stop(armed); s.State != protocol.StateStopped {
		t.Errorf("stop when armed: %+v", s)
	}
	waiting := u.arm(protocol.ProfilerConfig{DelayIterations: 5}, nil)
	u.start(waiting)
	u.iterate(2)
	s := u.stop(waiting)
	if s.State != protocol.StateStopped || !strings.Contains(s.Reason, "schedule") {
		t.Errorf("stop when waiting: %+v", s)
	}
	if _, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: waiting}); err != nil ||
		len(over.Files) != 0 {
		t.Errorf("Collect of nothing: %v, %v", over.Files, err)
	}
	if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: "unknown"}); err == nil {
		t.Error("stop of an unknown session succeeded")
	}
}

func TestStartAfterStopReturns(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	id := u.arm(protocol.ProfilerConfig{}, nil)
	var wg sync.WaitGroup
	wg.Go(func() { // waits for an instant that does not come
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: id,
			AtNs: time.Now().Add(time.Hour).UnixNano()}); err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	for u.stop(id).State != protocol.StateStopped {
	}
	wg.Wait()
}

func TestArmRefusals(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	id := u.arm(protocol.ProfilerConfig{}, nil)
	if s, err := u.Arm(t.Context(), protocol.ArmRequest{Session: id, Hub: "h"}); err != nil || s.Session != id {
		t.Errorf("arming again: %+v, %v", s, err)
	}
	other := ulid.Make().String()
	if _, err := u.Arm(t.Context(), protocol.ArmRequest{Session: other, Hub: "another"}); err == nil ||
		!strings.Contains(err.Error(), id) {
		t.Errorf("a second hub: %v", err)
	}
	for _, bad := range []string{"", "../../x", "x"} {
		if _, err := u.Arm(t.Context(), protocol.ArmRequest{Session: bad, Hub: "h"}); err == nil {
			t.Errorf("session %q was armed", bad)
		}
	}
	if _, err := u.Arm(t.Context(), protocol.ArmRequest{Session: other, Hub: "h",
		Config: protocol.ProfilerConfig{Iteration: "x"}}); err == nil {
		t.Error("a bad configuration was armed")
	}
	// The hub that has given a session up arms the next: the old one ends and is kept.
	u.start(id)
	u.iterate(3)
	next := u.arm(protocol.ProfilerConfig{}, nil)
	if s := u.stop(id); s.StoppedBy != protocol.StoppedBySuperseded ||
		spans(t, filepath.Join(u.spool, id, info.FileBase()+protocol.RecordingExt)) != 3 {
		t.Errorf("superseded: %+v", s)
	}
	u.stop(next)
}

func TestUnwritableSpoolRefusesToArm(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	if err := os.WriteFile(u.spool, nil, 0o644); err != nil { // a file where the directory belongs
		t.Fatal(err)
	}
	if _, err := u.Arm(t.Context(), protocol.ArmRequest{Session: ulid.Make().String()}); err == nil {
		t.Fatal("armed without a place to write")
	}
}

// brokenRecorder fails where it is told to.
type brokenRecorder struct{ start, stop error }

func (b brokenRecorder) Start(o profiler.StartOptions) error { return b.start }
func (b brokenRecorder) Stop() (profiler.Stats, error)       { return profiler.Stats{}, b.stop }

func TestRecorderFailuresAreNamed(t *testing.T) {
	for _, b := range []brokenRecorder{{start: errors.New("already on")}, {stop: errors.New("disk full")}} {
		h := NewRank(b, info, t.TempDir(), driver.WithLogger(slog.New(slog.DiscardHandler)))
		id := ulid.Make().String()
		if _, err := h.Arm(t.Context(), protocol.ArmRequest{Session: id}); err != nil {
			t.Fatal(err)
		}
		_, err := h.Start(t.Context(), protocol.BeginRequest{Session: id})
		if (err != nil) != (b.start != nil) {
			t.Fatalf("Start: %v", err)
		}
		s, err := h.Stop(t.Context(), protocol.StopRequest{Session: id})
		if err != nil || s.State != protocol.StateFailed ||
			!strings.Contains(s.Reason, errors.Join(b.start, b.stop).Error()) {
			t.Fatalf("Stop: %+v, %v", s, err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The watchdogs in virtual time: no profiler stays on, whoever has died.
func TestWatchdogs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*protocol.ArmRequest)
		beats  int // seconds in which the hub beats
		cause  protocol.StopCause
		after  time.Duration
	}{
		{"max duration", func(r *protocol.ArmRequest) { r.MaxDurationNs = int64(10 * time.Second) }, 60,
			protocol.StoppedByMaxDuration, 10 * time.Second},
		{"hub lost", nil, 20, protocol.StoppedByHubLost, 50 * time.Second},
		{"no hub", func(r *protocol.ArmRequest) { r.Hub = "" }, 0, protocol.StoppedByMaxDuration, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := NewRank(brokenRecorder{}, info, t.TempDir(), driver.WithLogger(slog.New(slog.DiscardHandler)))
			r := protocol.ArmRequest{Session: ulid.Make().String(), MaxDurationNs: int64(time.Hour), Hub: "h"}
			if tt.change != nil {
				tt.change(&r)
			}
			if _, err := h.Arm(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Start(t.Context(), protocol.BeginRequest{Session: r.Session}); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			for range tt.beats {
				time.Sleep(time.Second)
				h.HubSeen("h")
				h.HubSeen("another") // is no sign of ours
			}
			synctest.Wait()
			s := h.Status(t.Context())
			for s.State == protocol.StateRecording {
				time.Sleep(time.Second)
				synctest.Wait()
				s = h.Status(t.Context())
			}
			if d := time.Since(begun); tt.beats < 60 && d != tt.after {
				t.Errorf("%s: ended after %v, want %v", tt.name, d, tt.after)
			}
			if s, err := h.Stop(t.Context(), protocol.StopRequest{Session: r.Session}); err != nil ||
				s.StoppedBy != tt.cause || s.State != protocol.StateStopped ||
				s.StoppedAtNs-s.StartedAtNs != int64(tt.after) {
				t.Errorf("%s: %+v, %v", tt.name, s, err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAgreedInstantIsOfTheRanksClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const skew = -5 * time.Hour
		now := func() time.Time { return time.Now().Add(skew) }
		h := NewRank(brokenRecorder{}, info, t.TempDir(), driver.WithClock(now))
		id := ulid.Make().String()
		if _, err := h.Arm(t.Context(), protocol.ArmRequest{Session: id}); err != nil {
			t.Fatal(err)
		}
		at := now().Add(70 * time.Millisecond)
		begun := time.Now()
		s, err := h.Start(t.Context(), protocol.BeginRequest{Session: id, AtNs: at.UnixNano()})
		if err != nil || s.StartedAtNs != at.UnixNano() || time.Since(begun) != 70*time.Millisecond {
			t.Fatalf("%+v, %v after %v", s, err, time.Since(begun))
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMaxBytesEndsTheRecordingWhole(t *testing.T) {
	rec := profiler.New(profiler.Config{FlushEvery: time.Millisecond})
	track := rec.Track("t")
	defer track.Close()
	h := NewRank(rec, info, t.TempDir(), driver.WithLogger(slog.New(slog.DiscardHandler)))
	id := ulid.Make().String()
	if _, err := h.Arm(t.Context(), protocol.ArmRequest{Session: id, MaxBytes: 10_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(t.Context(), protocol.BeginRequest{Session: id}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for h.Status(t.Context()).State == protocol.StateRecording && ctx.Err() == nil {
		track.Begin(span, profiler.CategoryAnnotation).End()
	}
	s, err := h.Stop(t.Context(), protocol.StopRequest{Session: id})
	if err != nil || s.StoppedBy != protocol.StoppedByMaxBytes || s.Bytes < 10_000 {
		t.Fatalf("%+v, %v", s, err)
	}
	_, over, err := h.Collect(t.Context(), protocol.CollectRequest{Session: id})
	if err != nil || len(over.Files) != 1 || spans(t, over.Files[0].Path) == 0 {
		t.Fatalf("%v, %v", over.Files, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStepCostsNothingWhenIdle(t *testing.T) {
	u := newUnit(t)
	defer u.close()
	if n := testing.AllocsPerRun(100, func() { u.BeginStep(); u.Step(); u.Request() }); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}
