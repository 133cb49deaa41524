package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/web/api"
)

func TestMain(m *testing.M) {
	omni.WorkerMain() // the ranks of the real pipelines are this test binary
	goleak.VerifyTestMain(m)
}

// start serves api on a loopback port, as Serve does, until the test ends.
func start(t *testing.T, api omni.API, change ...func(*Config)) (*Server, string) {
	t.Helper()
	cfg := Config{API: api, Logger: slog.New(slog.DiscardHandler), ShutdownGrace: 5 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	s := NewServer(cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s, "http://" + ln.Addr().String()
}

// call sends a request and returns status, headers and body.
func call(t *testing.T, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: read: %v", method, url, err)
	}
	return res.StatusCode, res.Header, string(data)
}

type errorReply struct {
	Error struct {
		Message, Type string
		Param, Code   *string
	}
	Detail, Hint string
	Session      *struct{ ID string }
}

func parse[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("body is no JSON: %v\n%s", err, body)
	}
	return v
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waittest.Until(t, 10*time.Second, what, ok)
}

func TestErrorBodies(t *testing.T) {
	eng := newOmni()
	eng.maxText = 4
	_, url := start(t, eng)
	_, durl := start(t, newDiffusion())
	chat := func(rest string) string { return `{"messages":[{"role":"user","content":"hi"}]` + rest + `}` }
	tests := []struct {
		name, method, url, body string
		status                  int
		param, says             string
	}{
		{"no path", "GET", url + "/v2/nothing", "", 404, "", "/v2/nothing"},
		{"method", "GET", url + "/v1/chat/completions", "", 405, "", "use POST"},
		{"start by GET", "GET", url + "/start_profile", "", 405, "", "use POST"},
		{"syntax", "POST", url + "/v1/chat/completions", "{\n \"messages\": [}", 400, "messages",
			"line 2, column 15 (offset 16)"},
		{"cut", "POST", url + "/v1/chat/completions", `{"messages": [`, 400, "", "unexpected"},
		{"empty", "POST", url + "/v1/chat/completions", "", 400, "", "not valid JSON"},
		{"type", "POST", url + "/v1/chat/completions", chat(`,"max_tokens":"many"`), 422, "max_tokens",
			`want an integer, got a string`},
		{"fraction", "POST", url + "/v1/chat/completions", chat(`,"max_tokens":1.5`), 422, "max_tokens", `1.5`},
		{"no messages", "POST", url + "/v1/chat/completions", `{"model":"mem/model"}`, 400, "messages", "missing"},
		{"role", "POST", url + "/v1/chat/completions",
			`{"messages":[{"role":"user","content":"a"},{"role":"king","content":"b"}]}`, 400, "messages[1].role",
			"king"},
		{"content type", "POST", url + "/v1/chat/completions", `{"messages":[{"role":"user","content":7}]}`, 400,
			"messages[0].content", "string or an array"},
		{"image part", "POST", url + "/v1/chat/completions",
			`{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "messages[0].content[0].type",
			"image_url"},
		{"part type", "POST", url + "/v1/chat/completions",
			`{"messages":[{"role":"user","content":[{"type":"text","text":7}]}]}`, 422, "messages[0].content[0].text",
			"want a string"},
		{"n = 0", "POST", url + "/v1/chat/completions", chat(`,"n":0`), 400, "n", "1 to 1"},
		{"n = 2", "POST", url + "/v1/chat/completions", chat(`,"n":2`), 400, "n", "1 to 1"},
		{"model", "POST", url + "/v1/chat/completions", chat(`,"model":"other"`), 404, "model", "mem/model"},
		{"modality", "POST", url + "/v1/chat/completions", chat(`,"modalities":["image"]`), 400, "modalities[0]",
			"text, audio"},
		{"audio format", "POST", url + "/v1/chat/completions", chat(`,"audio":{"voice":"x","format":"mp3"}`), 400,
			"audio.format", "wav, pcm16"},
		{"temperature", "POST", url + "/v1/chat/completions", chat(`,"temperature":3`), 400, "temperature", "0 to 2"},
		{"top_p", "POST", url + "/v1/chat/completions", chat(`,"top_p":0`), 400, "top_p", "over 0"},
		{"max_tokens", "POST", url + "/v1/chat/completions", chat(`,"max_tokens":0`), 400, "max_tokens", "at least 1"},
		{"stop", "POST", url + "/v1/chat/completions", chat(`,"stop":["x",""]`), 400, "stop[1]", "empty"},
		{"long stop", "POST", url + "/v1/chat/completions", chat(`,"stop":"` + strings.Repeat("x", 200000) + `"`), 400,
			"stop[0]", "1024 at most"},
		{"half a query", "GET", url + "/v1/sessions?limit=%zz", "", 400, "", "query"},
		{"a semicolon in a query", "GET", url + "/v1/sessions?a=1;limit=0", "", 400, "", "semicolon"},
		{"many stops", "POST", url + "/v1/chat/completions", chat(`,"stop":["a"` + strings.Repeat(`,"a"`, 16) + `]`),
			400, "stop", "16 at most"},
		{"tools", "POST", url + "/v1/chat/completions", chat(`,"tools":[{}]`), 400, "tools", "not supported"},
		{"prompt too long", "POST", url + "/v1/chat/completions",
			`{"messages":[{"role":"user","content":"a b c d e"}]}`, 400, "", "5 tokens"},
		{"prompt too long, streamed", "POST", url + "/v1/chat/completions",
			`{"stream":true,"messages":[{"role":"user","content":"a b c d e"}]}`, 400, "", "5 tokens"},
		{"big", "POST", url + "/v1/chat/completions", `"` + strings.Repeat("x", MaxGenerateBody) + `"`, 413, "",
			"4194304"},
		{"speech format", "POST", url + "/v1/audio/speech", `{"input":"a","voice":"v","response_format":"mp3"}`, 400,
			"response_format", "wav, pcm16"},
		{"speech input", "POST", url + "/v1/audio/speech", `{"voice":"v"}`, 400, "input", "missing"},
		{"speech speed", "POST", url + "/v1/audio/speech", `{"input":"a","speed":2}`, 400, "speed", "speed 2"},
		{"speech of images", "POST", durl + "/v1/audio/speech", `{"input":"a"}`, 400, "model", "makes no audio"},
		{"images of omni", "POST", url + "/v1/images/generations", `{"prompt":"a"}`, 400, "model", "makes no images"},
		{"image n", "POST", durl + "/v1/images/generations", `{"prompt":"a","n":11}`, 400, "n", "1 to 10"},
		{"image n = 0", "POST", durl + "/v1/images/generations", `{"prompt":"a","n":0}`, 400, "n", "1 to 10"},
		{"image size", "POST", durl + "/v1/images/generations", `{"prompt":"a","size":"big"}`, 400, "size",
			"allowed are"},
		{"image url", "POST", durl + "/v1/images/generations", `{"prompt":"a","response_format":"url"}`, 400,
			"response_format", "b64_json"},
		{"image steps", "POST", durl + "/v1/images/generations", `{"prompt":"a","num_inference_steps":0}`, 400,
			"num_inference_steps", "1 to 1000"},
		{"chat image extra", "POST", durl + "/v1/chat/completions", chat(`,"extra_body":{"width":8}`), 400,
			"extra_body.width", "go together"},
		{"session", "GET", url + "/v1/sessions/none", "", 404, "", "none"},
		{"model id", "GET", url + "/v1/models/no/such", "", 404, "model", "no/such"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, h, body := call(t, tt.method, tt.url, tt.body)
			if status != tt.status {
				t.Fatalf("status %d, want %d: %s", status, tt.status, body)
			}
			if ct := h.Get("Content-Type"); ct != "application/json" {
				t.Errorf("content type %q", ct)
			}
			e := parse[errorReply](t, body)
			if e.Error.Type == "" || !strings.Contains(e.Error.Message, tt.says) {
				t.Errorf("message %q does not say %q", e.Error.Message, tt.says)
			}
			if got := deref(e.Error.Param); got != tt.param && tt.name != "syntax" && tt.name != "cut" {
				t.Errorf("param %q, want %q", got, tt.param)
			}
			if status == 405 && h.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if h.Get(HeaderRequestID) == "" {
				t.Error("no request id")
			}
		})
	}
	if n := eng.active.Load(); n != 0 {
		t.Errorf("%d generations still run", n)
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func TestPanicIs500AndLogged(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&buf, nil))
	s := NewServer(Config{API: newOmni(), Logger: log})
	defer s.Close()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/v1/chat/completions",
		strings.NewReader(`{"messages":[{"role":"user","content":"panic"}]}`))
	r.Host = "localhost"
	r.Header.Set(HeaderRequestID, "my-id.1")
	s.Handler().ServeHTTP(w, r)
	if w.Code != 500 || !strings.Contains(w.Body.String(), "my-id.1") ||
		strings.Contains(w.Body.String(), "engine bug") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get(HeaderRequestID) != "my-id.1" {
		t.Errorf("request id %q", w.Header().Get(HeaderRequestID))
	}
	if !strings.Contains(buf.String(), "engine bug") || !strings.Contains(buf.String(), "engine_test.go") {
		t.Errorf("log lacks the panic and its stack: %s", &buf)
	}
}

func TestGuard(t *testing.T) {
	_, url := start(t, newOmni(), func(c *Config) { c.AllowedHosts = []string{"tunnel.example"} })
	port := url[strings.LastIndex(url, ":"):]
	tests := []struct {
		name, method string
		header       []string
		status       int
	}{
		{"plain", "POST", nil, 200},
		{"localhost", "POST", []string{"Host", "localhost" + port}, 200},
		{"IPv6", "POST", []string{"Host", "[::1]" + port}, 200},
		{"allowed name", "POST", []string{"Host", "Tunnel.example"}, 200},
		{"rebound name", "POST", []string{"Host", "evil.example" + port}, 403},
		{"rebound name, same origin", "GET", []string{"Host", "evil.example" + port, "Origin", "http://evil.example" +
			port}, 403},
		{"name that begins like an address", "POST", []string{"Host", "127.0.0.1.evil.example"}, 403},
		{"other origin", "POST", []string{"Origin", "http://evil.example"}, 403},
		{"other origin, GET", "GET", []string{"Origin", "http://evil.example"}, 403},
		{"null origin", "POST", []string{"Origin", "null"}, 403},
		{"cross-site fetch", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"own page", "POST", []string{"Origin", url, "Sec-Fetch-Site", "same-origin"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := "/stop_profile"
			if tt.method == "GET" {
				path = "/v1/models"
			}
			if status, _, body := call(t, tt.method, url+path, "", tt.header...); status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, body)
			}
		})
	}
}

// A name that leads here against this host's will is refused on every address: its page
// would reach the server with its reader's browser.
func TestHostsBeyondTheLoopback(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		allowed, host string
		status        int
	}{
		{"", "evil.example", 403}, {"", "10.0.0.1:8000", 200}, {"", "[fd00::1]:8000", 200}, {"", own + ":8000", 200},
		{"", "localhost:8000", 200},
		{"", "10.0.0.1.evil.example", 403}, {"gpu-box.example", "gpu-box.example", 200},
		{"gpu-box.example", "evil.example", 403}, {"*", "evil.example", 200},
	} {
		s := NewServer(Config{API: newOmni(), Addr: "0.0.0.0:8000", AllowedHosts: []string{c.allowed},
			Logger: slog.New(slog.DiscardHandler)})
		r := httptest.NewRequest("GET", "/v1/models", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s with %q allowed: %d %s", c.host, c.allowed, w.Code, w.Body)
		}
		s.Close()
	}
}

func TestHealth(t *testing.T) {
	eng := newOmni()
	s, url := start(t, eng)
	status, _, body := call(t, "GET", url+"/health", "")
	h := parse[api.Health](t, body)
	if status != 200 || h.Status != "ok" || len(h.Stages) != 3 || h.Stages[0].Ready != 2 ||
		h.Stages[0].Detail[1].PID != 101 {
		t.Errorf("%d %s", status, body)
	}
	eng.notReady.Store(true)
	if status, _, body = call(t, "GET", url+"/health", ""); status != 503 || !strings.Contains(body, "starting") {
		t.Errorf("%d %s", status, body)
	}
	eng.notReady.Store(false)
	s.draining.Store(true)
	if status, _, body = call(t, "GET", url+"/health", ""); status != 503 || !strings.Contains(body, "stopping") {
		t.Errorf("%d %s", status, body)
	}
}

func TestMetrics(t *testing.T) {
	_, url := start(t, newOmni())
	chat := `{"messages":[{"role":"user","content":"one two three"}]}`
	call(t, "POST", url+"/v1/chat/completions", chat)
	call(t, "POST", url+"/v1/chat/completions", "{")
	call(t, "GET", url+"/made/up", "")
	call(t, "BREW", url+"/health", "")
	call(t, "POST", url+"/start_profile", "")
	_, _, body := call(t, "GET", url+"/metrics", "")
	for _, want := range []string{
		`kinetoscope_http_requests_total{code="200",method="POST",path="/v1/chat/completions"} 1`,
		`kinetoscope_http_requests_total{code="400",method="POST",path="/v1/chat/completions"} 1`,
		`kinetoscope_http_requests_total{code="404",method="GET",path="other"} 1`,
		`kinetoscope_http_requests_total{code="405",method="other",path="/health"} 1`,
		`kinetoscope_http_request_duration_seconds_count{path="/v1/chat/completions"} 2`,
		`kinetoscope_http_requests_in_flight 1`,
		`kinetoscope_time_to_first_token_seconds_sum 0.012`,
		`kinetoscope_time_per_output_token_seconds_sum 0.0025`,
		`kinetoscope_time_to_first_audio_seconds_sum 0.02`,
		`kinetoscope_tokens_total{kind="completion"} 3`,
		`kinetoscope_profile_session_state{state="recording"} 1`,
		`kinetoscope_profile_session_state{state="idle"} 0`,
		`kinetoscope_profilers_without_session 0`,
		`kinetoscope_stage_queue_depth{stage="thinker"} 3`,
		`kinetoscope_stage_ready_ranks{stage="thinker"} 2`,
		"go_goroutines ", "process_start_time_seconds ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestTwoServersShareARegistry(t *testing.T) {
	s := NewServer(Config{API: newOmni()})
	defer s.Close()
	NewServer(Config{API: newOmni(), Registry: s.cfg.Registry}).Close()
}

func TestShutdownLetsAStreamEnd(t *testing.T) {
	eng := newOmni()
	eng.gate = make(chan struct{})
	s := NewServer(Config{API: eng, Logger: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	res, err := http.Post("http://"+ln.Addr().String()+"/v1/chat/completions", "application/json",
		strings.NewReader(
			`{"stream":true,"modalities":["text"],"messages":[{"role":"user","content":"one two three"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	eventually(t, "draining", s.draining.Load)
	eng.gate <- struct{}{}
	eng.gate <- struct{}{}
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasSuffix(string(body), "data: [DONE]\n\n") {
		t.Errorf("the stream was cut: %v %s", err, body)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	eng := newOmni()
	eng.gate = make(chan struct{})
	s := NewServer(Config{API: eng, Logger: slog.New(slog.DiscardHandler), ShutdownGrace: time.Millisecond})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	res, err := http.Post("http://"+ln.Addr().String()+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"stream":true,"messages":[{"role":"user","content":"one two"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	eventually(t, "engine freed", func() bool { return eng.active.Load() == 0 })
}

func TestListenError(t *testing.T) {
	s := NewServer(Config{API: newOmni(), Addr: "127.0.0.1:99999"})
	defer s.Close()
	if _, err := s.Listen(context.Background()); err == nil || !strings.Contains(err.Error(), "99999") {
		t.Errorf("err = %v", err)
	}
}
