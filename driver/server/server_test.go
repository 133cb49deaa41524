package server

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/drivertest"
	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = timing{flush: 20 * time.Second, free: 5 * time.Second, quiet: time.Second, look: 5 * time.Millisecond,
	ask: 20 * time.Millisecond, start: 5 * time.Second, meter: 5 * time.Millisecond,
	report: 20 * time.Second}

var id = protocol.RankID{Pipeline: "p", Stage: 1, Replica: 0, Rank: 0}

// unit is a driver of a server that behaves as its quirks say.
type unit struct {
	*driver.Rank
	t   *testing.T
	srv *servertest.Server
	web *httptest.Server
	d   *Driver
	dir string
}

func openUnit(t *testing.T, engine protocol.Engine, q servertest.Quirks, change func(*Target)) *unit {
	t.Helper()
	dir := t.TempDir()
	return openAt(t, engine, testServers[engine](dir, q), dir, targetOf(engine, q, change))
}

// targetOf makes a target fit for a server of testServers.
func targetOf(engine protocol.Engine, q servertest.Quirks, change func(*Target)) func(*Target) {
	return func(to *Target) {
		to.Token = q.Token
		if engines[engine].layout().stages {
			to.Stages = omniStages
		}
		if change != nil {
			change(to)
		}
	}
}

// testServers are servers that behave as those of an engine do, writing to dir.
var testServers = map[protocol.Engine]func(dir string, q servertest.Quirks) *servertest.Server{
	protocol.EngineVLLM:   servertest.VLLM,
	protocol.EngineSGLang: servertest.SGLang,
	protocol.EngineVLLMOmni: func(dir string, q servertest.Quirks) *servertest.Server {
		return servertest.VLLMOmni(dir, len(omniStages), q)
	},
	protocol.EngineSGLangDiffusion: servertest.SGLangDiffusion,
	protocol.EngineSGLangOmni: func(dir string, q servertest.Quirks) *servertest.Server {
		return servertest.SGLangOmni(dir, omniStages, q)
	},
	protocol.EngineDynamo:      servertest.Dynamo,
	protocol.EngineTensorRTLLM: servertest.TensorRTLLM,
}

// omniStages are the stages of the servers that have several.
var omniStages = []string{"thinker", "talker", "dit"}

// openAt opens a unit that no hub speaks to, which it does not miss.
func openAt(t *testing.T, engine protocol.Engine, srv *servertest.Server, dir string, change func(*Target)) *unit {
	t.Helper()
	return openWithHub(t, engine, srv, dir, change, time.Hour)
}

// openWithHub opens a unit that takes its hub for lost after a while without a word of it.
func openWithHub(t *testing.T, engine protocol.Engine, srv *servertest.Server, dir string, change func(*Target),
	loss time.Duration) *unit {
	t.Helper()
	u := &unit{t: t, dir: dir, srv: srv}
	u.web = httptest.NewServer(u.srv)
	to := Target{Engine: engine, URL: u.web.URL, Dir: u.dir, NoMetrics: true}
	if change != nil {
		change(&to)
	}
	log := slog.New(slog.DiscardHandler)
	d, err := Open(t.Context(), to, id, log)
	if err != nil {
		u.web.Close()
		t.Fatal(err)
	}
	d.time = quick
	u.d = d
	u.Rank = driver.NewRank(d, protocol.RankInfo{RankID: id}, driver.WithLogger(log),
		driver.WithHubLossTimeout(loss), driver.WithCalls(d.Call))
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
		u.web.Close() // no request is under way any more that would have the server write
		u.srv.Wait()
	})
	return u
}

func request(change func(*protocol.ArmRequest)) protocol.ArmRequest {
	q := protocol.ArmRequest{Session: ulid.Make().String(), Hub: "h", MaxDurationNs: int64(time.Minute),
		Config: protocol.ProfilerConfig{Profiler: "torch", ActiveIterations: 5}}
	if change != nil {
		change(&q)
	}
	return q
}

// record runs a session to its files.
func (u *unit) record(change func(*protocol.ArmRequest)) (q protocol.ArmRequest, s protocol.RankStatus,
	over rank.Handover, err error) {
	u.t.Helper()
	ctx := u.t.Context()
	q = request(change)
	if _, err = u.Arm(ctx, q); err != nil {
		return
	}
	if s, err = u.Start(ctx, protocol.BeginRequest{Session: q.Session, AtNs: time.Now().UnixNano()}); err != nil {
		return
	}
	if s, err = u.Stop(ctx, protocol.StopRequest{Session: q.Session}); err != nil {
		return
	}
	s, over, err = u.Collect(ctx, protocol.CollectRequest{Session: q.Session})
	return
}

// awaitIdle returns when the recording has ended by itself.
func (u *unit) awaitIdle() {
	u.t.Helper()
	waittest.Until(u.t, time.Minute, "the recording does not end",
		func() bool { return u.Status(u.t.Context()).State == protocol.StateIdle })
}

func (u *unit) left() (out []string) {
	_ = filepath.WalkDir(u.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, d.Name())
		}
		return nil
	})
	return out
}

func TestSuite(t *testing.T) {
	for engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			q, dir := servertest.Quirks{Ranks: 2, Slow: 20 * time.Millisecond}, t.TempDir()
			u := openWithHub(t, engine, testServers[engine](dir, q), dir,
				targetOf(engine, q, func(to *Target) { to.NoMetrics = false }), drivertest.HubLoss)
			drivertest.Run(t, &drivertest.Subject{Handler: u.Rank, Can: u.d.Capabilities(), Left: u.left,
				Beat: func(hub string) { u.HubSeen(hub) },
				Check: func(t *testing.T, files []rank.File) {
					t.Helper()
					wholeTraces(t, files)
				}})
			if u.srv.Recording() {
				t.Error("the server's profiler is on")
			}
		})
	}
}

func wholeTraces(t *testing.T, files []rank.File) {
	t.Helper()
	n := 0
	for _, f := range files {
		if f.Kind != protocol.KindTrace {
			continue
		}
		n++
		if tr, err := kineto.ReadFile(t.Context(), f.Path, kineto.Options{}); err != nil || tr.Slices.Len() == 0 {
			t.Errorf("%s: %v", f.Path, err)
		}
	}
	if n == 0 {
		t.Errorf("no trace: %v", files)
	}
}

func names(files []rank.File) string {
	var out []string
	for _, f := range files {
		out = append(out, f.Name)
	}
	return strings.Join(out, " ")
}

// Every rank of a server has its files, its front end's and its own table too; the trace of
// the rank's work comes last.
func TestVLLMHandsOverEveryRank(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Slow: 50 * time.Millisecond}, nil)
	if f := u.d.Facts(); !f.Prefix || !f.Steps || f.Version != "0.32.0" {
		t.Errorf("%+v", f)
	}
	q, s, over, err := u.record(nil)
	if err != nil || s.State != protocol.StateStopped {
		t.Fatalf("%+v, %v", s, err)
	}
	if got := names(over.Files); got != "frontend.json.gz profiler_out.txt trace.json.gz" {
		t.Errorf("rank 0: %s", got)
	}
	if len(over.Others) != 1 || over.Others[0].ID.Rank != 1 || over.Others[0].State != protocol.StateStopped ||
		names(over.Others[0].Files) != "profiler_out.txt trace.json.gz" || over.Others[0].Events != 3 || s.Events != 3 {
		t.Errorf("others: %+v", over.Others)
	}
	wholeTraces(t, over.Files)
	wholeTraces(t, over.Others[0].Files)
	if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil || len(u.left()) > 0 {
		t.Errorf("left: %v, %v", u.left(), err)
	}
}

// While a server writes, its files and their bytes are seen to grow until all are whole.
func TestWritingGrows(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Slow: time.Second}, nil)
	q := request(nil)
	if _, err := u.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	c := u.d.last
	if w := c.Writing(); w != (protocol.Writing{}) {
		t.Errorf("before the stop: %+v", w)
	}
	if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var last protocol.Writing
	partly := false
	for end := time.Now().Add(20 * time.Second); last.Files < 5 || last.Done < 5; <-tick.C {
		w := c.Writing()
		if w.Bytes < last.Bytes || w.Done > w.Files || time.Now().After(end) {
			t.Fatalf("%+v after %+v", w, last)
		}
		partly = partly || w.Bytes > 0 && w.Done < w.Files
		last = w
	}
	if !partly {
		t.Error("nobody saw a file that was not whole yet")
	}
	if _, _, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session}); err != nil {
		t.Error(err)
	}
}

// A session whose files the directory has no room for does not begin, by what is known of them:
// before the first session a least size, then what the last one took.
func TestNoRoomForTraces(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{}, nil)
	free := int64(leastRoom - 1)
	u.d.free = func(string) (int64, bool) { return free, true }
	if _, err := u.Arm(t.Context(), request(nil)); err == nil || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("armed with too little room: %v", err)
	}
	if len(u.srv.Asked()) > 0 && slices.Contains(u.srv.Asked(), "POST /start_profile") {
		t.Error("it was started")
	}
	free = leastRoom
	if _, _, _, err := u.record(nil); err != nil {
		t.Fatal(err)
	}
	u.d.mu.Lock()
	took := u.d.cost
	u.d.cost = cost{bytes: 4 << 10, took: time.Millisecond}
	u.d.mu.Unlock()
	if took.bytes == 0 || took.took <= 0 {
		t.Errorf("%+v", took)
	}
	minutes := request(func(q *protocol.ArmRequest) { q.MaxDurationNs = int64(9 * time.Minute) })
	if _, err := u.Arm(t.Context(), minutes); err != nil {
		t.Errorf("after one of a millisecond: %v", err)
	}
	if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: minutes.Session}); err != nil {
		t.Error(err)
	}
	u.d.mu.Lock()
	u.d.cost = cost{bytes: 1 << 30, took: time.Second}
	u.d.mu.Unlock()
	_, err := u.Arm(t.Context(), request(func(q *protocol.ArmRequest) { q.MaxDurationNs = int64(2 * time.Second) }))
	if err == nil || !strings.Contains(err.Error(), "leaves 2.00 GiB") || !strings.Contains(err.Error(), "20.0 GiB") {
		t.Errorf("armed with too little room: %v", err)
	}
	free = 40 << 30
	if _, err := u.Arm(t.Context(), request(func(q *protocol.ArmRequest) {
		q.MaxDurationNs = int64(2 * time.Second)
	})); err != nil {
		t.Error(err)
	}
}

// Two servers of one session write to one directory: no file is another server's.
func TestServersThatShareADirectory(t *testing.T) {
	dir := t.TempDir()
	share := func(to *Target) { to.Dir = dir }
	session := ulid.Make().String()
	var units []*unit
	for i, q := range []servertest.Quirks{{Ranks: 2}, {Ranks: 2, Silent: []int{1}}} {
		u := openUnit(t, protocol.EngineVLLM, q, share)
		u.srv.WriteTo(dir)
		u.d.rank.Replica = i
		units = append(units, u)
	}
	for _, u := range units {
		q := request(func(q *protocol.ArmRequest) { q.Session = session })
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: session}); err != nil {
			t.Fatal(err)
		}
	}
	for i, u := range units {
		if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: session}); err != nil {
			t.Fatal(err)
		}
		_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: session})
		if err != nil || len(over.Files) != 3 || len(over.Others) != 1 {
			t.Fatalf("server %d: %+v, %v", i, over, err)
		}
		if want := []protocol.RankState{protocol.StateStopped, protocol.StateFailed}[i]; over.Others[0].State != want ||
			over.Others[0].ID.Replica != i {
			t.Errorf("server %d: rank 1 is %+v, want %s", i, over.Others[0], want)
		}
	}
}

func TestSGLangHandsOverEveryRank(t *testing.T) {
	u := openUnit(t, protocol.EngineSGLang, servertest.Quirks{Ranks: 2}, nil)
	_, s, over, err := u.record(nil)
	if err != nil || s.State != protocol.StateStopped || names(over.Files) != "trace.json.gz" ||
		len(over.Others) != 1 || over.Others[0].ID.Rank != 1 {
		t.Fatalf("%+v, %+v, %v", s, over, err)
	}
}

// An answer of 200 proves nothing: a rank without a new file that ends well has failed, with
// what was seen in place of it, and so it is told of every rank alone.
func TestAnswerOf200ProvesNothing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		engine protocol.Engine
		q      servertest.Quirks
		rank   int
		why    string
	}{
		{"a worker writes nothing", protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Silent: []int{1}}, 1,
			"left no trace of this rank"},
		{"the first worker writes nothing", protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Silent: []int{0}}, 0,
			"left no trace of this rank"},
		{"a file ends in the middle", protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Cut: []int{1}}, 1, "it is cut"},
		{"one of SGLang's", protocol.EngineSGLang, servertest.Quirks{Ranks: 2, Silent: []int{1}}, 1,
			"left no trace of this rank"},
		{"no prefixes", protocol.EngineVLLM, servertest.Quirks{Ranks: 2, Silent: []int{1}, Old: true}, 1,
			"left no trace of this rank"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := openUnit(t, tt.engine, tt.q, nil)
			_, s, over, err := u.record(nil)
			if err != nil {
				t.Fatal(err)
			}
			state := map[int]protocol.RankState{0: s.State}
			reason := map[int]string{0: s.Reason}
			for _, o := range over.Others {
				state[o.ID.Rank], reason[o.ID.Rank] = o.State, o.Reason
			}
			for k := range 2 {
				want := protocol.StateStopped
				if k == tt.rank {
					want = protocol.StateFailed
				}
				if state[k] != want || k == tt.rank && !strings.Contains(reason[k], tt.why) {
					t.Errorf("rank %d is %s: %s", k, state[k], reason[k])
				}
			}
		})
	}
}

// A delay that no step reaches is answered with 200 twice and leaves the front end's file alone.
func TestNoFilesOfTheWorkers(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{NoFiles: true}, nil)
	_, s, over, err := u.record(func(q *protocol.ArmRequest) { q.Config.DelayIterations = 1000 })
	if err != nil || s.State != protocol.StateFailed || !strings.Contains(s.Reason, "a window that no step reached") {
		t.Errorf("%+v, %v", s, err)
	}
	if got := names(over.Files); got != "frontend.json.gz" {
		t.Errorf("files: %s", got)
	}
}

// A driver that is closed while its server records, or right after its session was dropped, has told
// the server to stop: nobody else will, and the server would record until its memory is full.
func TestCloseStops(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		u := openUnit(t, protocol.EngineSGLang, servertest.Quirks{Hangs: true}, nil)
		q := request(nil)
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		at := protocol.BeginRequest{Session: q.Session, AtNs: time.Now().UnixNano()}
		if _, err := u.Start(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if dropped {
			if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
				t.Error(err)
			}
		}
		if err := u.d.Close(); err != nil {
			t.Error(err)
		}
		waittest.Until(t, time.Minute, "no stop arrives", func() bool {
			return slices.Contains(u.srv.Asked(), "POST /stop_profile")
		})
	}
}

// Files of earlier rounds, and those that a round overwrites, are told from new ones.
func TestOldFilesAreNotTaken(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Old: true}, nil)
	old := filepath.Join(u.dir, "rank0.1.pt.trace.json.gz")
	if err := os.WriteFile(old, servertest.Trace(time.Now(), 0, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		q, s, over, err := u.record(nil)
		if err != nil || s.State != protocol.StateStopped {
			t.Fatalf("%+v, %v", s, err)
		}
		for _, f := range over.Files {
			if f.Path == old {
				t.Error("an old file is handed over")
			}
		}
		if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
			t.Error(err)
		}
	}
	if !slices.Contains(u.left(), filepath.Base(old)) {
		t.Error("another round's file is removed")
	}
}

// A stop that is answered before the files are there: they are waited for.
func TestFilesThatComeAfterTheStop(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Late: true, Slow: 100 * time.Millisecond}, nil)
	if _, s, over, err := u.record(nil); err != nil || s.State != protocol.StateStopped ||
		!strings.Contains(names(over.Files), "trace.json.gz") {
		t.Errorf("%+v, %+v, %v", s, over, err)
	}
}

func TestForeignProfiling(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Foreign: true}, nil)
	if _, _, _, err := u.record(nil); err == nil || !strings.Contains(err.Error(), "is on already") {
		t.Errorf("409: %v", err)
	}
	if slices.Contains(u.srv.Asked(), "POST /stop_profile") {
		t.Error("somebody else's profiling is stopped")
	}
	u = openUnit(t, protocol.EngineSGLang, servertest.Quirks{Foreign: true}, nil)
	if _, _, _, err := u.record(nil); err == nil || !strings.Contains(err.Error(), "another session may be under way") {
		t.Errorf("a start that is ignored: %v", err)
	}
}

// A server counts its steps itself: the end is seen by its files, and what it answers to
// the stop after that (SGLang: 500) is no failure.
func TestRoundsThatStopByThemselves(t *testing.T) {
	for _, engine := range []protocol.Engine{protocol.EngineVLLM, protocol.EngineSGLang} {
		u := openUnit(t, engine, servertest.Quirks{Slow: 30 * time.Millisecond}, nil)
		q := request(func(q *protocol.ArmRequest) { q.Config.MaxIterations = 3 })
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		u.awaitIdle()
		s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		if err != nil || s.StoppedBy != protocol.StoppedByIterations || s.State != protocol.StateStopped ||
			len(over.Files) == 0 {
			t.Errorf("%s: %+v, %+v, %v", engine, s, over, err)
		}
	}
}

// A server that dies while it records is a failure at once, not at the session's end.
func TestServerThatDies(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{}, nil)
	q := request(nil)
	if _, err := u.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	u.web.Close()
	u.awaitIdle()
	s, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session})
	if err != nil || s.State != protocol.StateFailed || !strings.Contains(s.Reason, "does not answer any more") {
		t.Errorf("%+v, %v", s, err)
	}
}

// A vLLM that has lost a worker listens no more and waits for its connections to close, the
// one that it should stop by among them.
func TestServerThatEndsWhileItStops(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Hangs: true}, nil)
	q := request(nil)
	if _, err := u.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	if err := u.web.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	s, _, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
	if err == nil || s.State != protocol.StateFailed || !strings.Contains(s.Reason, "the server has ended") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	open := func(srv *servertest.Server, change func(*Target)) error {
		web := httptest.NewServer(srv)
		defer web.Close()
		to := Target{Engine: protocol.EngineVLLM, URL: web.URL, Dir: t.TempDir()}
		if change != nil {
			change(&to)
		}
		d, err := Open(context.Background(), to, id, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = d.Close()
		}
		return err
	}
	for want, err := range map[string]error{
		"--profiler-config": open(servertest.VLLM(t.TempDir(), servertest.Quirks{NoRoutes: true}), nil),
		"no directory here": open(servertest.VLLM(t.TempDir(), servertest.Quirks{}),
			func(to *Target) { to.Dir = "/nowhere" }),
		"401": open(servertest.VLLM(t.TempDir(), servertest.Quirks{Token: "secret"}), nil),
		"refused": open(servertest.VLLM(t.TempDir(), servertest.Quirks{}),
			func(to *Target) { to.URL = "http://127.0.0.1:1" }),
		"dir=/DIR": open(servertest.VLLM(t.TempDir(), servertest.Quirks{}), func(to *Target) { to.Dir = "" }),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if err := open(servertest.VLLM(t.TempDir(), servertest.Quirks{Token: "secret"}),
		func(to *Target) { to.Token = "secret" }); err != nil {
		t.Error(err)
	}
}

func TestParseTarget(t *testing.T) {
	t.Setenv(TokenEnv, "from the environment")
	got, err := ParseTarget("vllm+https://h:8000?stage=thinker&dir=/d/&ranks=4&keep=true")
	want := Target{Engine: protocol.EngineVLLM, URL: "https://h:8000", Stage: "thinker", Dir: "/d", Ranks: 4,
		Keep: true, Token: "from the environment"}
	if err != nil || !reflect.DeepEqual(got, want) || got.String() != "vllm://h:8000" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "h:8000", "http://h", "vllm://", "vllm+ftp://h", "vllm://h/path", "vllm://u:p@h",
		"vllm://h?dir=x",
		"vllm://h?ranks=0", "vllm://h?ranks=x", "vllm://h?no=1", "vllm://h?keep=x", "vllm://h?token_file=/nowhere",
		"native://h"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

// What a server serves is asked once, and said.
func TestModelsAreSaid(t *testing.T) {
	u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{}, nil)
	if _, s, _, err := u.record(nil); err != nil || s.State != protocol.StateStopped {
		t.Fatalf("%+v, %v", s, err)
	}
	says := Describe(Seat{Target: u.d.to}, u.d.Facts(), u.dir)
	asked := 0
	for _, path := range u.srv.Asked() {
		if path == "GET /v1/models" {
			asked++
		}
	}
	if !strings.Contains(says, `it serves ["tiny"]`) || asked != 1 {
		t.Errorf("%q, asked %d times", says, asked)
	}
}
