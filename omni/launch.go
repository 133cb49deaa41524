package omni

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/brokenpipe"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/worker"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// workerEnv carries a rank's worker.Options as JSON from Open to the process it starts.
const workerEnv = "KINETOSCOPE_WORKER"

var workerMainCalled atomic.Bool

// WorkerMain must be called first in main by every program that calls Open: the ranks
// are processes of the same program. In a rank it runs the rank and exits; in any other
// process it returns at once.
func WorkerMain() {
	workerMainCalled.Store(true)
	text := os.Getenv(workerEnv)
	if text == "" {
		return
	}
	os.Exit(workerMain(text))
}

func workerMain(text string) int {
	var o worker.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", workerEnv, err)
		return 2
	}
	level := slog.LevelInfo
	if os.Getenv("KINETOSCOPE_LOG") == "debug" {
		level = slog.LevelDebug
	}
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	o.Wait = true
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Ignore(os.Interrupt) // Ctrl-C goes to the whole group; the parent ends its ranks
	brokenpipe.Fail()           // stderr is a pipe to the parent: a recording has its end also when that was killed
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		// The parent holds the other end of stdin: it closes when the parent is gone,
		// however it went.
		io.Copy(io.Discard, os.Stdin)
		cancel(worker.ErrHubGone)
	}()
	if err := worker.Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// Limits of the supervisor.
const (
	// stopGrace is how long a rank may take to leave before it is killed.
	stopGrace = 5 * time.Second
	// maxRestarts in restartWindow: a replica that dies more often is left dead, because
	// it will not get better by itself.
	maxRestarts   = 5
	restartWindow = time.Minute
	// restartDelay lets a port or a file be given back.
	restartDelay = 200 * time.Millisecond
	// tailBytes of a dead rank's stderr are kept for the error that names it.
	tailBytes = 2 << 10
)

// supervisor keeps one replica's rank processes running.
type supervisor struct {
	stage    *deploy.Stage
	replica  int
	options  worker.Options
	url      func(protocol.RankID) string // where a rank joins, with its own credential
	command  []string
	log      *slog.Logger
	lost     func(id protocol.RankID, pid int, why error) // a rank died unasked
	doomed   func(id protocol.RankID, why string)         // a rank is about to be ended; may be nil
	giveUp   func(error)                                  // the replica stays dead
	opened   func() bool                                  // whether the pipeline was ever ready
	restarts []time.Time
}

// run starts the ranks and starts them anew when one dies, until ctx ends. When it
// returns no rank runs.
func (s *supervisor) run(ctx context.Context) {
	for {
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if !s.opened() {
			s.giveUp(err) // what fails at the first start fails again
			return
		}
		now := time.Now()
		s.restarts = append(s.restarts, now)
		for len(s.restarts) > 0 && now.Sub(s.restarts[0]) > restartWindow {
			s.restarts = s.restarts[1:]
		}
		if len(s.restarts) > maxRestarts {
			s.giveUp(fmt.Errorf("stage %d (%s) replica %d died %d times within %v; the last time: %w",
				s.stage.ID, s.stage.Name, s.replica, len(s.restarts), restartWindow, err))
			return
		}
		s.log.Warn("restarting replica", "stage", s.stage.Name, "replica", s.replica, "err", err)
		if wait.For(ctx, restartDelay) != nil {
			return
		}
	}
}

// once runs the replica's ranks until one of them ends; the others are then ended too,
// for a group that lost a rank is of no use.
func (s *supervisor) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ends := make(chan rankEnd, s.stage.Ranks)
	for r := range s.stage.Ranks {
		id := protocol.RankID{Pipeline: s.options.Pipeline, Stage: s.stage.ID, Replica: s.replica, Rank: r}
		go func() {
			pid, err := s.process(ctx, id)
			ends <- rankEnd{id, pid, err}
		}()
	}
	first := <-ends
	ended := []rankEnd{first}
	if ctx.Err() == nil && signalled(first.err) {
		s.blame(ended, cancel)
	} else if ctx.Err() == nil {
		// When a rank is killed the others fail at its side of the connection: whose end
		// is seen first says little, so those that end at the same time are looked at too.
		grace := time.NewTimer(peerGrace)
		for waiting := true; waiting && len(ended) < s.stage.Ranks; {
			select {
			case e := <-ends:
				ended = append(ended, e)
			case <-grace.C:
				waiting = false
			}
		}
		grace.Stop()
		s.blame(ended, cancel)
	}
	for range s.stage.Ranks - len(ended) {
		<-ends
	}
	return context.Cause(ctx)
}

// peerGrace is how long the ranks of a replica may take to notice that one is gone.
const peerGrace = 250 * time.Millisecond

// rankEnd is how a rank's process ended.
type rankEnd struct {
	id  protocol.RankID
	pid int
	err error
}

// blame finds which of the ended ranks caused the others to end, and says of each why it ended. A
// rank that a signal ended did not end because of another.
func (s *supervisor) blame(ended []rankEnd, cancel context.CancelCauseFunc) {
	guilty := ended[0]
	for _, e := range ended {
		if signalled(e.err) {
			guilty = e
			break
		}
	}
	why := &lostError{s.name(guilty.id), guilty.err}
	s.lost(guilty.id, guilty.pid, why)
	told := map[int]bool{guilty.id.Rank: true}
	for _, e := range ended {
		if e != guilty {
			told[e.id.Rank] = true
			s.lost(e.id, e.pid, &lostError{s.name(e.id), fmt.Errorf("it ended with rank %d of its replica: %w",
				guilty.id.Rank, e.err)})
		}
	}
	for r := range s.stage.Ranks { // they end now, and tell the hub that they leave
		if id := guilty.id; !told[r] && s.doomed != nil {
			id.Rank = r
			s.doomed(id, fmt.Sprintf("it was ended with rank %d of its replica: %v", guilty.id.Rank, guilty.err))
		}
	}
	cancel(why)
}

func (s *supervisor) name(id protocol.RankID) string {
	return fmt.Sprintf("stage %d (%s) replica %d rank %d", s.stage.ID, s.stage.Name, s.replica, id.Rank)
}

// lostError names the rank that is lost; the wrapped error says why.
type lostError struct {
	rank string
	why  error
}

func (e *lostError) Error() string { return e.rank + ": " + e.why.Error() }
func (e *lostError) Unwrap() error { return e.why }

// signalled reports whether a signal ended the process.
func signalled(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	st, ok := exit.Sys().(syscall.WaitStatus)
	return ok && st.Signaled()
}

// process runs one rank to its end.
func (s *supervisor) process(ctx context.Context, id protocol.RankID) (pid int, err error) {
	o := s.options
	o.Stage, o.Replica, o.Rank, o.NATS = id.Stage, id.Replica, id.Rank, s.url(id)
	if o.Creds, err = link.CredsFor(o.Creds, id.Identity()); err != nil {
		return 0, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	command := s.command
	if s.stage.Torch() {
		command = torchCommand(s.stage)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(stageEnv(s.stage), workerEnv+"="+string(text))
	tail := &tailWriter{log: s.log, stage: s.stage.Name, rank: id.Rank}
	cmd.Stderr = tail
	cmd.Stdout = tail
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start: %w", err)
	}
	defer stdin.Close()
	err = cmd.Wait()
	if err == nil {
		err = errors.New("exited")
	}
	return cmd.Process.Pid, explain(err, tail.String())
}

// explain says why a process ended, for people: first the cause, then the process's own message.
func explain(err error, said string) error {
	what := "its process ended"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		st, ok := exit.Sys().(syscall.WaitStatus)
		switch {
		case !ok || !st.Signaled():
		case st.Signal() == syscall.SIGKILL:
			what = "its process was killed, by somebody or by the system for want of memory"
		case st.CoreDump() || st.Signal() == syscall.SIGSEGV || st.Signal() == syscall.SIGABRT:
			what = "its process crashed"
		default:
			what = "its process was ended by somebody"
		}
	}
	if said != "" {
		return fmt.Errorf("%s (%w): %s", what, err, said)
	}
	return fmt.Errorf("%s (%w)", what, err)
}

// pythonEnv names the interpreter of torch stages that name none.
const pythonEnv = "KINETOSCOPE_PYTHON"

// torchCommand starts a rank of a torch stage. The process takes the same options in the
// same variable as a native rank, and ends when its standard input does.
func torchCommand(st *deploy.Stage) []string {
	return []string{interpreter(st), "-u", "-m", "kinetoscope.worker"}
}

// interpreter is the Python of a torch stage.
func interpreter(st *deploy.Stage) string {
	return cmp.Or(st.Python, os.Getenv(pythonEnv), "python3")
}

// stageEnv is the environment of a stage's ranks.
func stageEnv(st *deploy.Stage) []string {
	env := os.Environ()
	for k, v := range st.Env {
		env = append(env, k+"="+v)
	}
	return env
}

// tailWriter passes a rank's log on and keeps its end.
type tailWriter struct {
	log   *slog.Logger
	stage string
	rank  int
	mu    sync.Mutex
	buf   []byte
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range bytes.Lines(p) {
		w.log.Debug(strings.TrimSpace(string(line)), "stage", w.stage, "rank", w.rank)
	}
	w.buf = append(w.buf, p...)
	if n := len(w.buf) - tailBytes; n > 0 {
		w.buf = append(w.buf[:0], w.buf[n:]...)
	}
	return len(p), nil
}

// String returns the last line that is an error, "" if there is none: the last line that a killed
// process happened to log is not a reason.
func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(w.buf)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		l := strings.TrimSpace(lines[i])
		for _, prefix := range []string{"error:", "panic:", "fatal error:", "Error:"} {
			if strings.HasPrefix(l, prefix) {
				return protocol.Heard(l)
			}
		}
		if pythonError(l) {
			return protocol.Heard(l)
		}
	}
	return ""
}

// pythonError reports whether a line is the last one of a Python traceback, which names the
// exception: "RuntimeError: CUDA out of memory".
func pythonError(line string) bool {
	name, _, ok := strings.Cut(line, ":")
	return ok && !strings.Contains(name, " ") && (strings.HasSuffix(name, "Error") ||
		strings.HasSuffix(name, "Exception"))
}
