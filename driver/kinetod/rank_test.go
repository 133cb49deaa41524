package kinetod

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// quick is the timing of a process that asks every 20 ms.
var quick = timing{poll: 40 * time.Millisecond, tick: 10 * time.Millisecond, slack: 60 * time.Millisecond,
	busy:    60 * time.Millisecond,
	appears: 200 * time.Millisecond, writing: 500 * time.Millisecond, look: time.Millisecond}

const pid = 4242

func me() User { return User{UID: os.Getuid(), GID: os.Getgid()} }

// testRank is a rank whose driver's insides are in reach.
type testRank struct {
	*driver.Rank
	*Driver
}

func (r *testRank) Call(ctx context.Context, q protocol.CallRequest) (any, error) {
	return r.Rank.Call(ctx, q)
}

func newRank(t *testing.T, d *Daemon, to Target) *testRank {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	k := newDriver(d, to, log, quick)
	r := &testRank{driver.NewRank(k, protocol.RankInfo{}, driver.WithLogger(log), driver.WithCalls(k.Call)), k}
	t.Cleanup(func() {
		if err := r.Rank.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// newTestRank is a rank of a process that behaves as b says; the traces lie under dir.
func newTestRank(t *testing.T, b kinetodtest.Behaviour) (r *testRank, tr *kinetodtest.Trainer, dir string) {
	t.Helper()
	sockets := socketDir(t)
	d := listen(t, sockets)
	b.PID = pid
	tr = kinetodtest.Start(t, sockets, b)
	known(t, d, pid)
	dir = t.TempDir()
	r = newRank(t, d, Target{PID: pid, User: me(), TraceDir: dir})
	return r, tr, dir
}

// patientRank is newTestRank for what is not about time: a process that asks or writes late, on a machine
// that has other things to do, is waited for.
func patientRank(t *testing.T, b kinetodtest.Behaviour) (r *testRank, tr *kinetodtest.Trainer, dir string) {
	t.Helper()
	r, tr, dir = newTestRank(t, b)
	r.time.slack, r.time.writing = 2*time.Second, time.Minute
	return r, tr, dir
}

func armRequest() protocol.ArmRequest {
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	return protocol.ArmRequest{Session: ulid.Make().String(), Config: cfg, MaxDurationNs: int64(30 * time.Millisecond),
		Hub: "h"}
}

// recorded reports whether st is of a rank that records, or has done so already: what the
// requests ask for is over in 30 ms.
func recorded(st protocol.RankStatus) bool {
	return st.State == protocol.StateRecording || st.State == protocol.StateStopped &&
		st.StoppedBy == protocol.StoppedByMaxDuration
}

func start(t *testing.T, r *testRank, q protocol.ArmRequest) (protocol.RankStatus, error) {
	t.Helper()
	if st, err := r.Arm(t.Context(), q); err != nil || st.State != protocol.StateArmed {
		t.Fatalf("%+v, %v", st, err)
	}
	return r.Start(t.Context(), protocol.BeginRequest{Session: q.Session, AtNs: time.Now().UnixNano()})
}

// files is what lies under dir, without directories.
func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRankRecords(t *testing.T) {
	for _, gz := range []bool{true, false} {
		r, tr, dir := newTestRank(t, kinetodtest.Behaviour{})
		q := armRequest()
		q.Config.UseGzip = gz
		before := time.Now()
		st, err := start(t, r, q)
		if err != nil || !recorded(st) {
			t.Fatalf("%+v, %v", st, err)
		}
		if at := time.Unix(0, st.StartedAtNs); at.Sub(before) < quick.lead()-time.Millisecond || time.Now().Before(at) {
			t.Errorf("recording began %v after the instant, the answer came at %v of it", at.Sub(before),
				time.Since(at))
		}
		if again, err := r.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil ||
			again.StartedAtNs != st.StartedAtNs {
			t.Errorf("a second start: %+v, %v", again, err)
		}
		got, out, err := collect(t, r, q.Session)
		if err != nil || len(out) != 1 || got.Events != 2 || got.State != protocol.StateStopped ||
			got.StoppedBy != protocol.StoppedByMaxDuration {
			t.Fatalf("%+v, %v, %v", got, out, err)
		}
		if s := time.Duration(got.StoppedAtNs - got.StartedAtNs); s != 30*time.Millisecond {
			t.Errorf("recorded for %v", s)
		}
		f, err := os.Open(out[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		var in io.Reader = f
		if gz {
			if in, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(in)
		if err != nil || !strings.Contains(string(b), "aten::mm") || (out[0].Name == "trace.json.gz") != gz ||
			out[0].Kind != "trace" {
			t.Errorf("%+v: %d bytes, %v", out[0], len(b), err)
		}
		f.Close()
		if c := tr.Configs(); len(c) != 1 || c[0]["REQUEST_TRACE_ID"] != q.Session ||
			c[0]["ACTIVITIES_DURATION_MSECS"] != "30" {
			t.Errorf("told %v", c)
		}
		if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session, Reason: "collected"}); err != nil {
			t.Error(err)
		}
		if left := files(t, dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		if st := r.Status(t.Context()); st.State != protocol.StateIdle {
			t.Errorf("%+v", st)
		}
	}
}

// A stop is answered at once; the trace is whole and comes when the process is done.
func TestRankStopsBeforeItsTime(t *testing.T) {
	r, _, _ := newTestRank(t, kinetodtest.Behaviour{})
	q := armRequest()
	q.MaxDurationNs = int64(300 * time.Millisecond)
	if _, err := start(t, r, q); err != nil {
		t.Fatal(err)
	}
	st, err := r.Stop(t.Context(), protocol.StopRequest{Session: q.Session})
	if err != nil || st.State != protocol.StateStopped || st.StoppedBy != protocol.StoppedByRequest ||
		!strings.Contains(st.Reason, "the trace goes on for") {
		t.Fatalf("%+v, %v", st, err)
	}
	if again, err := r.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil ||
		again.StoppedAtNs != st.StoppedAtNs {
		t.Errorf("a second stop: %+v, %v", again, err)
	}
	next := armRequest()
	if _, err := r.Arm(t.Context(), next); !errors.Is(err, ErrBusy) {
		t.Errorf("another session meanwhile: %v", err)
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Collect(short, protocol.CollectRequest{Session: q.Session}); err == nil ||
		!strings.Contains(err.Error(), "still writes") {
		t.Errorf("a collect that does not wait: %v", err)
	}
	if _, out, err := collect(t, r, q.Session); err != nil || len(out) != 1 {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := r.Arm(t.Context(), next); err != nil {
		t.Errorf("another session afterwards: %v", err)
	}
}

// A process that was busy when it last asked, with the recording before perhaps, is waited for.
func TestRankWaitsForTheNextQuestion(t *testing.T) {
	r, tr, _ := newTestRank(t, kinetodtest.Behaviour{Busy: true, Poll: time.Hour})
	r.time.poll = 10 * time.Second
	out := make(chan error, 1)
	go func() {
		_, err := r.Arm(t.Context(), armRequest())
		out <- err
	}()
	tr.SetBusy(false)
	tr.Ask()
	if err := <-out; err != nil {
		t.Error(err)
	}
}

func TestRankRefusesWhatKinetoCannot(t *testing.T) {
	r, tr, dir := newTestRank(t, kinetodtest.Behaviour{})
	for want, change := range map[string]func(*protocol.ArmRequest){
		"keeps no past":     func(q *protocol.ArmRequest) { q.LastNs = 1 },
		"iterations cannot": func(q *protocol.ArmRequest) { q.Config.MaxIterations = 3 },
		"is no ULID":        func(q *protocol.ArmRequest) { q.Session = "../x" },
		`has no "NPU"`:      func(q *protocol.ArmRequest) { q.Config.Activities = []string{"NPU"} },
	} {
		q := armRequest()
		change(&q)
		if _, err := r.Arm(t.Context(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	tr.SetBusy(true)
	eventually(t, "busy", func() bool { p, _ := r.d.Process(pid); return p.Busy })
	if _, err := r.Arm(t.Context(), armRequest()); !errors.Is(err, ErrBusy) {
		t.Errorf("a busy process: %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for name, err := range map[string]error{
		"start":   second(r.Start(t.Context(), protocol.BeginRequest{Session: "x"})),
		"stop":    second(r.Stop(t.Context(), protocol.StopRequest{Session: "x"})),
		"collect": third(r.Collect(t.Context(), protocol.CollectRequest{Session: "x"})),
	} {
		if err == nil {
			t.Errorf("%s of an unknown session is taken", name)
		}
	}
	if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: "x"}); err != nil {
		t.Errorf("abort of an unknown session: %v", err)
	}
}

// collect waits until r has recorded and collects.
func collect(t *testing.T, r *testRank, session string) (protocol.RankStatus, []rank.File, error) {
	t.Helper()
	eventually(t, "recorded", func() bool { return r.Status(t.Context()).State != protocol.StateRecording })
	s, h, err := r.Collect(t.Context(), protocol.CollectRequest{Session: session})
	return s, h.Files, err
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

// A rank that is armed and given up is free for the next session; another hub's is not taken.
func TestRankArmsAnew(t *testing.T) {
	r, _, dir := newTestRank(t, kinetodtest.Behaviour{})
	first, other, next := armRequest(), armRequest(), armRequest()
	other.Hub = "another"
	for range 2 {
		if _, err := r.Arm(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Arm(t.Context(), other); err == nil || !strings.Contains(err.Error(), first.Session) {
		t.Errorf("another hub: %v", err)
	}
	if _, err := r.Arm(t.Context(), next); err != nil {
		t.Errorf("the same hub: %v", err)
	}
	if st, err := r.Start(t.Context(), protocol.BeginRequest{Session: first.Session}); err != nil ||
		st.State != protocol.StateStopped {
		t.Errorf("the session that was given up starts: %+v, %v", st, err)
	}
	dirs, err := os.ReadDir(dir)
	if err != nil || len(dirs) != 1 {
		t.Errorf("%v, %v", dirs, err)
	}
}

func TestRankFails(t *testing.T) {
	t.Run("the process does not ask", func(t *testing.T) {
		t.Parallel()
		r, _, _ := newTestRank(t, kinetodtest.Behaviour{Poll: time.Hour})
		st, err := start(t, r, armRequest())
		if err == nil || st.State != protocol.StateFailed || !strings.Contains(err.Error(), "did not ask") {
			t.Errorf("%+v, %v", st, err)
		}
	})
	t.Run("it takes the request and does nothing", func(t *testing.T) {
		t.Parallel()
		r, _, _ := patientRank(t, kinetodtest.Behaviour{Deaf: true})
		st, err := start(t, r, armRequest())
		if err == nil || st.State != protocol.StateFailed || !strings.Contains(err.Error(), "does not record") {
			t.Errorf("%+v, %v", st, err)
		}
	})
	t.Run("it comes too late for the warmup", func(t *testing.T) {
		t.Parallel()
		r, _, dir := patientRank(t, kinetodtest.Behaviour{Late: true})
		q := armRequest()
		q.MaxDurationNs = int64(time.Minute)
		began := time.Now()
		if _, err := start(t, r, q); err != nil {
			t.Fatal(err)
		}
		_, _, err := collect(t, r, q.Session)
		if err == nil || !strings.Contains(err.Error(), "too little time for its warm-up") {
			t.Error(err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it is known after %v, of a minute", took)
		}
		if st, err := r.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil ||
			st.State != protocol.StateFailed {
			t.Errorf("%+v, %v", st, err)
		}
		if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil ||
			len(files(t, dir)) > 0 {
			t.Errorf("left: %v, %v", files(t, dir), err)
		}
	})
	t.Run("its trace is larger than it may be", func(t *testing.T) {
		t.Parallel()
		r, _, _ := patientRank(t, kinetodtest.Behaviour{})
		q := armRequest()
		q.MaxBytes = 10
		if _, err := start(t, r, q); err != nil {
			t.Fatal(err)
		}
		if _, _, err := collect(t, r, q.Session); err == nil || !strings.Contains(err.Error(), "max_bytes 10") {
			t.Error(err)
		}
	})
	t.Run("it never writes", func(t *testing.T) {
		t.Parallel()
		r, _, _ := patientRank(t, kinetodtest.Behaviour{Write: func(string, string) error { return nil }})
		r.time.writing = quick.writing
		q := armRequest()
		if _, err := start(t, r, q); err != nil {
			t.Fatal(err)
		}
		if _, _, err := collect(t, r, q.Session); err == nil || !strings.Contains(err.Error(), "has not written") {
			t.Error(err)
		}
	})
	t.Run("it dies", func(t *testing.T) {
		t.Parallel()
		r, tr, _ := patientRank(t, kinetodtest.Behaviour{})
		q := armRequest()
		q.MaxDurationNs = int64(time.Minute)
		if _, err := start(t, r, q); err != nil {
			t.Fatal(err)
		}
		tr.Stop()
		r.Ended()
		if _, _, err := collect(t, r, q.Session); err == nil ||
			!strings.Contains(err.Error(), "process 4242 has ended") {
			t.Errorf("a trace of a process that died: %v", err)
		}
		if st := r.Status(t.Context()); st.State != protocol.StateIdle || r.Holds() {
			t.Errorf("%+v, holds %v", st, r.Holds())
		}
	})
	t.Run("it dies when its trace is written", func(t *testing.T) {
		t.Parallel()
		r, tr, _ := patientRank(t, kinetodtest.Behaviour{})
		q := armRequest()
		if _, err := start(t, r, q); err != nil {
			t.Fatal(err)
		}
		r.wg.Wait()
		tr.Stop()
		r.Ended()
		if _, out, err := collect(t, r, q.Session); err != nil || len(out) != 1 || !r.Holds() {
			t.Errorf("%v, %v, holds %v", out, err, r.Holds())
		}
		if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil || r.Holds() {
			t.Errorf("%v, holds %v", err, r.Holds())
		}
	})
	// The agent may read what the process may not: it must not be led to other files.
	t.Run("it puts links beside its trace", func(t *testing.T) {
		t.Parallel()
		precious := filepath.Join(t.TempDir(), "precious")
		if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, gz := range []bool{true, false} {
			r, _, _ := patientRank(t, kinetodtest.Behaviour{Write: func(tmp, file string) error {
				for _, name := range []string{"packed.json.gz", "trace.json.gz", "trace.json"} {
					if err := os.Symlink(precious, filepath.Join(filepath.Dir(file), name)); err != nil {
						return err
					}
				}
				return os.Rename(tmp, file)
			}})
			q := armRequest()
			q.Config.UseGzip = gz
			if _, err := start(t, r, q); err != nil {
				t.Fatal(err)
			}
			_, out, err := collect(t, r, q.Session)
			if err != nil || len(out) != 1 || strings.HasPrefix(out[0].Path, r.to.TraceDir+"/") {
				t.Errorf("handed over: %v, %v; want a file outside of the process's directory", out, err)
			}
			if b, err := os.ReadFile(precious); err != nil || string(b) != "mine" {
				t.Errorf("another file is now %q, %v", b, err)
			}
		}
	})
	t.Run("it puts a link in place of the trace", func(t *testing.T) {
		t.Parallel()
		secret := filepath.Join(t.TempDir(), "secret.json")
		if err := os.WriteFile(secret, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
			r, _, _ := patientRank(t, kinetodtest.Behaviour{Write: func(_,
				file string) error {
				return link(secret, file)
			}})
			q := armRequest()
			if _, err := start(t, r, q); err != nil {
				t.Fatal(err)
			}
			if _, out, err := collect(t, r, q.Session); err == nil {
				t.Errorf("a %s link is taken: %v", name, out)
			}
		}
	})
}

// An aborted recording goes on in the process, and its file is removed when it comes.
func TestRankAbortRemovesWhatComesLater(t *testing.T) {
	r, _, dir := newTestRank(t, kinetodtest.Behaviour{})
	q := armRequest()
	q.MaxDurationNs = int64(100 * time.Millisecond)
	if _, err := start(t, r, q); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session, Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	r.wg.Wait()
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A process is not told to record for a session that was given up meanwhile.
func TestRankAbortBeforeTheProcessIsTold(t *testing.T) {
	r, tr, dir := newTestRank(t, kinetodtest.Behaviour{Poll: time.Hour})
	q := armRequest()
	if _, err := r.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	out := make(chan protocol.RankStatus, 1)
	go func() {
		st, _ := r.Start(t.Context(), protocol.BeginRequest{Session: q.Session, AtNs: time.Now().UnixNano()})
		out <- st
	}()
	eventually(t, "waiting", func() bool { r.d.mu.Lock(); defer r.d.mu.Unlock(); return r.d.table[pid].offer != nil })
	if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session, Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if st := <-out; st.State != protocol.StateStopped || st.StartedAtNs != 0 {
		t.Errorf("%+v", st)
	}
	r.wg.Wait()
	tr.Ask()
	eventually(t, "answered", func() bool { return tr.Replies() > 1 })
	if c := tr.Configs(); len(c) != 0 {
		t.Errorf("told %v", c)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := r.Arm(t.Context(), armRequest()); err != nil {
		t.Errorf("another session afterwards: %v", err)
	}
}

func TestRankCalls(t *testing.T) {
	r, _, _ := newTestRank(t, kinetodtest.Behaviour{})
	for method, want := range map[string]any{"ping": "pong", "flight": false} {
		if got, err := r.Call(t.Context(), protocol.CallRequest{Method: method}); err != nil || got != want {
			t.Errorf("%s: %v, %v", method, got, err)
		}
	}
	if got, err := r.Call(t.Context(), protocol.CallRequest{Method: "info"}); err != nil ||
		got.(map[string]any)["pid"] != pid {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := r.Call(t.Context(), protocol.CallRequest{Method: "sleep"}); err == nil {
		t.Error("an unknown method is answered")
	}
}

// A directory that somebody else made first is not trusted.
func TestDirectoryOfTracesIsNew(t *testing.T) {
	r, _, dir := newTestRank(t, kinetodtest.Behaviour{})
	q := armRequest()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "kinetoscope-"+q.Session+"-4242")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Arm(t.Context(), q); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
}

// A trace with nothing in it is a trace, and the session says that nothing is in it.
func TestRankThatDidNothing(t *testing.T) {
	r, _, _ := newTestRank(t, kinetodtest.Behaviour{
		Trace: []byte(`{"traceEvents":[{"ph":"X","cat":"Trace","name":"PyTorch Profiler (0)",` +
			`"ts":1,"dur":1,"pid":"Spans","tid":"x"}]}`),
	})
	q := armRequest()
	if st, err := start(t, r, q); err != nil || !recorded(st) {
		t.Fatalf("%+v, %v", st, err)
	}
	got, out, err := collect(t, r, q.Session)
	if err != nil || len(out) != 1 || got.State != protocol.StateStopped ||
		!strings.Contains(got.Reason, "as good as empty") {
		t.Errorf("%+v, %v, %v", got, out, err)
	}
}
