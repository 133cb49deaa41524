package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/timeline"
	traceopen "github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web/view"
)

// library has one run, the two stages of a small pipeline, under the id "files".
type library struct{ opened int }

func (l *library) Open(_ context.Context, id string, _ func(traceopen.Progress)) (*view.Opened, error) {
	switch id {
	case ViewID:
	case "broken":
		return nil, errors.New("expected a trace, found a picture")
	default:
		return nil, fmt.Errorf("%s: %w", id, fs.ErrNotExist)
	}
	l.opened++
	o := &view.Opened{Title: "two stages", Failed: []view.Failure{{Path: "rank9.json", Error: "empty"}}}
	for i, tr := range pipetest.Omni() {
		o.Sources = append(o.Sources, timeline.Source{Trace: tr, Label: fmt.Sprintf("rank%d.json", i)})
	}
	return o, nil
}

// viewer starts a server without a pipeline.
func viewer(t *testing.T, lib view.Library, keys ...string) string {
	t.Helper()
	api := view.New(view.Config{Library: lib})
	s := NewServer(Config{View: api, APIKeys: keys, Logger: slog.New(slog.DiscardHandler)})
	hs := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		hs.Close()
		s.Close()
		api.Close()
	})
	return hs.URL
}

func get(t *testing.T, url string, want int) []byte {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != want {
		t.Errorf("GET %s: %s, want %d: %.300s", url, res.Status, want, body)
	}
	return body
}

// TestViewEndpoints asks every endpoint of a timeline as the page and scripts do.
func TestViewEndpoints(t *testing.T) {
	lib := &library{}
	base := viewer(t, lib) + "/v1/runs/" + ViewID + "/"
	var v struct {
		State  string
		EndNs  int64 `json:"end_ns"`
		Slices int
		Native bool
		Traces []struct{ Stage string }
		Failed []view.Failure
	}
	if err := json.Unmarshal(get(t, base+"view", 200), &v); err != nil {
		t.Fatal(err)
	}
	if v.State != "ready" || v.EndNs <= 0 || v.Slices == 0 || !v.Native || len(v.Traces) < 2 || len(v.Failed) != 1 {
		t.Errorf("view %+v", v)
	}
	var tracks struct{ Data []timeline.Node }
	if err := json.Unmarshal(get(t, base+"tracks", 200), &tracks); err != nil {
		t.Fatal(err)
	}
	first := ""
	for _, n := range tracks.Data {
		if n.Kind == "thread" && first == "" {
			first = n.ID
		}
	}
	if tracks.Data[0].Kind != "stage" || first == "" {
		t.Fatalf("tracks %+v", tracks.Data)
	}
	if b := get(t, base+"slices?px=100&tracks="+first, 200); !strings.HasPrefix(string(b), timeline.Magic) {
		t.Errorf("slices begin with %q", b[:8])
	}
	for _, path := range []string{"slices", "slices/0.0", "slices/0.0/next", "slices/0.1/next?back=1", "counters",
		"steps", "requests", "arrows",
		"findings", "search?q=decode", "search?q=^dec&regex=1&args=1", "selection",
		"selection?from=0&to=1000000&tracks=" + first,
		"export?format=csv", "export?format=chrome", "export?format=perfetto", "export?format=parquet",
		"tracks?pack=on",
		"derived", "overview", "steptimes", "ops", "ops?by=shape&trace=1", "ops?trace=-1", "ops?by=kernel", "flame",
		"flame?of=device", "communication", "memory",
		"rooflines", "criticalpath", "criticalpath?trace=1&px=50"} {
		if len(get(t, base+path, 200)) == 0 {
			t.Errorf("%s: an empty answer", path)
		}
	}
	for path, want := range map[string]int{
		"slices/9.9": 404, "slices/x": 404, "slices?px=0": 400, "slices?px=x": 400, "slices?from=5&to=5": 400,
		"slices?tracks=7:1":   404,
		"search":              400,
		"search?q=(&regex=1":  400,
		"search?q=x&args=2":   400,
		"export":              400,
		"export?format=xml":   400,
		"tracks?pack=x":       400,
		"counters?tracks=0:1": 404, "selection?tracks=x": 404,
		"ops?by=colour": 400, "ops?trace=99": 404, "ops?trace=x": 400, "flame?of=moon": 400, "flame?trace=-5": 404,
		"criticalpath?trace=99": 404,
	} {
		get(t, base+path, want)
	}
	if lib.opened != 1 {
		t.Errorf("the run was read %d times", lib.opened)
	}
}

// TestViewerWithoutPipeline has no endpoints of one, leads to its view, and says why a
// run cannot be shown.
func TestViewerWithoutPipeline(t *testing.T) {
	url := viewer(t, &library{})
	get(t, url+"/v1/chat/completions", 404)
	get(t, url+"/start_profile", 404)
	get(t, url+"/v1/runs/other/view", 404)
	if b := get(t, url+"/v1/runs/broken/tracks", 500); !strings.Contains(string(b), "found a picture") {
		t.Errorf("a run that cannot be read: %s", b)
	}
	if b := get(t, url+"/", 200); !strings.Contains(string(b), "<title>") {
		t.Errorf("the page is %.80s", b)
	}
}

// TestViewNeedsTheKey: the page is open, what it shows is not.
func TestViewNeedsTheKey(t *testing.T) {
	url := viewer(t, &library{}, "secret")
	get(t, url+"/view/"+ViewID, 200)
	get(t, url+"/v1/runs/files/view", 401)
	get(t, url+"/v1/runs/files/slices", 401)
	req, _ := http.NewRequest(http.MethodGet, url+"/v1/runs/files/tracks", nil)
	req.Header.Set("Authorization", "Bearer secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("with the key: %s", res.Status)
	}
}
