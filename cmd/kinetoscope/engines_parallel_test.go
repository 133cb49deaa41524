package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/session"
)

// loadAtOnce asks the server for completions at the same time, so that every replica has some.
const loadAtOnce = `for round in 1 2 3; do
  all=
  for i in 1 2 3 4; do
    curl -sf "$1/v1/completions" -H 'Content-Type: application/json' \
      -d '{"model":"tiny","prompt":"the quick brown fox","max_tokens":20}' >/dev/null & all="$all $!"
  done
  for one in $all; do wait $one || exit 1; done
done`

// A vLLM with two data-parallel replicas, which has two API servers, and one with two stages of a pipeline:
// one server each, captured twice in a row over its own routes, over Kineto's protocol and by the plugin.
// Every rank has a place of its own, the same by all ways.
func TestRealVLLMParallel(t *testing.T) {
	venv := engineVenv(t, enginesEnv)
	for name, c := range map[string]struct {
		p      parallel
		places []string // replica.rank
	}{
		"dp2": {parallel{dp: 2}, []string{"0.0", "1.0"}},
		"pp2": {parallel{pp: 2}, []string{"0.0", "0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := attachHub(t)
			sockets, err := os.MkdirTemp("/tmp", "ke")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(sockets)
			s := vllmServer(t, venv, c.p, "KINETO_USE_DAEMON=1", "KINETO_IPC_SOCKET_DIR="+sockets,
				"KINETOSCOPE_URL="+h.nats)
			t.Run("http", func(t *testing.T) { overHTTP(t, s, "vllm", c.places) })
			t.Run("plugin", func(t *testing.T) { overPlugin(t, h, s, c.places) })
			defer s.underLoad(t)()
			t.Run("kineto", func(t *testing.T) {
				for range 2 {
					wantPlaces(t, kinetoReal(t, sockets, c.p.ranks()), c.places)
				}
			})
		})
	}
}

// An SGLang whose two ranks share each layer, and one of two data-parallel replicas: the same, but for Kineto's
// protocol.
func TestRealSGLangParallel(t *testing.T) {
	venv := engineVenv(t, sglangEnv)
	for name, c := range map[string]struct {
		p      parallel
		places []string
	}{
		"tp2": {parallel{tp: 2}, []string{"0.0", "0.1"}},
		"dp2": {parallel{dp: 2}, []string{"0.0", "1.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := attachHub(t)
			s := sglangServer(t, venv, c.p, "KINETOSCOPE_URL="+h.nats)
			t.Run("http", func(t *testing.T) { overHTTP(t, s, "sglang", c.places) })
			t.Run("plugin", func(t *testing.T) { overPlugin(t, h, s, c.places) })
		})
	}
}

// overHTTP captures a server twice in a row by its own routes.
func overHTTP(t *testing.T, s *realServer, engine string, places []string) {
	for range 2 {
		st := captureReal(t, "--target", engine+"://"+s.addr, "--", "bash", "-c", loadAtOnce, "load", "http://"+s.addr)
		wantPlaces(t, st, places)
		wantPhases(t, st.RunDir, places)
	}
}

// overPlugin captures its workers twice in a row where they have joined.
func overPlugin(t *testing.T, h *attachedHub, s *realServer, places []string) {
	h.await(t, len(places))
	for range 2 {
		h.ask(t, "start")
		if out, err := exec.Command("bash", "-c", loadAtOnce, "load", "http://"+s.addr).CombinedOutput(); err != nil {
			t.Fatalf("load: %v\n%s", err, out)
		}
		st := h.ask(t, "stop")
		wantPlaces(t, st, places)
		wantPhases(t, st.RunDir, places)
	}
}

// wantPlaces says what a session of one stage lacks that is to be complete with the ranks at these places,
// and what its report does not tell apart.
func wantPlaces(t *testing.T, st session.Status, places []string) {
	t.Helper()
	wantComplete(t, st, len(places))
	wantRead(t, st)
	var have []string
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			have = append(have, fmt.Sprintf("%d.%d", k.Replica, k.Rank))
		}
	}
	if len(st.Stages) != 1 || !slices.Equal(have, places) {
		t.Errorf("%d stages with ranks %v, want %v", len(st.Stages), have, places)
	}
	out, err := exec.Command("kinetoscope", "report", st.RunDir, "--json").Output()
	var r struct {
		Stages []struct {
			Ranks []struct {
				Replica int `json:"replica"`
				Rank    int `json:"rank"`
			} `json:"ranks"`
		} `json:"stages"`
	}
	if e := json.Unmarshal(out, &r); e != nil || err != nil || len(r.Stages) != 1 {
		t.Fatalf("report: %v, %v\n%.2000s", err, e, out)
	}
	have = nil
	for _, k := range r.Stages[0].Ranks {
		have = append(have, fmt.Sprintf("%d.%d", k.Replica, k.Rank))
	}
	if !slices.Equal(have, places) {
		t.Errorf("the report has ranks %v, want %v", have, places)
	}
}

// wantPhases says of which rank of a run prefill or decode is not known.
func wantPhases(t *testing.T, dir string, places []string) {
	t.Helper()
	out, err := exec.Command("kinetoscope", "steps", dir, "--csv").Output()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("steps: %v\n%.2000s", err, out)
	}
	rank, kind := slices.Index(rows[0], "rank"), slices.Index(rows[0], "kind")
	have := map[string]map[string]bool{} // kinds by the ranks' labels
	for _, row := range rows[1:] {
		if have[row[rank]] == nil {
			have[row[rank]] = map[string]bool{}
		}
		have[row[rank]][row[kind]] = true
	}
	if len(have) != len(places) {
		t.Errorf("steps of %d ranks, want %d: %v", len(have), len(places), have)
	}
	for label, kinds := range have {
		if !kinds["prefill"] || !kinds["decode"] {
			t.Errorf("%s: the steps are not known: %v", label, kinds)
		}
	}
}
