package hub

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/leaks"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// rankEnv makes the test binary a rank process instead.
const rankEnv = "KINETOSCOPE_TEST_RANK"

func TestMain(m *testing.M) {
	if cfg := os.Getenv(rankEnv); cfg != "" {
		if err := rankProcess(cfg); err != nil {
			fmt.Fprintln(os.Stderr, "rank process:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, leaks.NATS()...)
}

// rankConfig is what a rank of these tests does.
type rankConfig struct {
	URL   string
	Info  protocol.RankInfo
	Spool string
	Skew  time.Duration   // of the rank's clock
	Block protocol.Method // method that never answers
	Step  time.Duration   // work between steps; 0: 1 ms

	HubLoss time.Duration // 0: the protocol's
	CA      string        // of the server's certificate
}

// testRank is a rank that works all the time: a span a step.
type testRank struct {
	replaced chan protocol.RankInfo         // takes who has its place
	others   func([]rank.File) []rank.Other // ranks that it hands files over for
	*driver.Rank
	member *rank.Member
	nc     *nats.Conn
	rec    *profiler.Recorder
	block  protocol.Method
	skew   atomic.Int64      // ns, of the rank's clock
	jump   time.Duration     // added to skew once it is armed
	later  time.Duration     // added to skew once it has begun
	harm   func(path string) // done to a recording before it is handed over
	says   *protocol.Writing // how far it says that its files are, while it waits for wrote
	wrote  chan struct{}
	cable  *cable
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

func (r *testRank) blocked(ctx context.Context, method protocol.Method) {
	if r.block == method {
		<-ctx.Done()
	}
}

func (r *testRank) Arm(ctx context.Context, q protocol.ArmRequest) (protocol.RankStatus, error) {
	r.blocked(ctx, protocol.MethodArm)
	s, err := r.Rank.Arm(ctx, q)
	r.skew.Add(int64(r.jump))
	return s, err
}

func (r *testRank) Start(ctx context.Context, q protocol.BeginRequest) (protocol.RankStatus, error) {
	s, err := r.Rank.Start(ctx, q)
	r.skew.Add(int64(r.later))
	return s, err
}

func (r *testRank) Stop(ctx context.Context, q protocol.StopRequest) (protocol.RankStatus, error) {
	r.blocked(ctx, protocol.MethodStop)
	return r.Rank.Stop(ctx, q)
}

func (r *testRank) Collect(ctx context.Context, q protocol.CollectRequest) (protocol.RankStatus, rank.Handover, error) {
	r.blocked(ctx, protocol.MethodCollect)
	s, over, err := r.Rank.Collect(ctx, q)
	if r.says != nil {
		s.Writing = r.says
		r.member.Notify(s)
		select {
		case <-r.wrote:
		case <-ctx.Done():
		}
	}
	if r.others != nil && err == nil {
		over.Others = r.others(over.Files)
	}
	for _, f := range over.Files {
		if r.harm != nil {
			r.harm(f.Path)
		}
	}
	return s, over, err
}

func startRank(ctx context.Context, c rankConfig) (*testRank, error) {
	way := new(cable)
	nc, err := link.Config{URL: c.URL, CA: c.CA, As: c.Info.Identity()}.Connect(nats.ReconnectWait(50*time.Millisecond),
		nats.SetCustomDialer(way))
	if err != nil {
		return nil, err
	}
	r := &testRank{replaced: make(chan protocol.RankInfo, 1), nc: nc, block: c.Block, cable: way}
	r.rec = profiler.New(profiler.Config{Process: c.Info.Key(), FlushEvery: 20 * time.Millisecond})
	r.skew.Store(int64(c.Skew))
	now := func() time.Time { return time.Now().Add(time.Duration(r.skew.Load())) }
	c.Info.SpoolDir = c.Spool
	if c.HubLoss == 0 {
		c.HubLoss = protocol.HubLossTimeout
	}
	r.Rank = native.NewRank(r.rec, c.Info, c.Spool, driver.WithClock(now), driver.WithHubLossTimeout(c.HubLoss),
		driver.WithCalls(func(ctx context.Context, method string, args map[string]any) (any, error) {
			switch method {
			case "echo":
				return args, nil
			case "much":
				return strings.Repeat("x", maxCallReply), nil
			case "hang":
				<-ctx.Done()
				return nil, ctx.Err()
			case "panic":
				panic("on purpose")
			}
			return nil, errors.New("unknown method " + method)
		}))
	if r.member, err = rank.Join(ctx, nc, c.Info, r, rank.WithClock(now),
		rank.WithReplaced(func(by protocol.RankInfo) { r.replaced <- by })); err != nil {
		nc.Close()
		return nil, err
	}
	work, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.wg.Go(func() { r.work(work, c.Step) })
	return r, r.member.SetReady(ctx, true)
}

var stepName = profiler.Intern("step")

func (r *testRank) work(ctx context.Context, d time.Duration) {
	if d == 0 {
		d = time.Millisecond
	}
	tick := time.NewTicker(d)
	defer tick.Stop()
	t := r.rec.Track("work")
	defer t.Close()
	for {
		r.BeginStep()
		s := t.Begin(stepName, profiler.CategoryAnnotation)
		select {
		case <-ctx.Done():
			s.End()
			return
		case <-tick.C:
		}
		s.End()
		r.Step()
	}
}

func (r *testRank) close(t testing.TB) {
	if err := r.member.Leave(context.Background()); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		t.Logf("leave: %v", err) // the hub may be gone already
	}
	if err := r.Rank.Close(); err != nil {
		t.Errorf("close handler: %v", err)
	}
	r.stop()
	r.wg.Wait()
	r.nc.Close()
}

// rankProcess is a rank in a process of its own until its standard input closes.
func rankProcess(text string) error {
	var c rankConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	r, err := startRank(context.Background(), c)
	if err != nil {
		return err
	}
	fmt.Println("ready", r.member.Info().Incarnation)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, r.member.Leave(context.Background()))
}

// process is a rank process of a test.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	inc   string
}

func spawnRank(t testing.TB, c rankConfig) *process {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), rankEnv+"="+string(b))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: stdin}
	t.Cleanup(func() {
		stdin.Close()
		if cmd.ProcessState == nil {
			if err := cmd.Wait(); err != nil {
				t.Errorf("rank process: %v", err)
			}
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("rank process said %q, %v", line, err)
	}
	p.inc = strings.TrimSpace(strings.TrimPrefix(line, "ready "))
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // says "signal: killed"
}

// rig is a hub with ranks.
type rig struct {
	*Hub
	t     testing.TB
	cfg   Config
	spool string
	ranks []*testRank
}

func testLogger(t testing.TB) *slog.Logger {
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelWarn
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{DataDir: filepath.Join(dir, "hub"), Logger: testLogger(t), Convert: copyConvert,
		SpoolDirs: []string{filepath.Join(dir, "spool")}}
	if change != nil {
		change(&cfg)
	}
	h, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Hub: h, t: t, cfg: cfg, spool: filepath.Join(dir, "spool")}
	t.Cleanup(func() {
		for _, k := range r.ranks {
			k.close(t)
		}
		if err := r.Hub.Close(); err != nil {
			t.Errorf("close hub: %v", err)
		}
	})
	return r
}

// config is rank number k of a stage, with a profiler.
func (r *rig) config(stage, k int) rankConfig {
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	cfg.WithStack = false
	return rankConfig{URL: r.ClientURL(), Spool: r.spool, Info: protocol.RankInfo{
		RankID:    protocol.RankID{Pipeline: "omni", Stage: stage, Rank: k},
		StageName: []string{"thinker", "talker", "code2wav"}[stage], StageType: "llm", WorldSize: 2, Engine: "native",
		Profiler: &cfg,
	}}
}

// join adds ranks in this process: n[i] for stage i.
func (r *rig) join(n ...int) {
	r.t.Helper()
	total := 0
	for stage, count := range n {
		for k := range count {
			r.add(r.config(stage, k))
			total++
		}
	}
	r.ready(total)
}

func (r *rig) add(c rankConfig) *testRank {
	r.t.Helper()
	k, err := startRank(r.t.Context(), c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ranks = append(r.ranks, k)
	return k
}

func (r *rig) ready(n int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	if _, err := r.WaitReady(ctx, "omni", n); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(q protocol.StartRequest) *session.Status {
	r.t.Helper()
	st, err := r.StartProfile(r.t.Context(), "omni", q)
	if err != nil {
		r.t.Fatalf("StartProfile: %v", err)
	}
	return st
}

func (r *rig) stop() *session.Status {
	r.t.Helper()
	st, err := r.StopProfile(r.t.Context())
	if err != nil {
		r.t.Fatalf("StopProfile: %v", err)
	}
	return st
}

// work returns when every rank of this process has recorded n iterations.
func (r *rig) work(n int) {
	r.t.Helper()
	for _, k := range r.ranks {
		waitFor(r.t, func() bool { return k.Status(r.t.Context()).Iterations >= n })
	}
}

// until returns the session once ok holds of its status.
func (r *rig) until(id string, ok func(*session.Status) bool) *session.Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := r.Session(id)
		if err == nil && ok(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("session %s: %+v, %v", id, st, err)
		}
	}
}

// verify checks the run against its manifest and returns how many steps each
// rank's recording holds; a recording must be whole unless the rank ended badly.
func (r *rig) verify(st *session.Status) map[protocol.RankID]int {
	r.t.Helper()
	run, err := r.Store().Resolve(st.RunDir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer run.Close()
	if err := run.Verify(); err != nil {
		r.t.Fatal(err)
	}
	steps := map[protocol.RankID]int{}
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			for _, a := range k.Artifacts {
				if a.Kind != "recording" {
					continue
				}
				f, err := run.Open(a.Name)
				if err != nil {
					r.t.Fatal(err)
				}
				n, cut := countSteps(r.t, f)
				f.Close()
				steps[k.RankID] = n
				if cut != nil && k.State == protocol.StateComplete {
					r.t.Errorf("%s is complete and its recording is cut: %v", k.RankID.Text(), cut)
				}
			}
		}
	}
	return steps
}

// countSteps returns how many finished steps a recording holds, and whether it is cut.
func countSteps(t testing.TB, src io.Reader) (n int, cut *format.Cut) {
	t.Helper()
	rd, err := format.NewReader(src)
	if err != nil {
		t.Fatal(err)
	}
	for {
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return n, rd.Cut()
		} else if err != nil {
			t.Fatal(err)
		}
		names := rd.Strings()
		for i := range g.Slices.Start {
			if names[g.Slices.Name[i]] == "step" && !g.Final {
				n++
			}
		}
	}
}

// copyConvert is a small real conversion: each recording's step count as text.
func copyConvert(_ context.Context, in ConvertInput) (map[protocol.RankID][]protocol.Artifact, []protocol.Artifact,
	error) {
	out := map[protocol.RankID][]protocol.Artifact{}
	for i, r := range in.Ranks {
		b, err := os.ReadFile(r.Recording)
		if err != nil {
			return nil, nil, err
		}
		id := r.Status.RankID
		a, err := in.Run.Write(fmt.Sprintf("stage%d_%s/bytes_rank%d.txt", id.Stage, r.StageName, id.Rank), "table",
			strings.NewReader(fmt.Sprint(len(b))))
		if err != nil {
			return nil, nil, err
		}
		out[id] = append(out[id], a)
		in.Progress(i+1, len(in.Ranks), a.Name)
	}
	if err := os.WriteFile(filepath.Join(in.RunDir, "report.json"), []byte("{}"), 0o600); err != nil {
		return nil, nil, err
	}
	return out, []protocol.Artifact{{Name: "report.json", Kind: "report"}}, nil
}

// freePort returns an address that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
