package agent

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/kinetod"
	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/leaks"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

const trainerEnv = "KINETOSCOPE_TEST_TRAINER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(trainerEnv); dir != "" {
		if err := train(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m, leaks.NATS()...)
}

// train is a process that records on demand, until its parent is gone.
func train(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	tr, err := kinetodtest.Run(dir, kinetodtest.Behaviour{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	tr.Stop()
	if bad := tr.Bad(); len(bad) > 0 {
		return fmt.Errorf("the daemon hurts libkineto: %s", strings.Join(bad, "; "))
	}
	return nil
}

// process starts a real process that records on demand.
func process(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0]) // end ends it
	cmd.Env = append(append(os.Environ(), trainerEnv+"="+dir), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			end(t, cmd)
		}
	})
	return cmd
}

func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// log keeps what an agent says.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func setUp(t *testing.T) (h *hub.Hub, dir string, said *log) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("Kineto's daemon protocol is Linux's")
	}
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), RunsDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if dir, err = os.MkdirTemp("", "ka"); err != nil { // short, for sockets
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	said = &log{}
	a, err := Start(h.Conn(), Config{Pipeline: "p", SocketDir: dir, Settle: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, dir, said
}

// await returns the ranks once there are n.
func await(t *testing.T, h *hub.Hub, n int) []protocol.RankInfo {
	t.Helper()
	var ranks []protocol.RankInfo
	waittest.Until(t, 20*time.Second, fmt.Sprintf("want %d ranks", n), func() bool {
		ranks = h.Ranks("p")
		return len(ranks) == n
	})
	return ranks
}

// Real processes become ranks as they are, are recorded in one session, and one that
// ends in it has a reason. Its places are those that torchrun gave.
func TestProcessesTakePart(t *testing.T) {
	h, dir, said := setUp(t)
	a := process(t, dir, "RANK=0", "WORLD_SIZE=2", "KINETOSCOPE_STAGE=3", "KINETOSCOPE_STAGE_NAME=thinker",
		"KINETO_ONDEMAND_TRACE_DIR="+t.TempDir())
	b := process(t, dir, "RANK=1", "WORLD_SIZE=2", "KINETOSCOPE_STAGE=3", "KINETOSCOPE_STAGE_NAME=thinker")
	ranks := await(t, h, 2)
	for i, r := range ranks {
		if r.Stage != 3 || r.StageName != "thinker" || r.Rank != i || r.WorldSize != 2 ||
			r.Engine != protocol.EngineKineto || !r.Ready || r.PID != []int{a.Process.Pid, b.Process.Pid}[i] {
			t.Errorf("rank %d: %+v", i, r)
		}
	}
	if _, err := h.StartProfile(t.Context(), "p",
		protocol.StartRequest{MaxDuration: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	end(t, b) // while it records, or has its trace ready
	st, err := h.StopProfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := session.StateComplete
	if st.Stages[0].Ranks[1].State != protocol.StateComplete {
		want = session.StatePartial
	}
	if st.State != want {
		t.Fatalf("%s: %s", st.State, st.Error)
	}
	for i, r := range st.Stages[0].Ranks {
		switch {
		case r.State == protocol.StateComplete && len(r.Artifacts) == 1 && r.Events == 2:
		case i == 1 && r.State == protocol.StateFailed && strings.Contains(r.Reason, "has ended"):
		default:
			t.Errorf("rank %d: %+v", i, r)
		}
	}
	if left := await(t, h, 1); left[0].PID != a.Process.Pid {
		t.Errorf("%+v is left", left)
	}
	if s := said.String(); strings.Count(s, "a process joins") != 2 {
		t.Errorf("the agent said:\n%s", s)
	}
}

// A place that a process of another host has is not taken from it.
func TestPlacesOfAnotherHost(t *testing.T) {
	h, dir, said := setUp(t)
	cfg := protocol.DefaultProfilerConfig()
	info := protocol.RankInfo{RankID: protocol.RankID{Pipeline: "p"}, StageName: "agent", Host: "elsewhere", PID: 77,
		Profiler: &cfg}
	m, err := rank.Join(t.Context(), h.Conn(), info, driver.NewRank(kinetod.New(nil, kinetod.Target{}, nil), info),
		rank.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	process(t, dir, "KINETOSCOPE_STAGE=0")
	waittest.Until(t, 20*time.Second, "the agent says who has the place",
		func() bool { return strings.Contains(said.String(), "is process 77 on host elsewhere") })
	if r := await(t, h, 1); r[0].Host != "elsewhere" {
		t.Errorf("%+v", r)
	}
	if err := m.Leave(context.Background()); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, 20*time.Second, "the free place is taken", func() bool {
		r := h.Ranks("p")
		return len(r) == 1 && r[0].Engine == protocol.EngineKineto
	})
}

func TestOneAgentAHost(t *testing.T) {
	h, dir, _ := setUp(t)
	if _, err := Start(h.Conn(), Config{Pipeline: "p", SocketDir: dir}); err == nil ||
		!strings.Contains(err.Error(), "another daemon") {
		t.Error(err)
	}
	if _, err := Start(h.Conn(), Config{Pipeline: "a.b"}); err == nil {
		t.Error("a pipeline that is no token is taken")
	}
}
