package web

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
)

func TestProfileStartStop(t *testing.T) {
	eng := newOmni()
	_, url := start(t, eng)
	for round := range 2 { // two captures in a row
		status, _, body := call(t, "POST", url+"/start_profile", "")
		st := parse[session.Status](t, body)
		if status != 200 || st.State != session.StateRecording || len(st.Stages) != 3 || len(st.Stages[0].Ranks) != 2 {
			t.Fatalf("start %d: %d %s", round, status, body)
		}
		status, _, body = call(t, "POST", url+"/stop_profile", "")
		st = parse[session.Status](t, body)
		if status != 200 || st.State != session.StateComplete {
			t.Fatalf("stop %d: %d %s", round, status, body)
		}
		rank := st.Stages[0].Ranks[1]
		if rank.State != protocol.StateComplete || rank.Artifacts[0].URL != "/v1/sessions/"+st.ID+
			"/artifacts/stage0_thinker/trace_rank1.json.gz" {
			t.Errorf("rank %+v", rank)
		}
		if u := st.Artifacts[0].URL; u != "/v1/sessions/"+st.ID+"/artifacts/report%20%231.json" {
			t.Errorf("report at %s", u)
		}
	}
	status, _, body := call(t, "POST", url+"/stop_profile", "  \n")
	if status != 200 || !strings.Contains(body, `"state":"idle"`) || !strings.Contains(body, "nothing to stop") {
		t.Errorf("idle stop: %d %s", status, body)
	}
	if eng.old[0].Artifacts[0].URL != "" {
		t.Error("the engine's own status was changed")
	}
}

func TestProfileOptions(t *testing.T) {
	zero, five := 0, 5
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler, cfg.WithMemory = "torch", true
	tests := []struct {
		body string
		want protocol.StartRequest
	}{
		{``, protocol.StartRequest{}},
		{`{}`, protocol.StartRequest{}},
		{`{"stages":null,"profile_prefix":null,"max_iterations":null}`, protocol.StartRequest{}},
		{`{"stages":[2,0,2],"profile_prefix":"night run"}`, protocol.StartRequest{Stages: []int{2, 0, 2},
			Prefix: "night run"}},
		{`{"delay_iterations":0,"max_iterations":5}`, protocol.StartRequest{DelayIterations: &zero,
			MaxIterations: &five}},
		{`{"last_s":10}`, protocol.StartRequest{Last: 10 * time.Second}},
		{`{"max_duration_s":1.5,"allow_partial":true}`, protocol.StartRequest{MaxDuration: 1500 * time.Millisecond,
			AllowPartial: true}},
		{`{"max_bytes":4096}`, protocol.StartRequest{MaxBytes: 4096}},
		{`{"profiler_config":{"torch_profiler_with_memory":true}}`, protocol.StartRequest{Config: &cfg}},
		{`{"profiler_config":{"torch_profiler_with_memory":true,"proton_mode":"x"}}`,
			protocol.StartRequest{Config: &cfg}},
		{`{"profiler_config":null}`, protocol.StartRequest{}},
		// What vLLM's load generator posts.
		{`{"model":"m","prompt":"hello","max_tokens":7,"logprobs":null,"stream":true,"extra":{"a":[1]}}`,
			protocol.StartRequest{}},
	}
	for _, tt := range tests {
		eng := newOmni()
		_, url := start(t, eng)
		status, _, body := call(t, "POST", url+"/start_profile", tt.body)
		if status != 200 {
			t.Errorf("%s: %d %s", tt.body, status, body)
			continue
		}
		if d := cmp.Diff(&tt.want, eng.opts.Load()); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, d)
		}
	}
}

// A start takes whole requests of load generators, and says what of them it took no notice of.
func TestProfileSaysWhatItIgnores(t *testing.T) {
	_, url := start(t, newOmni())
	for body, want := range map[string]string{
		`{"profile_prefix":"x","num_steps":3,"with_stack":false}`: "",
		`{"max_iteration":5,"model":"m"}`:                         "max_iteration, model",
		`{"a\u001b[2J\u202e":1}`:                                  "fields: a [2J ",
	} {
		status, _, answer := call(t, "POST", url+"/start_profile", body)
		said := parse[struct{ Message string }](t, answer).Message
		if status != 200 || (said == "") != (want == "") || !strings.Contains(said, want) {
			t.Errorf("%s: %d %q", body, status, said)
		}
		if status, _, answer := call(t, "POST", url+"/stop_profile", ""); status != 200 {
			t.Fatalf("%d %s", status, answer)
		}
	}
}

func TestProfileBadInput(t *testing.T) {
	eng := newOmni()
	_, url := start(t, eng)
	tests := []struct {
		path, body string
		status     int
		param      string
		says       string
	}{
		{"/start_profile", `{"stages":"all"}`, 422, "stages", "want an array"},
		{"/start_profile", `{"stages":[0,"1"]}`, 422, "stages[1]", "want an integer"},
		{"/start_profile", `{"stages":[0,7]}`, 400, "stages[1]", "0 (thinker), 1 (talker), 2 (code2wav)"},
		{"/start_profile", `{"stages":[-1]}`, 400, "stages[0]", "no stage -1"},
		{"/start_profile", `{"stages":[]}`, 400, "stages", "empty"},
		{"/start_profile", `{"profile_prefix":7}`, 422, "profile_prefix", "want a string"},
		{"/start_profile", `{"profile_prefix":"a/b"}`, 400, "profile_prefix", "separator"},
		{"/start_profile", `{"profile_prefix":"..\\b"}`, 400, "profile_prefix", "dot"},
		{"/start_profile", `{"profile_prefix":".."}`, 400, "profile_prefix", "dot"},
		{"/start_profile", `{"profile_prefix":"a\u0000"}`, 400, "profile_prefix", "control"},
		{"/start_profile", `{"profile_prefix":"` + strings.Repeat("x", 300) + `"}`, 400, "profile_prefix", "300 bytes"},
		{"/start_profile", `{"max_iterations":-1}`, 400, "max_iterations", "0 and more"},
		{"/start_profile", `{"delay_iterations":true}`, 422, "delay_iterations", "boolean"},
		{"/start_profile", `{"last_s":-1}`, 400, "last_s", "0.001 to 86400"},
		{"/start_profile", `{"max_duration_s":0}`, 400, "max_duration_s", "0.001 to 86400"},
		{"/start_profile", `{"max_duration_s":1e-10}`, 400, "max_duration_s", "0.001 to 86400"},
		{"/start_profile", `{"max_duration_s":1e300}`, 400, "max_duration_s", "0.001 to 86400"},
		{"/start_profile", `{"last_s":1e-10}`, 400, "last_s", "0.001 to 86400"},
		{"/start_profile", `{"max_bytes":-1}`, 400, "max_bytes", "0 (no bound) and more"},
		{"/start_profile", `{"max_bytes":"64MiB"}`, 422, "max_bytes", "want an integer"},
		{"/start_profile", `{"profile_prefix":".x"}`, 400, "profile_prefix", "dot"},
		{"/start_profile", `{"profile_prefix":"c:x"}`, 400, "profile_prefix", "separator"},
		{"/start_profile", `{"profiler_config":{"profiler":"bogus"}}`, 400, "profiler_config.profiler",
			"torch, cuda, null"},
		{"/start_profile", `{"profiler_config":{"iteration":"epoch"}}`, 400, "profiler_config.iteration",
			"step, request"},
		{"/start_profile", `{"profiler_config":{"sample_requests":-1}}`, 400, "profiler_config.sample_requests",
			"0 and more"},
		{"/start_profile", `{"profiler_config":{"active_iterations":0}}`, 400, "profiler_config.active_iterations",
			"1 and more"},
		{"/start_profile", `{"profiler_config":{"torch_profiler_activities":["TPU"]}}`, 400,
			"profiler_config.torch_profiler_activities", "CPU, GPU"},
		{"/start_profile", `{"profiler_config":{"torch_profiler_activities":["CPU"` + strings.Repeat(`,"CPU"`, 999) +
			`]}}`, 400,
			"profiler_config.torch_profiler_activities", "1000 entries"},
		{"/start_profile", `{"profiler_config":{"max_iterations":"5"}}`, 422, "profiler_config.max_iterations",
			"want an integer"},
		{"/start_profile", `{"profiler_config":[]}`, 422, "profiler_config", "want an object"},
		{"/start_profile", `{"profiler_config":{"torch_profiler_stack":true}}`, 400,
			"profiler_config.torch_profiler_stack", "unknown field"},
		{"/start_profile", `{"profiler_config":{"torch_profiler_dir":"/etc"}}`, 400,
			"profiler_config.torch_profiler_dir", "deployment"},
		{"/start_profile", `{"stages":[0]`, 400, "", "line 1"},
		{"/start_profile", `{"stages":[0],"stages":[1]}`, 400, "stages", "duplicate"},
		{"/start_profile", `[]`, 422, "", "want an object"},
		{"/stop_profile", `{"wait":"no"}`, 422, "wait", "want a boolean"},
		{"/stop_profile", `nonsense`, 400, "", "line 1, column"},
	}
	for _, tt := range tests {
		t.Run(tt.body[:min(len(tt.body), 40)], func(t *testing.T) {
			status, _, body := call(t, "POST", url+tt.path, tt.body)
			e := parse[errorReply](t, body)
			if status != tt.status || !strings.Contains(e.Error.Message, tt.says) || e.Detail != e.Error.Message {
				t.Errorf("%d %s", status, body)
			}
			if tt.param != "" && deref(e.Error.Param) != tt.param {
				t.Errorf("param %q, want %q", deref(e.Error.Param), tt.param)
			}
		})
	}
	if eng.running != nil {
		t.Error("a refused request started a session")
	}
}

func TestProfileBusyIs409WithTheSession(t *testing.T) {
	_, url := start(t, newOmni())
	_, _, body := call(t, "POST", url+"/start_profile", `{"profile_prefix":"first"}`)
	first := parse[session.Status](t, body)
	status, _, body := call(t, "POST", url+"/start_profile", "")
	e := parse[errorReply](t, body)
	if status != 409 || e.Session == nil || e.Session.ID != first.ID || e.Hint == "" ||
		deref(e.Error.Code) != "session_running" {
		t.Errorf("%d %s", status, body)
	}
}

func TestProfileWithoutProfilerIs404WithHint(t *testing.T) {
	eng := newOmni()
	for i := range eng.stages {
		eng.stages[i].Profiler = false
	}
	_, url := start(t, eng)
	for _, path := range []string{"/start_profile", "/stop_profile"} {
		status, _, body := call(t, "POST", url+path, "")
		e := parse[errorReply](t, body)
		if status != 404 || !strings.Contains(e.Hint, "profiler_config") {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, h, _ := call(t, "GET", url+path, ""); status != 405 || h.Get("Allow") != "POST" {
			t.Errorf("GET %s: %d %v", path, status, h)
		}
	}
}

func TestStopDoesNotWait(t *testing.T) {
	eng := newOmni()
	eng.stop = make(chan struct{})
	s, url := start(t, eng)
	_, _, body := call(t, "POST", url+"/start_profile", "")
	id := parse[session.Status](t, body).ID
	status, _, body := call(t, "POST", url+"/stop_profile", `{"wait":false}`)
	if st := parse[session.Status](t, body); status != 200 || st.State != session.StateStopping || st.ID != id {
		t.Errorf("%d %s", status, body)
	}
	// Whoever stops now joins the stop that goes on: the engine sees one.
	running := s.current(t.Context())
	first, second := s.beginStop(running), s.beginStop(running)
	if first != second {
		t.Error("a second stop began")
	}
	eng.stop <- struct{}{}
	<-first.done
	if first.err != nil || first.status.State != session.StateComplete {
		t.Errorf("joined stop: %v %v", first.status, first.err)
	}
}

// makingEngine has ended to record when a stop reaches it, and answers once the artifacts are made.
type makingEngine struct {
	*memEngine
	made chan struct{}
}

func (e *makingEngine) StopProfile(ctx context.Context) (*session.Status, error) {
	st, err := e.memEngine.StopProfile(ctx)
	select {
	case <-e.made:
	case <-ctx.Done():
	}
	return st, err
}

// A session may record while the artifacts of the one before are made, and a stop then ends it: it
// does not join the stop that waits for those artifacts.
func TestStopWhileTheSessionBeforeIsMade(t *testing.T) {
	eng := &makingEngine{newOmni(), make(chan struct{})}
	defer close(eng.made)
	_, url := start(t, eng)
	recorded := func() int {
		eng.mu.Lock()
		defer eng.mu.Unlock()
		return len(eng.old)
	}
	for n := range 3 {
		status, _, body := call(t, "POST", url+"/start_profile", "")
		id := parse[session.Status](t, body).ID
		if status != 200 {
			t.Fatalf("start: %d %s", status, body)
		}
		status, _, body = call(t, "POST", url+"/stop_profile", `{"wait":false}`)
		if st := parse[session.Status](t, body); status != 200 || st.ID != id {
			t.Errorf("stop of %s: %d %s", id, status, body)
		}
		eventually(t, "ended to record", func() bool { return recorded() == n+1 })
	}
}

// A stop takes the bodies of other servers' clients, and its answer names what had no effect: a misspelled
// member would be taken for one that was heeded.
func TestStopSaysWhatItIgnored(t *testing.T) {
	const want = "without effect, for a stop has no such fields: stages, wiat"
	_, url := start(t, newOmni())
	for range 2 { // of none, then of a session
		status, _, body := call(t, "POST", url+"/stop_profile", `{"wiat":false,"stages":[0]}`)
		if got := parse[api.Session](t, body).Message; status != 200 || !strings.HasSuffix(got, want) {
			t.Errorf("%d %s", status, body)
		}
		call(t, "POST", url+"/start_profile", "")
	}
	status, _, body := call(t, "POST", url+"/stop_profile", `{"wait":true}`)
	if got := parse[api.Session](t, body).Message; status != 200 || got != "" {
		t.Errorf("%d %s", status, body)
	}
}

func TestStopGoesOnWithoutItsClient(t *testing.T) {
	eng := newOmni()
	eng.stop = make(chan struct{})
	s, url := start(t, eng)
	call(t, "POST", url+"/start_profile", "")
	call(t, "POST", url+"/stop_profile", `{"wait":false}`)
	close(eng.stop)
	eventually(t, "stopped", func() bool { st := s.last.get(); return st != nil && st.State == session.StateComplete })
}

func TestCloseEndsAStopThatHangs(t *testing.T) {
	eng := newOmni()
	eng.stop = make(chan struct{}) // nobody opens it
	_, url := start(t, eng)
	call(t, "POST", url+"/start_profile", "")
	call(t, "POST", url+"/stop_profile", `{"wait":false}`)
	// The cleanup of start fails the test if Serve does not return.
}

// TestPrefixProperty: whatever prefix is accepted is one plain path element.
func TestPrefixProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.String().Draw(t, "prefix")
		if protocol.ValidatePrefix(p) == nil && p != "" && (!validName(p) || strings.Contains(p, "/")) {
			t.Fatalf("%q is accepted and is no path element", p)
		}
	})
}
