package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// overVenv is where an engine that needs a card is installed, beside those that need none.
func overVenv(t *testing.T, engine string) string {
	t.Helper()
	venv := engineVenv(t, enginesEnv) + "-" + engine
	if _, err := os.Stat(venv); err != nil {
		t.Skipf("no %s: make engines installs it", venv)
	}
	return venv
}

// routesServer serves the real profile routes of an engine without a model (deploy/engines/routes.py), and
// returns the directory of its files.
func routesServer(t *testing.T, engine string, env ...string) (s *realServer, dir string) {
	t.Helper()
	dir = t.TempDir()
	home := t.TempDir()
	s = startEngine(t, home, env, []string{filepath.Join(overVenv(t, engine), "bin/python"),
		"../../deploy/engines/routes.py", engine, "PORT", dir})
	return s, dir
}

// wantKinds says of a session's ranks that one lacks an artifact of a kind.
func wantKinds(t *testing.T, st session.Status, kinds ...protocol.ArtifactKind) {
	t.Helper()
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			have := map[protocol.ArtifactKind]bool{}
			for _, a := range k.Artifacts {
				have[a.Kind] = true
			}
			for _, kind := range kinds {
				if !have[kind] {
					t.Errorf("%s rank %d has no %s", s.Name, k.Rank, kind)
				}
			}
		}
	}
}

// wantNothing says that files of sessions are left with a server.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			t.Errorf("left: %s", path)
		}
		return nil
	})
}

// wantFit says that doctor does not find a server fit to be profiled.
func wantFit(t *testing.T, target string) {
	t.Helper()
	if out, err := exec.Command("kinetoscope", "doctor", target).CombinedOutput(); err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

// vLLM-Omni's own routes, profiler and diffusion worker: each stage is recorded by a call of its own, twice
// in a row, and its files are gone from its directories.
func TestRealOmniRoutes(t *testing.T) {
	s, dir := routesServer(t, "vllm-omni")
	target := fmt.Sprintf("vllm-omni://%s?stages=thinker,dit&dir=%s", s.addr, dir)
	wantFit(t, target)
	for range 2 {
		st := captureReal(t, "--target", target, "--duration", "2s")
		wantComplete(t, st, 2)
		wantRead(t, st)
		wantKinds(t, st, protocol.KindTrace)
		wantLabels(t, st, "execute_context", "diffusion_step", "diffusion_forward")
		wantNothing(t, dir)
	}
}

// wantLabels says of a session's traces together that none has a label.
func wantLabels(t *testing.T, st session.Status, labels ...string) {
	t.Helper()
	var all bytes.Buffer
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			for _, a := range k.Artifacts {
				if a.Kind != protocol.KindTrace {
					continue
				}
				f, err := os.Open(filepath.Join(st.RunDir, a.Name))
				if err != nil {
					t.Fatal(err)
				}
				z, err := gzip.NewReader(f)
				if err == nil {
					_, err = io.Copy(&all, z)
				}
				if err := errors.Join(err, f.Close()); err != nil {
					t.Errorf("%s: %v", a.Name, err)
				}
			}
		}
	}
	for _, label := range labels {
		if !bytes.Contains(all.Bytes(), []byte(label)) {
			t.Errorf("no %s in the traces", label)
		}
	}
}

// With our package in its environment the worker of a diffusion stage is a rank of its own, by vLLM-Omni's
// own loader of plugins, and its steps are iterations.
func TestRealOmniPlugin(t *testing.T) {
	overVenv(t, "vllm-omni")
	h := attachHub(t)
	routesServer(t, "vllm-omni", "KINETOSCOPE_URL="+h.nats)
	h.await(t, 1)
	for range 2 {
		st := h.ended(t, h.ask(t, "start", "--max-iterations", "20").ID)
		wantComplete(t, st, 1)
		stage := st.Stages[0]
		if stage.Name != "diffusion1" || stage.Ranks[0].Iterations == 0 {
			t.Errorf("%s: %+v", stage.Name, stage.Ranks[0])
		}
		wantRead(t, st)
		wantLabels(t, st, "diffusion_step", "one,two")
	}
}

// One start begins all stages of sglang-omni by its own control plane; its own profiler and recorder of
// events write.
func TestRealSGLangOmniRoutes(t *testing.T) {
	s, dir := routesServer(t, "sglang-omni")
	target := fmt.Sprintf("sglang-omni://%s?stages=thinker,talker&dir=%s", s.addr, dir)
	wantFit(t, target)
	for range 2 {
		st := captureReal(t, "--target", target, "--duration", "2s")
		wantComplete(t, st, 2)
		wantRead(t, st)
		wantKinds(t, st, protocol.KindTrace, protocol.KindEvents)
		wantNothing(t, dir)
	}
}

// A real vLLM behind Dynamo's own runtime and the handlers of its vLLM workers.
func TestRealDynamo(t *testing.T) {
	venv := engineVenv(t, enginesEnv)
	overVenv(t, "dynamo")
	s, dir := routesServer(t, "dynamo", "MODEL="+engineModel(t, venv, t.TempDir()), "VLLM_CPU_KVCACHE_SPACE=1",
		"VLLM_NO_USAGE_STATS=1", "DYN_SYSTEM_STARTING_HEALTH_STATUS=ready")
	target := fmt.Sprintf("dynamo://%s?dir=%s", s.addr, dir)
	wantFit(t, target)
	for range 2 {
		st := captureReal(t, "--target", target, "--duration", "2s")
		wantComplete(t, st, 1)
		wantRead(t, st)
		wantSteps(t, st.RunDir)
	}
}

// A worker as Dynamo's own launcher starts it, behind its own front end: they find each other by files.
func TestRealDynamoLauncher(t *testing.T) {
	python := filepath.Join(overVenv(t, "dynamo"), "bin/python")
	dir := t.TempDir()
	env := []string{"DYN_FILE_KV=" + t.TempDir(), "VLLM_CPU_KVCACHE_SPACE=1", "VLLM_NO_USAGE_STATS=1"}
	planes := []string{"--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq"}
	model := engineModel(t, engineVenv(t, enginesEnv), t.TempDir())
	profiler := fmt.Sprintf(`{"profiler":"torch","torch_profiler_dir":%q,"torch_profiler_with_stack":false}`, dir)
	worker := startEngine(t, t.TempDir(), append(slices.Clone(env), "DYN_SYSTEM_PORT=PORT"),
		append([]string{python, "-m", "dynamo.vllm", "--model", model, "--served-model-name", "tiny",
			"--load-format", "dummy", "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8",
			"--enforce-eager", "--profiler-config", profiler}, planes...))
	front := startEngine(t, t.TempDir(), env,
		append([]string{python, "-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", "PORT"}, planes...))
	waittest.Until(t, time.Minute, "the front end does not find the worker", func() bool {
		r, err := http.Get("http://" + front.addr + "/v1/models")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return bytes.Contains(b, []byte(`"tiny"`))
	})
	target := fmt.Sprintf("dynamo://%s?dir=%s", worker.addr, dir)
	wantFit(t, target)
	for range 2 {
		st := captureReal(t, "--target", target, "--", "bash", "-c", loadScript, "load", "http://"+front.addr)
		wantComplete(t, st, 1)
		wantRead(t, st)
		wantSteps(t, st.RunDir)
	}
}

// hub is a server that ranks attach to.
type attachedHub struct{ nats, url string }

// attachHub serves with more arguments, if any.
func attachHub(t *testing.T, args ...string) *attachedHub {
	t.Helper()
	dir := t.TempDir()
	natsFile, ready := filepath.Join(dir, "nats"), filepath.Join(dir, "ready")
	args = append([]string{"serve", "--attach", "--addr", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--nats-file", natsFile, "--ready-file", ready, "--runs-dir", filepath.Join(dir, "runs")}, args...)
	cmd := exec.Command("kinetoscope", args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	return &attachedHub{readWhenThere(t, natsFile), readWhenThere(t, ready)}
}

// ask runs start or stop and returns the session.
func (h *attachedHub) ask(t *testing.T, args ...string) (st session.Status) {
	t.Helper()
	out, err := exec.Command("kinetoscope", append(args, "--url", h.url, "--json")...).Output()
	if e := json.Unmarshal(out, &st); e != nil {
		t.Fatalf("%v: %v, %v\n%s", args, err, e, out)
	}
	return st
}

// await returns when so many ranks are ready.
func (h *attachedHub) await(t *testing.T, ranks int) {
	t.Helper()
	waittest.Until(t, time.Minute, "the workers do not join", func() bool { return ranksAt(t, h.url) >= ranks })
}

// ended returns a session when it has ended.
func (h *attachedHub) ended(t *testing.T, id string) (st session.Status) {
	t.Helper()
	waittest.Until(t, time.Minute, "the session does not end", func() bool {
		r, err := http.Get(h.url + "/v1/sessions/" + id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		st = session.Status{}
		if err := json.NewDecoder(r.Body).Decode(&st); err != nil {
			t.Fatal(err)
		}
		return st.State.Terminal()
	})
	return st
}
