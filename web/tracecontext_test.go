package web

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

const parentHeader = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraceContext(t *testing.T) {
	omniEng, imageEng := newOmni(), newDiffusion()
	_, omniURL := start(t, omniEng)
	_, imageURL := start(t, imageEng)
	for _, c := range []struct {
		url, body string
		eng       *memEngine
	}{
		{omniURL + "/v1/chat/completions", `{"messages":[{"role":"user","content":"a b"}]}`, omniEng},
		{omniURL + "/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"a b"}]}`, omniEng},
		{omniURL + "/v1/audio/speech", `{"input":"a b"}`, omniEng},
		{imageURL + "/v1/images/generations", `{"prompt":"a b"}`, imageEng},
	} {
		status, h, body := call(t, "POST", c.url, c.body, "Traceparent", parentHeader)
		if status != 200 {
			t.Fatalf("%s: %d %s", c.url, status, body)
		}
		got, err := profiler.ParseTraceParent(h.Get("Traceparent"))
		if err != nil || got.TraceHex() != parentHeader[3:35] || strings.Contains(parentHeader, got.String()[36:52]) ||
			!got.Sampled() {
			t.Errorf("%s answers with %q: want a child of %q (%v)", c.url, h.Get("Traceparent"), parentHeader, err)
		}
		if sent := c.eng.last.Load().TraceParent; sent != got {
			t.Errorf("%s: the pipeline got %v, the client %v", c.url, sent, got)
		}
		if h.Get(HeaderRequestID) == "" {
			t.Errorf("%s: no request id", c.url)
		}
	}
}

func TestTraceContextIgnored(t *testing.T) {
	eng := newOmni()
	_, url := start(t, eng)
	for name, header := range map[string][]string{
		"none":            nil,
		"malformed":       {"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"},
		"zero trace":      {"Traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"},
		"unknown version": {"Traceparent", "ff" + parentHeader[2:]},
		"twice":           {"Traceparent", parentHeader, "Traceparent", parentHeader},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/chat/completions",
			strings.NewReader(`{"messages":[{"role":"user","content":"a"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Traceparent") != "" ||
			eng.last.Load().TraceParent != (profiler.TraceParent{}) {
			t.Errorf("%s: %d, answers %q, pipeline got %v", name, res.StatusCode, res.Header.Get("Traceparent"),
				eng.last.Load().TraceParent)
		}
	}
	if _, h, _ := call(t, "GET", url+"/health", "", "Traceparent", parentHeader); h.Get("Traceparent") != "" {
		t.Error("a path that is none of the API's carries the trace on")
	}
}

// TestRealTraceContext finds a request's trace id in every stage's trace, once, and in the
// report.
func TestRealTraceContext(t *testing.T) {
	_, url := open(t, "omni")
	if status, _, body := call(t, "POST", url+"/start_profile", ""); status != 200 {
		t.Fatalf("start: %d %s", status, body)
	}
	const chat = `{"max_tokens":6,"messages":[{"role":"user","content":"What does a horse do?"}]}`
	status, _, body := call(t, "POST", url+"/v1/chat/completions", chat, "Traceparent", parentHeader)
	if status != 200 {
		t.Fatalf("chat: %d %s", status, body)
	}
	id := parse[struct{ ID string }](t, body).ID
	if status, _, body = call(t, "POST", url+"/v1/chat/completions", chat); status != 200 {
		t.Fatalf("chat without: %d %s", status, body)
	}
	status, _, body = call(t, "POST", url+"/stop_profile", "")
	st := parse[session.Status](t, body)
	if status != 200 || st.State != session.StateComplete {
		t.Fatalf("stop: %d %s", status, body)
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if r.Rank > 0 {
				continue // it takes no request
			}
			path := filepath.Join(st.RunDir, store.ArtifactName(r.RankID, s.Name, "trace", ".json.gz"))
			if got := arrivals(t, path); len(got) != 1 || got[id] != parentHeader[3:35] {
				t.Errorf("stage %s: arrivals with a trace id are %v, want that of %s once", s.Name, got, id)
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(st.RunDir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rep pipeline.Report
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Requests) != 2 {
		t.Fatalf("%d requests in the report", len(rep.Requests))
	}
	for _, q := range rep.Requests {
		if want := map[bool]string{true: parentHeader[3:35]}[q.ID == id]; q.TraceID != want {
			t.Errorf("request %s has trace id %q in the report, want %q", q.ID, q.TraceID, want)
		}
	}
}

// arrivals returns the trace ids in a trace by request.
func arrivals(t *testing.T, path string) map[string]string {
	t.Helper()
	tr, err := kineto.ReadFile(t.Context(), path, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	note := func(request, traceID string) {
		if traceID == "" {
			return
		}
		if got[request] != "" {
			t.Errorf("%s: the trace id of %s is there twice", path, request)
		}
		got[request] = traceID
	}
	for i := range tr.Slices.Len() {
		request, _ := tr.ArgText(i, trace.ArgRequest)
		traceID, _ := tr.ArgText(i, trace.ArgTraceID)
		note(request, traceID)
	}
	for _, args := range tr.Instants.Args {
		request, _ := tr.RefArgText(args, trace.ArgRequest)
		traceID, _ := tr.RefArgText(args, trace.ArgTraceID)
		note(request, traceID)
	}
	return got
}
