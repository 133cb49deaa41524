package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// enginesEnv names a virtual environment with a real vLLM; deploy/engines/install.py makes
// it, make engines sets this.
const enginesEnv = "KINETOSCOPE_ENGINES"

// engineReady bounds how long a server may take to load a model of two layers.
const engineReady = 5 * time.Minute

// vllmServer starts a real server of tp ranks on a free port and returns its address.
func vllmServer(t *testing.T, venv string, tp int, env ...string) (addr string, server *exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	model := filepath.Join(dir, "model")
	install := exec.Command(filepath.Join(venv, "bin/python"), "../../deploy/engines/install.py", "model", venv, model)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("make a model: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	profiles := filepath.Join(dir, "profiles")
	if err := os.Mkdir(profiles, 0o700); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server = exec.Command(filepath.Join(venv, "bin/vllm"), "serve", model, "--served-model-name", "tiny",
		"--load-format", "dummy",
		"--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager", "--host",
		"127.0.0.1", "--port", port,
		"--tensor-parallel-size", fmt.Sprint(tp),
		"--profiler-config",
		fmt.Sprintf(`{"profiler":"torch","torch_profiler_dir":%q,"torch_profiler_with_stack":false}`, profiles))
	server.Env = append(os.Environ(), "VLLM_CPU_KVCACHE_SPACE=1", "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "HOME="+
		dir)
	server.Env = append(server.Env, env...)
	if tp > 1 {
		server.Env = append(server.Env, "VLLM_CPU_OMP_THREADS_BIND=0|1")
	}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt) // it ends its workers
		_ = server.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the server said:\n%s", text[max(0, len(text)-4000):])
		}
		_ = log.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), engineReady)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := http.Get("http://" + addr + "/health"); err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return addr, server
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the server does not become ready")
		}
	}
}

// loadScript asks the server for a few completions.
const loadScript = `for i in 1 2 3 4; do
  curl -sf "$1/v1/completions" -H 'Content-Type: application/json' -d '{"model":"tiny","prompt":"the quick brown fox","max_tokens":20}' >/dev/null || exit 1
done`

// captured is what a capture's --json says, as far as these tests look.
type capturedJSON struct {
	Session session.Status `json:"session"`
}

func captureTarget(t *testing.T, runs, addr string) (out session.Status, runDir string) {
	t.Helper()
	program, err := exec.LookPath("kinetoscope")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "capture", "--target", "vllm://"+addr, "--runs-dir", runs, "--json", "--", "bash",
		"-c", loadScript, "load", "http://"+addr)
	var text, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var c capturedJSON
	if err := json.Unmarshal(text.Bytes(), &c); err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	return c.Session, c.Session.RunDir
}

// A vLLM as it is published, on this machine's processor: captured twice in a row under load
// over its own routes, every rank complete, its steps known by their labels.
func TestRealVLLM(t *testing.T) {
	venv := os.Getenv(enginesEnv)
	if venv == "" {
		t.Skip("no " + enginesEnv + ": make engines installs a vLLM and sets it")
	}
	for _, tp := range []int{1, 2} {
		t.Run(fmt.Sprintf("tp%d", tp), func(t *testing.T) {
			addr, _ := vllmServer(t, venv, tp)
			runs := t.TempDir()
			for round := range 2 {
				st, dir := captureTarget(t, runs, addr)
				if st.State != session.StateComplete || len(st.Stages) != 1 || len(st.Stages[0].Ranks) != tp {
					t.Fatalf("round %d: %s %s: %+v", round, st.State, st.Error, st.Stages)
				}
				for _, k := range st.Stages[0].Ranks {
					if k.State != protocol.StateComplete || k.Events == 0 {
						t.Errorf("round %d rank %d: %s with %d events: %s", round, k.Rank, k.State, k.Events, k.Reason)
					}
				}
				out, err := exec.Command("kinetoscope", "steps", dir, "--csv").Output()
				if err != nil || !strings.Contains(string(out), "prefill") || !strings.Contains(string(out), "decode") {
					t.Errorf("round %d: the steps are not known: %v\n%.2000s", round, err, out)
				}
			}
		})
	}
}

// With our package in its environment every worker of a vLLM is a rank by itself: no profiler
// of its own is asked for anything, and what has been can be captured.
func TestRealVLLMPlugin(t *testing.T) {
	venv := os.Getenv(enginesEnv)
	if venv == "" {
		t.Skip("no " + enginesEnv + ": make engines installs a vLLM and sets it")
	}
	dir := t.TempDir()
	natsFile, ready := filepath.Join(dir, "nats"), filepath.Join(dir, "ready")
	hub := exec.Command("kinetoscope", "serve", "--attach", "--addr", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--nats-file", natsFile, "--ready-file", ready, "--runs-dir", filepath.Join(dir, "runs"))
	hub.Stderr = os.Stderr
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hub.Process.Signal(os.Interrupt)
		_ = hub.Wait()
	})
	nats, url := readWhenThere(t, natsFile), readWhenThere(t, ready)
	addr, _ := vllmServer(t, venv, 2, "KINETOSCOPE_URL="+nats)
	load := func() {
		if out, err := exec.Command("bash", "-c", loadScript, "load", "http://"+addr).CombinedOutput(); err != nil {
			t.Fatalf("load: %v\n%s", err, out)
		}
	}
	ask := func(args ...string) []byte {
		out, err := exec.Command("kinetoscope", append(args, "--url", url)...).Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ranksAt(t, url) < 2 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the workers do not join")
		}
	}
	for round := range 2 {
		ask("start")
		load()
		var st session.Status
		if err := json.Unmarshal(ask("stop", "--json"), &st); err != nil {
			t.Fatal(err)
		}
		if st.State != session.StateComplete || len(st.Stages) != 1 || len(st.Stages[0].Ranks) != 2 {
			t.Fatalf("round %d: %s %s: %+v", round, st.State, st.Error, st.Stages)
		}
		for _, k := range st.Stages[0].Ranks {
			if k.State != protocol.StateComplete || k.Iterations == 0 {
				t.Errorf("round %d rank %d: %s after %d iterations: %s", round, k.Rank, k.State, k.Iterations, k.Reason)
			}
		}
		out, err := exec.Command("kinetoscope", "steps", st.RunDir, "--csv").Output()
		if err != nil || !strings.Contains(string(out), "prefill") || !strings.Contains(string(out), "decode") {
			t.Errorf("round %d: the steps are not known: %v\n%.2000s", round, err, out)
		}
	}
}

// readWhenThere is what a file says once it appears.
func readWhenThere(t *testing.T, path string) string {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if b, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("%s does not appear", path)
	return ""
}

// ranksAt is how many ranks are ready at a server.
func ranksAt(t *testing.T, url string) (n int) {
	t.Helper()
	resp, err := http.Get(url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var h struct {
		Stages []struct {
			Ready int `json:"ready_ranks"`
		} `json:"stages"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		t.Fatal(err)
	}
	for _, s := range h.Stages {
		n += s.Ready
	}
	return n
}
