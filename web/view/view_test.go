package view

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// shelf is a library whose runs are all the same pipeline; it counts what is read.
type shelf struct {
	opened atomic.Int64
	gate   chan struct{} // if not nil, reading waits for it
	fails  atomic.Int64  // how many of the next readings fail
}

func (s *shelf) Open(ctx context.Context, id string, progress func(open.Progress)) (*Opened, error) {
	s.opened.Add(1)
	progress(open.Progress{Files: 1, Size: 100, Read: 40})
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if strings.HasPrefix(id, "missing") {
		return nil, fmt.Errorf("%s: %w", id, fs.ErrNotExist)
	}
	if s.fails.Add(-1) >= 0 {
		return nil, errors.New("the disk hums")
	}
	o := &Opened{Title: id}
	for _, tr := range pipetest.Omni() {
		o.Sources = append(o.Sources, timeline.Source{Trace: tr})
	}
	return o, nil
}

// ask calls an endpoint and returns its status and body.
func ask(t *testing.T, a *API, path string) (int, string) {
	t.Helper()
	mux := http.NewServeMux()
	for _, r := range a.Routes() {
		mux.HandleFunc(r.Method+" "+r.Pattern, func(w http.ResponseWriter, req *http.Request) {
			if err := r.Handle(w, req); err != nil {
				status := http.StatusInternalServerError
				var s interface{ HTTPStatus() int }
				if errors.As(err, &s) {
					status = s.HTTPStatus()
				}
				http.Error(w, err.Error(), status)
			}
		})
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// TestARunIsReadOnce reads a run for all who ask, tells how far it is to those who do not
// wait, and tries one that failed again.
func TestARunIsReadOnce(t *testing.T) {
	s := &shelf{gate: make(chan struct{})}
	a := New(Config{Library: s})
	defer a.Close()
	code, body := ask(t, a, "/v1/runs/one/view")
	if code != 200 || !strings.Contains(body, `"state":"reading"`) || !strings.Contains(body, `"read_bytes":40`) {
		t.Errorf("while it is read: %d %s", code, body)
	}
	close(s.gate)
	for range 3 {
		if code, body := ask(t, a, "/v1/runs/one/tracks"); code != 200 {
			t.Errorf("once it is read: %d %s", code, body)
		}
	}
	if n := s.opened.Load(); n != 1 {
		t.Errorf("read %d times", n)
	}
	s.fails.Store(1)
	if code, body := ask(t, a, "/v1/runs/two/tracks"); code != 500 || !strings.Contains(body, "the disk hums") {
		t.Errorf("a run that cannot be read: %d %s", code, body)
	}
	if err := unreadable("two", &open.EmptyError{Dir: "a.zip", Archive: true}); err.(*Error).Status != 400 {
		t.Errorf("an archive without a trace: %v", err)
	}
	if code, _ := ask(t, a, "/v1/runs/two/tracks"); code != 200 {
		t.Errorf("the run after the disk has recovered: %d", code)
	}
	if code, _ := ask(t, a, "/v1/runs/missing/tracks"); code != 404 {
		t.Errorf("a run that is not there: %d", code)
	}
	if code, _ := ask(t, a, "/v1/runs/"+strings.Repeat("x", maxID+1)+"/tracks"); code != 404 {
		t.Errorf("a name that is no run's: %d", code)
	}
}

// TestReadingIsBounded refuses to read more runs at a time than memory is for, and none once
// it stops.
func TestReadingIsBounded(t *testing.T) {
	s := &shelf{gate: make(chan struct{})}
	a := New(Config{Library: s})
	for i := range maxReading {
		if err := a.Begin(fmt.Sprint("run", i)); err != nil {
			t.Fatal(err)
		}
	}
	if code, _ := ask(t, a, "/v1/runs/more/view"); code != 503 {
		t.Errorf("one more run: %d, want 503", code)
	}
	a.Close()
	if code, _ := ask(t, a, "/v1/runs/late/view"); code != 503 {
		t.Errorf("a run after the end: %d, want 503", code)
	}
}

// TestMemoryIsBounded keeps the runs asked for last.
func TestMemoryIsBounded(t *testing.T) {
	s := &shelf{}
	a := New(Config{Library: s, Memory: 1}) // less than any run takes
	defer a.Close()
	for _, id := range []string{"a", "b", "b", "a"} {
		if code, _ := ask(t, a, "/v1/runs/"+id+"/tracks"); code != 200 {
			t.Fatalf("run %s: %d", id, code)
		}
	}
	if n := s.opened.Load(); n != 3 {
		t.Errorf("%d readings of a, b, b, a with room for one, want 3", n)
	}
}

// TestExportsReadBack reads an exported area of several ranks again: it has the slices of the
// selection, in every format that keeps slices.
func TestExportsReadBack(t *testing.T) {
	a := New(Config{Library: &shelf{}})
	defer a.Close()
	tl, err := a.timeline(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	q := timeline.Query{From: tl.EndNs / 4, To: tl.EndNs / 2, Px: 1}
	all(&q, tl)
	want, err := tl.Select(t.Context(), q)
	if err != nil || want.Slices == 0 {
		t.Fatalf("%v, %v", want, err)
	}
	for as, name := range map[string]string{"chrome": "area.json.gz", "perfetto": "area.pftrace"} {
		code, body := ask(t, a, fmt.Sprintf("/v1/runs/one/export?format=%s&from=%d&to=%d", as, q.From, q.To))
		if code != 200 {
			t.Fatalf("%s: %d %.200s", as, code, body)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := open.Files(t.Context(), []string{file}, open.Options{})
		if err != nil {
			t.Fatalf("%s: %v", as, err)
		}
		n, arrows, ranks := 0, 0, map[string]bool{}
		for _, tr := range list {
			ranks[identity.Name(&tr.Meta)] = true
			for _, c := range tr.Slices.Cat {
				if c != trace.CatTraceSpan { // the file says with one when it was recorded
					n++
				}
			}
			arrows += starts(tr)
			if err := tr.Validate(); err != nil {
				t.Errorf("%s: %v", as, err)
			}
		}
		if n != want.Slices || arrows == 0 {
			t.Errorf("%s: %d slices read back, %d selected; %d arrows", as, n, want.Slices, arrows)
		}
		if len(list) != tl.Traces() || len(ranks) != tl.Traces() {
			t.Errorf("%s: %d traces of %d ranks, of %d: %v", as, len(list), len(ranks), tl.Traces(), ranks)
		}
	}
	_, info := ask(t, a, "/v1/runs/one/view")
	for _, f := range format.All() {
		if f.Create == nil {
			continue
		}
		if f.Name == "kineto" {
			f.Name = "chrome"
		}
		if !strings.Contains(info, fmt.Sprintf(`{"format":%q,"ending":%q`, f.Name, f.Extensions[0])) &&
			f.Name != "chrome" {
			t.Errorf("the page does not offer %s: %s", f.Name, info)
		}
		path := fmt.Sprintf("/v1/runs/one/export?format=%s&from=%d&to=%d", f.Name, q.From, q.To)
		code, body := ask(t, a, path)
		want := 200
		if f.Name == "folded-device" { // the pipeline has no device
			want = 400
		}
		if code != want || len(body) == 0 {
			t.Errorf("%s: %d, %d bytes, %.100s", f.Name, code, len(body), body)
		}
	}
	code, body := ask(t, a, fmt.Sprintf("/v1/runs/one/export?format=csv&from=%d&to=%d", q.From, q.To))
	if code != 200 || strings.Count(body, "\n") != want.Names+1 {
		t.Errorf("csv: %d, %d lines of %d names", code, strings.Count(body, "\n"), want.Names)
	}
}

func starts(t *trace.Trace) (n int) {
	for _, s := range t.Flows.Start {
		if s {
			n++
		}
	}
	return n
}
