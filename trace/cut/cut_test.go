package cut

import (
	"fmt"
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

func sample() *trace.Trace {
	t := trace.New()
	k := t.AddTrack(trace.Track{})
	add := func(start, dur int64, name string, cat trace.Category, args string) {
		t.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: cat, Track: k, Corr: trace.NoCorrelation,
			Args: []byte(args)})
	}
	add(0, 10, "a", trace.CatCPUOp, `{"request": "r1"}`)
	add(20, 10, "b", trace.CatKernel, `{"requests": "r1, r2"}`)
	add(40, 10, "c", trace.CatKernel, "")
	t.AddFlow(5, 1, "ac2g", "ac2g", k, true)
	t.AddFlow(25, 1, "ac2g", "ac2g", k, false)
	t.AddInstant(45, "mark", trace.CatCPUInstant, k, nil)
	t.AddCounter(5, "n", "v", k, 1)
	return t
}

func TestApply(t *testing.T) {
	for name, c := range map[string]struct {
		f                          Filter
		names                      string
		flows, instants, countered int
	}{
		"everything": {Filter{}, "abc", 2, 1, 1},
		"window":     {Filter{From: 10, To: 39}, "ab", 0, 0, 0},
		"start":      {Filter{From: 21}, "bc", 0, 1, 0},
		"end":        {Filter{To: 25}, "ab", 2, 0, 1},
		"category":   {Filter{Categories: map[string]bool{"kernel": true}}, "bc", 0, 1, 1},
		"name":       {Filter{Name: regexp.MustCompile("^[ac]$")}, "ac", 0, 1, 1},
		"request":    {Filter{Request: "r1"}, "ab", 0, 1, 1},
		"other":      {Filter{Request: "r2"}, "b", 0, 1, 1},
	} {
		got := Apply(sample(), c.f)
		if err := got.Validate(); err != nil {
			t.Error(name, err)
		}
		names := ""
		for _, n := range got.Slices.Name {
			names += got.String(n)
		}
		if names != c.names || len(got.Flows.Time) != c.flows || len(got.Instants.Time) != c.instants ||
			len(got.Counters.Time) != c.countered {
			t.Errorf("%s: slices %q, %d flows, %d instants, %d samples", name, names, len(got.Flows.Time),
				len(got.Instants.Time), len(got.Counters.Time))
		}
	}
}

// What two windows that meet keep is, together, everything.
func TestWindowsCover(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		k := tr.AddTrack(trace.Track{})
		for i := range rapid.IntRange(1, 30).Draw(rt, "n") {
			tr.AddSlice(trace.Slice{Start: rapid.Int64Range(1, 100).Draw(rt, "start"),
				Dur: rapid.Int64Range(0, 20).Draw(rt, "dur"), Name: fmt.Sprint(i), Track: k})
		}
		at := rapid.Int64Range(1, 120).Draw(rt, "at")
		seen := map[string]bool{}
		for _, f := range []Filter{{To: at}, {From: at}} {
			part := Apply(tr, f)
			for _, n := range part.Slices.Name {
				seen[part.String(n)] = true
			}
		}
		if len(seen) != tr.Slices.Len() {
			rt.Fatalf("%d of %d slices", len(seen), tr.Slices.Len())
		}
	})
}

// What lies on a device is chosen by the stretches of devices, on the host's clock; all else by those of the host.
func TestSpans(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{Kind: trace.TrackCPU})
	device := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 3})
	add := func(track trace.TrackID, start, dur int64, name string) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Track: track, Corr: trace.NoCorrelation})
	}
	add(host, 0, 100, "before") // ends where the stretch begins
	add(host, 90, 20, "into")
	add(host, 100, 0, "mark")
	add(host, 199, 1, "last")
	add(host, 200, 10, "behind")
	add(device, 140, 10, "early") // in the host's stretch
	add(device, 1250, 10, "late") // 1000 before the host's clock
	tr.AddFlow(150, 1, "ac2g", "ac2g", host, true)
	tr.AddFlow(1250, 1, "ac2g", "ac2g", device, false)
	tr.AddFlow(150, 2, "ac2g", "ac2g", host, true)
	tr.AddFlow(140, 2, "ac2g", "ac2g", device, false)
	tr.AddInstant(150, "mark", trace.CatCPUInstant, host, nil)
	tr.AddInstant(250, "mark", trace.CatCPUInstant, host, nil)

	behind := func(k *trace.Track) func(int64) int64 {
		if k.Device == 3 {
			return func(ns int64) int64 { return ns - 1000 }
		}
		return nil
	}
	spans := NewSpans([]Span{{150, 200}, {100, 160}}, []Span{{250, 300}}, behind)
	got := Apply(tr, Filter{Spans: spans})
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	names := ""
	for _, n := range got.Slices.Name {
		names += got.String(n) + " "
	}
	if names != "into mark last late " || len(got.Flows.Time) != 2 || len(got.Instants.Time) != 1 {
		t.Errorf("slices %s, %d ends of arrows, %d instants", names, len(got.Flows.Time), len(got.Instants.Time))
	}
	if got := Apply(tr, Filter{Spans: NewSpans(nil, nil, nil)}); got.Slices.Len() != 0 {
		t.Errorf("no stretch keeps %d slices", got.Slices.Len())
	}
}
