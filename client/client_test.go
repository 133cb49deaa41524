package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/web"
	"github.com/kinetoscope/kinetoscope/web/api"
)

func TestMain(m *testing.M) {
	omni.WorkerMain() // the ranks of the served pipeline are this test binary
	os.Exit(m.Run())
}

const key = "correct-horse"

// serve opens the built-in omni pipeline, serves it with a key, and returns a client of it.
func serve(t *testing.T) (*client.Client, string, *omni.Engine) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts rank processes")
	}
	eng, err := omni.Open(t.Context(), omni.Config{RunsDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := eng.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := web.NewServer(web.Config{API: eng, Sessions: web.HubSessions(eng.Hub()), APIKeys: []string{key},
		Logger: slog.New(slog.DiscardHandler), ShutdownGrace: time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	url := "http://" + ln.Addr().String()
	c, err := client.New(client.Config{URL: url, APIKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return c, url, eng
}

func generate(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions",
		strings.NewReader(`{"messages":[{"role":"user","content":"hello"}],"max_tokens":8}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("chat: %s", resp.Status)
	}
}

// TestSession captures a real pipeline through a real server and brings all of it home.
func TestSession(t *testing.T) {
	c, url, _ := serve(t)
	ctx := t.Context()
	h, err := c.Health(ctx)
	if err != nil || h.Status != api.HealthOK || len(h.Stages) != 3 || h.Stages[0].Ready != h.Stages[0].All() {
		t.Fatalf("health %+v, %v", h, err)
	}
	if list, err := c.Sessions(ctx, 0); err != nil || len(list) != 0 {
		t.Errorf("sessions before one: %+v, %v", list, err)
	}
	if st, err := c.Stop(ctx, true); err != nil || st.State != session.StateIdle {
		t.Errorf("stop of nothing: %+v, %v", st, err)
	}
	begun, err := c.Start(ctx, protocol.StartRequest{Prefix: "mine", Stages: []int{0, 2}, MaxDuration: time.Minute})
	if err != nil || begun.State != session.StateRecording || len(begun.Stages) != 2 {
		t.Fatalf("start: %+v, %v", begun, err)
	}
	_, err = c.Start(ctx, protocol.StartRequest{})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 409 || e.Code != "session_running" ||
		e.Session == nil || e.Session.ID != begun.ID {
		t.Errorf("second start: %v", err)
	}
	generate(t, url)
	st, err := c.Stop(ctx, true)
	if err != nil || st.ID != begun.ID || st.State != session.StateComplete || st.Prefix != "mine" {
		t.Fatalf("stop: %+v, %v", st, err)
	}
	if again, err := c.Session(ctx, st.ID); err != nil || again.State != session.StateComplete {
		t.Errorf("session: %+v, %v", again, err)
	}
	rep, err := c.Report(ctx, st)
	if err != nil || rep == nil || len(rep.Stages) != 2 {
		t.Errorf("report: %+v, %v", rep, err)
	}
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var got int
	if err := c.Download(ctx, st, dir, func(protocol.Artifact) { got++ }); err != nil {
		t.Fatal(err)
	}
	for _, a := range store.AllArtifacts(st) {
		if info, err := dir.Stat(filepath.FromSlash(a.Name)); err != nil || info.Size() != a.Size {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
	if got == 0 || got != len(store.AllArtifacts(st)) {
		t.Errorf("%d of %d artifacts came home", got, len(store.AllArtifacts(st)))
	}
	stranger, err := client.New(client.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.Sessions(ctx, 1)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.HTTPStatus() != 401 {
		t.Errorf("without a key: %v", err)
	}
}

// TestOneRuleBehindEveryDoor: a wrong request is refused in the same words by the client,
// over HTTP, by the open pipeline and by the hub, and starts nothing.
func TestOneRuleBehindEveryDoor(t *testing.T) {
	c, url, eng := serve(t)
	with := func(change func(*protocol.ProfilerConfig)) *protocol.ProfilerConfig {
		cfg := protocol.DefaultProfilerConfig()
		cfg.Profiler = protocol.ProfilerTorch
		change(&cfg)
		return &cfg
	}
	neg := -1
	for field, r := range map[string]protocol.StartRequest{
		"profile_prefix":   {Prefix: ".x"},
		"delay_iterations": {DelayIterations: &neg},
		"max_iterations":   {MaxIterations: &neg},
		"max_duration_s":   {MaxDuration: time.Nanosecond},
		"last_s":           {Last: -time.Second},
		"max_bytes":        {MaxBytes: -1},
		"stages[1]":        {Stages: []int{0, 9}},
		"profiler_config.profiler": {Config: with(
			func(c *protocol.ProfilerConfig) { c.Profiler = "bogus" })},
		"profiler_config.iteration": {Config: with(
			func(c *protocol.ProfilerConfig) { c.Iteration = "week" })},
		"profiler_config.sample_requests": {Config: with(
			func(c *protocol.ProfilerConfig) { c.SampleRequests = -1 })},
		"profiler_config.active_iterations": {Config: with(
			func(c *protocol.ProfilerConfig) { c.ActiveIterations = 0 })},
		"profiler_config.torch_profiler_dir": {Config: with(
			func(c *protocol.ProfilerConfig) { c.TorchProfilerDir = "/etc" })},
		"profiler_config.torch_profiler_activities": {Config: with(
			func(c *protocol.ProfilerConfig) { c.Activities = make([]string, 1000) })},
	} {
		_, byHub := eng.Hub().StartProfile(t.Context(), eng.Pipeline().Name, r)
		want, ok := errors.AsType[*protocol.FieldError](byHub)
		if !ok || want.Field != field {
			t.Errorf("%s: the hub says %v", field, byHub)
			continue
		}
		if _, err := eng.StartProfile(t.Context(), r); err == nil || err.Error() != want.Text {
			t.Errorf("%s: the pipeline says %v, the hub %s", field, err, want.Text)
		}
		if _, err := c.Start(t.Context(), r); err == nil || !strings.HasSuffix(err.Error(), want.Text) {
			t.Errorf("%s: the client says %v, the hub %s", field, err, want.Text)
		}
		body, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		status, e := post(t, url+api.StartPath, string(body))
		if status != 400 || e.Error.Message != want.Text || e.Error.Param == nil || *e.Error.Param != field ||
			e.Detail != want.Text {
			t.Errorf("%s: over HTTP %d %+v, the hub %s", field, status, e, want.Text)
		}
	}
	if list := eng.Hub().Sessions(); len(list) != 0 {
		t.Errorf("sessions were started: %+v", list)
	}
}

func post(t *testing.T, url, body string) (int, api.ErrorBody) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var e api.ErrorBody
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, e
}

// TestRefusals: what servers answer becomes an Error, whoever wrote the body.
func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   client.Error
	}{
		"ours": {400,
			`{"error":{"message":"max_bytes -1","type":"t","param":"max_bytes","code":"invalid_value"},"hint":"mend it"}`,
			client.Error{Status: 400, Message: "max_bytes -1", Param: "max_bytes", Code: "invalid_value",
				Hint: "mend it"}},
		"fastapi":      {404, `{"detail":"Not Found"}`, client.Error{Status: 404, Message: "Not Found"}},
		"fastapi list": {422, `{"detail":[{"msg":"bad"}]}`, client.Error{Status: 422, Message: "[map[msg:bad]]"}},
		"text":         {502, "bad gateway\n", client.Error{Status: 502, Message: "bad gateway"}},
		"nothing":      {500, "", client.Error{Status: 500}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				if _, err := w.Write([]byte(tt.body)); err != nil {
					t.Error(err)
				}
			}))
			defer s.Close()
			c, err := client.New(client.Config{URL: s.URL + "/"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Stop(t.Context(), false)
			e, ok := errors.AsType[*client.Error](err)
			if !ok {
				t.Fatal(err)
			}
			tt.want.Method, tt.want.Path = "POST", "/stop_profile"
			if *e != tt.want {
				t.Errorf("%+v, want %+v", *e, tt.want)
			}
			if _, err := c.Health(t.Context()); err == nil {
				t.Error("an error's body was taken for a health")
			}
		})
	}
}

func TestHealthOfAServerThatDoesNotServe(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		if _,
			err := w.Write(
			[]byte(`{"status":"starting","reason":"stage 0 lacks a rank","model":"m","stages":[]}`)); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := c.Health(t.Context()); err != nil || h.Status != api.HealthStarting || h.Reason == "" {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestBadURLsAndRequests(t *testing.T) {
	for _, bad := range []string{"localhost:8000", "ftp://x", "http://", "http://[::1", "\x7f"} {
		if _, err := client.New(client.Config{URL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	c, err := client.New(client.Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Start(t.Context(), protocol.StartRequest{MaxBytes: -1})
	if f, ok := errors.AsType[*protocol.FieldError](err); !ok || f.Field != "max_bytes" {
		t.Errorf("%v: want it refused before it is sent", err)
	}
}

// TestDownloadIsWholeOrNot: a file that is not what the session says leaves nothing, and
// no name leads out of the directory.
func TestDownloadIsWholeOrNot(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write([]byte("data")); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	if err := os.Mkdir(filepath.Join(parent, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(filepath.Join(parent, "run"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, a := range []protocol.Artifact{{Name: "stage0_x/trace", SHA256: "beef"}, {Name: "../out"},
		{Name: "/etc/out"}} {
		st := &session.Status{ID: "S", Artifacts: []protocol.Artifact{a}}
		if err := c.Download(t.Context(), st, dir, nil); err == nil {
			t.Errorf("%s came", a.Name)
		}
	}
	for _, name := range []string{"run/stage0_x/trace", "run/stage0_x/trace.part", "out"} {
		if _, err := os.Stat(filepath.Join(parent, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}
