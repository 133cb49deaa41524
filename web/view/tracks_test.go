package view

import (
	"context"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// wide is a library of a run with more threads than a picture has.
type wide struct{ threads int }

func (l wide) Open(context.Context, string, func(open.Progress)) (*Opened, error) {
	tr := trace.New()
	for i := range l.threads {
		k := tr.AddTrack(trace.Track{PID: 1, TID: int64(i + 1), Device: -1, Stream: -1})
		tr.AddSlice(trace.Slice{Start: 0, Dur: 10, Name: "s", Cat: trace.CatCPUOp, Track: k})
	}
	return &Opened{Title: "wide", Sources: []timeline.Source{{Trace: tr}}}, nil
}

// TestAllTracksAreAll: a question that names no track is about all of them, however many: sums and exports have every
// slice, and a picture that cannot is refused and not cut.
func TestAllTracksAreAll(t *testing.T) {
	a := New(Config{Library: wide{timeline.MaxTracks + 100}})
	defer a.Close()
	if code, body := ask(t, a, "/v1/runs/one/selection"); code != 200 || !strings.Contains(body, `"slices":612,`) {
		t.Errorf("selection: %d %.200s", code, body)
	}
	if code, body := ask(t, a, "/v1/runs/one/export?format=csv"); code != 200 || !strings.Contains(body, ",612,") {
		t.Errorf("export: %d %.200s", code, body)
	}
	if code, body := ask(t, a, "/v1/runs/one/slices"); code != 400 || !strings.Contains(body, "at most 512") {
		t.Errorf("slices: %d %.200s", code, body)
	}
	for path, want := range map[string]int{"ops?trace=-1": 200, "ops?trace=-2": 404, "ops?trace=1": 404,
		"search?q=s&limit=-1": 400, "search?q=s&limit=0": 200} {
		if code, body := ask(t, a, "/v1/runs/one/"+path); code != want {
			t.Errorf("%s: %d %.200s", path, code, body)
		}
	}
	for _, w := range []string{"from=-9223372036854775808&to=9223372036854775807", "from=0&to=9223372036854775807"} {
		if code, body := ask(t, a, "/v1/runs/one/selection?"+w); code != 400 {
			t.Errorf("%s: %d %.200s", w, code, body)
		}
	}
}
