package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/sglangomni"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector's OTLP receiver over HTTP, made of OpenTelemetry's own messages: it
// refuses what the protocol does not allow.
type receiver struct {
	mu     sync.Mutex
	spans  map[string]*tracepb.Span // by trace and span id
	on     map[string]string        // service by span
	posts  int
	header http.Header
	answer func(n int, w http.ResponseWriter) bool // true: it has answered
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts++
	r.header = req.Header
	if r.answer != nil && r.answer(r.posts, w) {
		return
	}
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	var got collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &got)
	}
	if err != nil || req.Method != http.MethodPost || req.URL.Path != DefaultPath ||
		req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprint("no OTLP: ", err), http.StatusBadRequest)
		return
	}
	for _, rs := range got.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				if len(s.TraceId) != 16 || len(s.SpanId) != 8 || s.EndTimeUnixNano < s.StartTimeUnixNano ||
					s.Name == "" {
					http.Error(w, "a span that is none", http.StatusBadRequest)
					return
				}
				key := hex.EncodeToString(s.TraceId) + hex.EncodeToString(s.SpanId)
				r.spans[key], r.on[key] = s, service
			}
		}
	}
	out, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(out)
}

func newReceiver(t *testing.T) (*receiver, *Collector) {
	t.Helper()
	r := &receiver{spans: map[string]*tracepb.Span{}, on: map[string]string{}}
	srv := httptest.NewServer(r)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() { client.CloseIdleConnections(); srv.Close() })
	return r, &Collector{URL: srv.URL, Client: client, wait: func(ctx context.Context, _ time.Duration) error {
		return ctx.Err()
	}}
}

// events are the pipeline of SGLang-Omni's events.
func events(t *testing.T, name string) *tracepb.TracesData {
	t.Helper()
	var out bytes.Buffer
	f, ok := format.Lookup(name)
	if !ok {
		t.Fatalf("no format %s", name)
	}
	w := f.Create(&out, format.WriteOptions{Name: "run-1"})
	for _, file := range []string{"events_thinker_100.jsonl", "events_talker_200.jsonl"} {
		in, err := os.Open(filepath.Join("../trace/sglangomni/testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		list, err := sglangomni.Read(t.Context(), in)
		in.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range list {
			if err := w.Add(t.Context(), format.Rank{Trace: tr}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if name == FormatJSON {
		checkJSON(t, out.Bytes())
		return nil
	}
	var d tracepb.TracesData
	if err := proto.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// checkJSON holds a line to OTLP's JSON: ids are hexadecimal, kinds numbers, times text.
func checkJSON(t *testing.T, b []byte) {
	t.Helper()
	var doc struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID string
					Kind                          int
					StartTimeUnixNano             string
				}
			}
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil || bytes.Count(b, []byte("\n")) != 1 {
		t.Fatalf("%v: %s", err, b)
	}
	n := 0
	for _, r := range doc.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, x := range s.Spans {
				n++
				id, err := hex.DecodeString(x.TraceID)
				if err != nil || len(id) != 16 || len(x.SpanID) != 16 || x.Kind == 0 ||
					!strings.HasPrefix(x.StartTimeUnixNano, "179") {
					t.Errorf("%+v", x)
				}
			}
		}
	}
	if n != 14 {
		t.Errorf("%d spans", n)
	}
}

// What a receiver gets is the requests, each with the stages that it went through in their
// order, from arrival to end.
func TestPush(t *testing.T) {
	r, c := newReceiver(t)
	c.Header = map[string]string{"Authorization": "Bearer k"}
	n, err := c.Push(t.Context(), events(t, Format))
	if err != nil {
		t.Fatal(err)
	}
	if r.header.Get("Authorization") != "Bearer k" {
		t.Error("the key was not sent")
	}
	count, ends := map[string]int{}, map[string]uint64{}
	for key, s := range r.spans {
		name := r.on[key] + "/" + s.Name
		count[name]++
		if parent := s.ParentSpanId; len(parent) > 0 {
			p := r.spans[hex.EncodeToString(s.TraceId)+hex.EncodeToString(parent)]
			if p == nil || s.StartTimeUnixNano < p.StartTimeUnixNano || s.EndTimeUnixNano > p.EndTimeUnixNano {
				t.Errorf("%s lies outside of its parent", name)
			}
		} else if len(s.Events) != 2 || s.Events[0].Name != "first token" {
			t.Errorf("events %v", s.Events)
		}
		ends[name] = max(ends[name], s.StartTimeUnixNano)
	}
	want := map[string]int{"pipeline/request": 2, "thinker/thinker": 2, "talker/talker": 2, "code2wav/code2wav": 2,
		"thinker/queue": 2, "talker/queue": 2, "code2wav/queue": 2}
	if len(count) != len(want) || n != len(r.spans) {
		t.Errorf("%v of %d", count, n)
	}
	for k, v := range want {
		if count[k] != v {
			t.Errorf("%d spans of %s, want %d", count[k], k, v)
		}
	}
	if ends["thinker/thinker"] >= ends["talker/talker"] || ends["talker/talker"] >= ends["code2wav/code2wav"] {
		t.Errorf("the stages are not in their order: %v", ends)
	}
	again, err := c.Push(t.Context(), events(t, Format)) // replaces, for the ids are the same
	if err != nil || again != n || len(r.spans) != n {
		t.Errorf("pushed again: %d, %v; %d spans", again, err, len(r.spans))
	}
	events(t, FormatJSON)
}

// A collector that is busy is asked again, one that refuses is not; what it rejects is an
// error with the count.
func TestAnswers(t *testing.T) {
	busy := func(n int, w http.ResponseWriter) bool {
		if n < 3 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "later", http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	status := func(code int, body string) func(int, http.ResponseWriter) bool {
		return func(_ int, w http.ResponseWriter) bool { w.WriteHeader(code); io.WriteString(w, body); return true }
	}
	partial, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{
		PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 2, ErrorMessage: "full"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		answer func(int, http.ResponseWriter) bool
		posts  int
		err    string
	}{
		{"busy", busy, 3, ""},
		{"always busy", status(429, "no"), maxTries, "429"},
		{"refused", status(401, "who\x1b[31m are you"), 1, "401 Unauthorized: who [31m are you"},
		{"partial", status(200, string(partial)), 1, "took 12 of 14"},
		{"a web page", status(200, "<html>hello</html>"), 1, "is it a collector"},
	} {
		r, to := newReceiver(t)
		r.answer = c.answer
		_, err := to.Push(t.Context(), events(t, Format))
		if r.posts != c.posts || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d requests, %v", c.name, r.posts, err)
		}
	}
	_, to := newReceiver(t)
	to.wait = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := to.Push(ctx, events(t, Format)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Many requests are sent in batches, none lost.
func TestBatches(t *testing.T) {
	rep := &pipeline.Report{}
	for i := range 700 {
		rep.Requests = append(rep.Requests, pipeline.Request{ID: fmt.Sprint("r", i), ArrivalNs: 1e18, TotalNs: 5,
			TTFTNs: -1, FirstOutputNs: -1,
			Stages: []pipeline.RequestStage{{Name: "a", ArrivalNs: 1e18, EndNs: 1e18 + 1}}})
	}
	rep.Requests[3].TraceID = "0af7651916cd43dd8448eb211c80319c"
	rep.Requests[4].TraceID = "not one"
	r, c := newReceiver(t)
	n, err := c.Push(t.Context(), Spans("run", rep))
	if err != nil || n != 1400 || len(r.spans) != 1400 || r.posts != 3 {
		t.Errorf("%d taken, %d there, in %d requests: %v", n, len(r.spans), r.posts, err)
	}
	kept := 0
	for key := range r.spans {
		if strings.HasPrefix(key, "0af7651916cd43dd8448eb211c80319c") {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d spans keep the trace id that their request came with", kept)
	}
}

func TestInput(t *testing.T) {
	for _, u := range []string{"", "collector:4318", "grpc://a:4317/v1/traces", "grpc://", "http://", "http://a\x00"} {
		if CheckURL(u) == nil {
			t.Errorf("%q: no error", u)
		}
	}
	if to, err := endpoint("https://a:4318"); err != nil || to.url != "https://a:4318/v1/traces" || to.grpc {
		t.Error(to, err)
	}
	if to, err := endpoint("https://a/otlp/v1/traces"); err != nil || to.url != "https://a/otlp/v1/traces" {
		t.Error(to, err)
	}
	if h, err := ParseHeaders("a=b, Authorization=Bearer%20k"); err != nil || h["Authorization"] != "Bearer k" ||
		h["a"] != "b" {
		t.Error(h, err)
	}
	if _, err := ParseHeaders("secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a header without a value: %v", err)
	}
	f, _ := format.Lookup(Format)
	if err := f.Create(io.Discard, format.WriteOptions{}).Close(t.Context()); !errors.Is(err, ErrNoRequests) {
		t.Errorf("of nothing: %v", err)
	}
}
