package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/session"
)

// benchClients runs the load generators of vLLM and SGLang with --profile where a router sends the profile routes
// to our server and all else to a vLLM: each client begins and ends a session, which is complete when it ends.
func benchClients(t *testing.T, s *realServer, venv string) {
	h := attachHub(t, "--target", "vllm://"+s.addr)
	h.await(t, 1)
	ours, engine := mustURL(t, h.url), mustURL(t, "http://"+s.addr)
	router := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to := engine
		if strings.HasSuffix(r.In.URL.Path, "_profile") {
			to = ours
		}
		r.SetURL(to)
	}})
	defer router.Close()
	model := filepath.Join(s.dir, "model")
	load := []string{"--base-url", router.URL, "--model", "tiny", "--tokenizer", model, "--num-prompts", "4",
		"--random-input-len", "16", "--random-output-len", "8", "--profile"}
	clients := map[string][]string{"vllm": {filepath.Join(venv, "bin/vllm"), "bench", "serve", "--backend", "openai",
		"--dataset-name", "random"}}
	if sg := os.Getenv(sglangEnv); sg != "" {
		clients["sglang"] = []string{filepath.Join(sg, "bin/python"), "-m", "sglang.bench_serving", "--backend", "vllm",
			"--dataset-name", "random-ids"}
	}
	for name, args := range clients {
		t.Run(name, func(t *testing.T) {
			args = append(args, load...)
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Dir = t.TempDir() // SGLang's leaves its results in the working directory
			cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "HOME="+cmd.Dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out[max(0, len(out)-4000):])
			}
			st := h.newest(t)
			wantComplete(t, st, 1)
			wantSteps(t, st.RunDir)
			wantRead(t, st)
		})
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newest returns the hub's last session.
func (h *attachedHub) newest(t *testing.T) (st session.Status) {
	t.Helper()
	r, err := http.Get(h.url + "/v1/sessions")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var list struct{ Data []session.Status }
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil || len(list.Data) == 0 {
		t.Fatalf("%d sessions: %v", len(list.Data), err)
	}
	return list.Data[0]
}
