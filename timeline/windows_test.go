package timeline

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Windows lie on the timeline's clock as their ranks' slices do, with what is known of each.
func TestWindows(t *testing.T) {
	a, b, c := device(0, 100, 1), device(1, 100, 1), device(2, 100, 1)
	for _, tr := range []*trace.Trace{a, b, c} {
		tr.Meta.WallClock = true
	}
	from, _, _ := a.Extent()
	tl, err := New([]Source{
		{Trace: a, Recorded: &Recorded{FromNs: from - 50, ToNs: from + 9_000, State: "complete"}},
		{Trace: b, Clock: align.Clock{OffsetNs: 1000, ErrorNs: 70},
			Recorded: &Recorded{FromNs: from + 100, State: "lost"}},
		{Trace: c},
	}, Options{AgreedNs: from - 80, Place: ByClock})
	if err != nil {
		t.Fatal(err)
	}
	w := tl.Windows()
	if len(w.Windows) != 2 {
		t.Fatalf("%+v: a trace of which nobody measured it has a window", w)
	}
	start := func(ns int64) int64 { return ns - tl.StartNs }
	first, second := w.Windows[0], w.Windows[1]
	if first.Trace != 0 || first.FromNs != start(from-50) || first.ToNs != start(from+9_000) || first.Open {
		t.Errorf("the first: %+v", first)
	}
	if second.Trace != 1 || second.FromNs != start(from+1100) || !second.Open || second.State != "lost" ||
		second.ErrorNs != 70 || second.ToNs < second.FromNs {
		t.Errorf("the second: %+v", second)
	}
	if !w.Together || w.SkewNs != 1150 || w.AgreedNs == nil || *w.AgreedNs != start(from-80) {
		t.Errorf("together: %+v", w)
	}
	if want := max(0, min(first.ToNs, second.ToNs)-second.FromNs); w.CommonNs != want {
		t.Errorf("%d ns in common, want %d", w.CommonNs, want)
	}

	// Where each begins at 0 nothing is said of how they lie to each other.
	tl, err = New([]Source{{Trace: a, Recorded: &Recorded{FromNs: from, ToNs: from + 5}}, {Trace: b}},
		Options{AgreedNs: from, Place: ByStart})
	if err != nil {
		t.Fatal(err)
	}
	w = tl.Windows()
	if w.Together || w.AgreedNs != nil || w.SkewNs != 0 || len(w.Windows) != 1 || w.Windows[0].ToNs != 5 {
		t.Errorf("%+v", w)
	}
}
