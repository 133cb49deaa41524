package drivertest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/drivertest"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// torchPython is the interpreter that make interop makes, or skips.
func torchPython(t *testing.T) string {
	t.Helper()
	python := os.Getenv("KINETOSCOPE_PYTHON")
	if python == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skipf("no cache directory: %v", err)
		}
		venv := filepath.Join(cache, "kinetoscope", "venv")
		if _, err := os.Stat(filepath.Join(venv, ".ready")); err != nil {
			t.Skipf("there is no torch at %s: run make interop-venv, or set KINETOSCOPE_PYTHON", venv)
		}
		python = filepath.Join(venv, "bin", "python")
	}
	return python
}

// torchRank is the process of a rank on real torch.
type torchRank struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startTorch(t *testing.T, url, spool string) *torchRank {
	t.Helper()
	python := torchPython(t)
	cmd := exec.Command(python, "testdata/torch_rank.py", spool, url, fmt.Sprint(drivertest.HubLoss.Seconds()))
	src, err := filepath.Abs("../../python/src")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "PYTHONPATH="+src)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
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
	r := &torchRank{cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	r.answer(t, "ready")
	return r
}

func (r *torchRank) answer(t *testing.T, want string) {
	t.Helper()
	if line, err := r.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("the torch rank says %q, %v; want %q", line, err, want)
	}
}

func (r *torchRank) iterate(t *testing.T, n int) {
	if _, err := fmt.Fprintln(r.in, n); err != nil {
		t.Fatal(err)
	}
	r.answer(t, "done")
}

func TestTorch(t *testing.T) {
	torchPython(t)
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	id := protocol.RankID{Pipeline: "suite"}
	spool := t.TempDir()
	r := startTorch(t, h.ClientURL(), spool)
	var mu sync.Mutex
	told := map[string][]protocol.RankStatus{}
	if _, err := h.Conn().Subscribe(id.EventSubject(), func(m *nats.Msg) {
		var s protocol.RankStatus
		if json.Unmarshal(m.Data, &s) == nil {
			mu.Lock()
			defer mu.Unlock()
			told[s.Session] = append(told[s.Session], s)
		}
	}); err != nil {
		t.Fatal(err)
	}
	drivertest.Run(t, &drivertest.Subject{
		Handler: &drivertest.Wire{NC: h.Conn(), ID: id, Dir: t.TempDir()},
		Can:     driver.Capabilities{Iterations: driver.IterationsTold},
		Iterate: func(n int) { r.iterate(t, n) },
		Beat: func(hub string) {
			b, _ := json.Marshal(protocol.HubBeat{Hub: hub, AtNs: time.Now().UnixNano()})
			_ = h.Conn().Publish(protocol.HubBeatSubject(hub), b)
		},
		Told: func(session string) []protocol.RankStatus {
			mu.Lock()
			defer mu.Unlock()
			return append([]protocol.RankStatus(nil), told[session]...)
		},
		Left:      func() []string { return filesUnder(spool) },
		Check:     wholeTrace,
		CheckPast: wholeTrace, // of regions: torch itself remembers nothing
		Succeed: func(t *testing.T) {
			_, _ = fmt.Fprintln(r.in, "die")
			_ = r.cmd.Wait()
			r = startTorch(t, h.ClientURL(), spool)
		},
	})
}

// A second process of a place that is served does not take it, as long as the first answers.
func TestTorchPlaceIsServedByOne(t *testing.T) {
	torchPython(t)
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r := startTorch(t, h.ClientURL(), t.TempDir())
	cmd := exec.Command(r.cmd.Path, "testdata/torch_rank.py", t.TempDir(), h.ClientURL(), "1")
	cmd.Env = r.cmd.Env
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("is served by process %d", r.cmd.Process.Pid)) {
		t.Errorf("%v: %s", err, out)
	}
	if ranks := h.Ranks("suite"); len(ranks) != 1 || ranks[0].PID != r.cmd.Process.Pid {
		t.Errorf("%+v", ranks)
	}
}

// wholeTrace reads the trace among files, and wants an operator in it.
func wholeTrace(t *testing.T, files []rank.File) {
	t.Helper()
	for _, f := range files {
		if f.Kind == protocol.KindTrace {
			tr, err := kineto.ReadFile(context.Background(), f.Path, kineto.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tr.Slices.Len() == 0 {
				t.Errorf("%s is empty", f.Path)
			}
			return
		}
	}
	t.Errorf("there is no trace: %v", files)
}
