package gotrace

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	rtrace "runtime/trace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/trace"
)

// record traces this very program while it does what the test looks for.
func record(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := rtrace.Start(&out); err != nil {
		t.Skip("the program is being traced already:", err)
	}
	ctx, task := rtrace.NewTask(context.Background(), "answer")
	ready, done := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer rtrace.StartRegion(ctx, "decode step").End()
		close(ready)
		<-done // blocks inside the region
	})
	<-ready
	for range 100 { // until the other goroutine waits
		runtime.Gosched()
	}
	rtrace.Log(ctx, "token", "first")
	runtime.GC()
	close(done)
	wg.Wait()
	task.End()
	rtrace.Stop()
	return out.Bytes()
}

func TestRead(t *testing.T) {
	before := time.Now()
	b := record(t)
	if !Sniff(b) {
		t.Fatal("not known by its beginning")
	}
	tr, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	x := tr.Index()
	for i := range tr.Slices.Len() {
		name, track := tr.String(tr.Slices.Name[i]), tr.Tracks[tr.Slices.Track[i]].Name
		switch {
		case name == "decode step":
			found["region"] = true
			if v, _ := tr.ArgText(i, "task"); v != "answer" {
				t.Errorf("the region's task is %q", v)
			}
		case strings.HasPrefix(name, "wait: ") && x.Parent[i] != trace.NoParent &&
			tr.String(tr.Slices.Name[x.Parent[i]]) == "decode step":
			found["wait in the region"] = true
		case strings.HasPrefix(track, "P ") && strings.Contains(name, "WaitGroup"):
			found["running goroutine"] = true
		case strings.Contains(name, "GC"):
			found["collection"] = true
		}
	}
	for i := range tr.Instants.Time {
		found["log"] = found["log"] || tr.String(tr.Instants.Name[i]) == "token: first"
	}
	for i := range tr.Counters.Time {
		found["metric"] = found["metric"] || strings.Contains(tr.String(tr.Counters.Name[i]), "heap")
	}
	for _, what := range []string{"region", "wait in the region", "running goroutine", "collection", "log", "metric"} {
		if !found[what] {
			t.Errorf("no %s in the trace", what)
		}
	}
	start := time.Unix(0, tr.Meta.WindowStart)
	if !tr.Meta.WallClock || start.Before(before.Add(-time.Minute)) || start.After(time.Now()) {
		t.Errorf("wall clock %v, begins at %v", tr.Meta.WallClock, start)
	}
}

// Cut anywhere, it is an error or what lies before.
func TestCut(t *testing.T) {
	b := record(t)
	for i := range 200 {
		n := len(b) * i / 200
		tr, err := Read(bytes.NewReader(b[:n]))
		var format *FormatError
		switch {
		case err != nil && !errors.As(err, &format):
			t.Errorf("%d bytes: %v", n, err)
		case err == nil && tr.Validate() != nil:
			t.Errorf("%d bytes: %v", n, tr.Validate())
		}
	}
	var format *FormatError
	if _, err := Read(strings.NewReader("{}")); !errors.As(err, &format) || Sniff([]byte("{}")) {
		t.Errorf("JSON: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(record(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := Read(bytes.NewReader(b)); err == nil {
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
