package httptrace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// ends reads a recording's async ends and flows as text, without ids of regions.
func ends(t *testing.T, b *bytes.Buffer) (asyncs []string, out, in map[uint64]bool) {
	t.Helper()
	rd, err := format.NewReader(b)
	if err != nil {
		t.Fatal(err)
	}
	out, in = map[uint64]bool{}, map[uint64]bool{}
	for {
		g, err := rd.Next()
		if err == io.EOF {
			return asyncs, out, in
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Asyncs.Time {
			line := fmt.Sprintf("%s %t", rd.String(g.Asyncs.Name[i]), g.Asyncs.Begin[i])
			for _, a := range g.AsyncAttrs(i) {
				switch k := rd.String(a.Key); {
				case a.Kind == format.AttrText && k != "trace" && k != "host":
					line += fmt.Sprintf(" %s=%s", k, g.Text(a))
				case a.Kind == format.AttrInt && k != "parent":
					line += fmt.Sprintf(" %s=%d", k, a.Int)
				}
			}
			asyncs = append(asyncs, line)
		}
		for i, id := range g.Flows.ID {
			if g.Flows.Out[i] {
				out[id] = true
			} else {
				in[id] = true
			}
		}
	}
}

func record(t *testing.T, rec *profiler.Recorder, f func()) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	if err := rec.Start(profiler.StartOptions{Out: &b}); err != nil {
		t.Fatal(err)
	}
	f()
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// A real server and client: the client's flow arrives in the server's region.
func TestServerAndClient(t *testing.T) {
	rec := profiler.New(profiler.Config{})
	var failures, total int
	done := make(chan struct{}, 8)
	srv := httptest.NewServer(&Server{Recorder: rec,
		Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := TraceParentOf(r.Context()); !ok || profiler.FromContext(r.Context()) != rec {
				t.Error("the handler's context lacks trace context or recorder")
			}
			switch r.URL.Path {
			case "/stream":
				io.WriteString(w, "data: 1\n\n")
				w.(http.Flusher).Flush()
				if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Errorf("ResponseController: %v", err)
				}
				io.WriteString(w, "data: 2\n\n")
			case "/fail":
				http.Error(w, "no", http.StatusServiceUnavailable)
			case "/panic":
				panic(http.ErrAbortHandler)
			}
		}), Done: func(took time.Duration, failed bool) {
			total++
			if failed {
				failures++
			}
			done <- struct{}{}
		}})
	defer srv.Close()
	// On a fresh connection the client does not repeat a request that was cut off.
	srv.Client().Transport.(*http.Transport).DisableKeepAlives = true
	client := &http.Client{Transport: &Client{Recorder: rec, Base: srv.Client().Transport}}
	b := record(t, rec, func() {
		for _, p := range []string{"/stream", "/fail", "/panic"} {
			resp, err := client.Get(srv.URL + p)
			<-done
			if p == "/panic" {
				if err == nil {
					t.Error("a panic gave a response")
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
	asyncs, out, in := ends(t, b)
	all := strings.Join(asyncs, "\n")
	for _, want := range []string{
		"http.client true method=GET path=/stream", "http.server true method=GET path=/stream",
		"http.client false status=200", "http.server false status=200 bytes=18",
		"http.server false status=503 bytes=3", "http.server false status=500 bytes=0",
		"http.client false error=",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if len(out) != 3 || len(in) != 3 {
		t.Errorf("flows out %v, in %v", out, in)
	}
	for id := range out {
		if !in[id] {
			t.Errorf("flow %x starts and does not arrive", id)
		}
	}
	if total != 3 || failures != 2 {
		t.Errorf("Done: %d requests, %d failed", total, failures)
	}
}

// The decision not to sample travels: nothing is recorded, on no hop.
func TestUnsampledTravels(t *testing.T) {
	rec := profiler.New(profiler.Config{})
	var seen []string
	inner := httptest.NewServer(&Server{Recorder: rec,
		Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen = append(seen, r.Header.Get(profiler.TraceParentHeader))
		})})
	defer inner.Close()
	client := &http.Client{Transport: &Client{Recorder: rec, Base: inner.Client().Transport}}
	outer := httptest.NewServer(&Server{Recorder: rec, Sampler: profiler.NewSampler(2),
		Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			req, _ := http.NewRequestWithContext(r.Context(), "GET", inner.URL, nil)
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})})
	defer outer.Close()
	b := record(t, rec, func() {
		for range 4 {
			resp, err := outer.Client().Get(outer.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		outer.Close()
		inner.Close()
	})
	asyncs, _, _ := ends(t, b)
	if len(asyncs) != 2*3*2 { // two of four requests, three regions each, two ends
		t.Errorf("%d ends: %q", len(asyncs), asyncs)
	}
	if len(seen) != 4 || !strings.HasSuffix(seen[0], "-03") || !strings.HasSuffix(seen[1], "-02") {
		t.Errorf("headers %q", seen)
	}
}

type brokenTransport struct{}

var errBroken = errors.New("no route")

func (brokenTransport) RoundTrip(*http.Request) (*http.Response, error) { return nil, errBroken }

func TestClientError(t *testing.T) {
	rec := profiler.New(profiler.Config{})
	p := profiler.NewTraceParent(true)
	b := record(t, rec, func() {
		ctx := WithTraceParent(profiler.NewContext(context.Background(), rec), p)
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://stage.invalid/x", nil)
		if _, err := (&Client{Base: brokenTransport{}}).RoundTrip(req); !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		if req.Header.Get(profiler.TraceParentHeader) != "" {
			t.Error("the caller's request was changed")
		}
	})
	asyncs, _, _ := ends(t, b)
	if len(asyncs) != 2 || asyncs[1] != "http.client false error=no route" {
		t.Errorf("%q", asyncs)
	}
}
