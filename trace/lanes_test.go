package trace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Intervals go to the first lane of their kind that is free, and a new lane is made only where none is.
func TestLanes(t *testing.T) {
	type interval struct {
		kind       string
		start, end int64
	}
	var made []string
	var lanes Lanes[string]
	var got []TrackID
	for _, x := range []interval{
		{"request", 0, 100},
		{"request", 10, 20},  // beside the first
		{"slot", 15, 40},     // another kind has lanes of its own
		{"request", 20, 30},  // begins as the second ends
		{"request", 25, 25},  // both are taken, so a third
		{"request", 25, 120}, // what takes no time leaves its lane at once
		{"request", 100, 110},
	} {
		got = append(got, lanes.Place(x.kind, x.start, x.end, func(n int) TrackID {
			made = append(made, x.kind+" "+string(rune('0'+n)))
			return TrackID(10 * len(made))
		}))
	}
	if want := []TrackID{10, 20, 30, 20, 40, 40, 10}; !slices.Equal(got, want) {
		t.Errorf("tracks %v, want %v", got, want)
	}
	if want := []string{"request 0", "request 1", "slot 0", "request 2"}; !slices.Equal(made, want) {
		t.Errorf("made %q, want %q", made, want)
	}
}

// Many intervals lie as the simplest way of laying them out has them: each on the first lane that is free.
func TestLanesOfMany(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var lanes Lanes[int]
	var ends []int64
	start := int64(0)
	for n := range 5000 {
		start += rnd.Int64N(3)
		end := start + rnd.Int64N(60)
		want := slices.IndexFunc(ends, func(e int64) bool { return e <= start })
		if want < 0 {
			want = len(ends)
			ends = append(ends, 0)
		}
		ends[want] = end
		if got := lanes.Place(0, start, end, func(n int) TrackID { return TrackID(n) }); got != TrackID(want) {
			t.Fatalf("interval %d [%d, %d): lane %d, want %d", n, start, end, got, want)
		}
	}
}

// Spans that come in any order make the same slices, on lanes of their kind.
func TestAddSpans(t *testing.T) {
	spans := []Span{
		{Kind: "slots", Start: 15, End: 40, Name: "slot"},
		{Kind: "requests", Start: 10, End: 20, Name: "second", Args: []byte(`{"n":2}`)},
		{Kind: "requests", Start: 0, End: 100, Name: "first"},
	}
	tr := New()
	var made []string
	tr.AddSpans(spans, func(kind string, lane int) TrackID {
		made = append(made, kind+string(rune('0'+lane)))
		return tr.AddTrack(Track{Kind: TrackCPU, Name: kind})
	})
	if want := []string{"requests0", "requests1", "slots0"}; !slices.Equal(made, want) {
		t.Errorf("lanes %v, not %v", made, want)
	}
	for i, want := range []struct {
		name       string
		start, dur int64
		track      TrackID
		args       string
	}{{"first", 0, 100, 0, ""}, {"second", 10, 10, 1, `{"n":2}`}, {"slot", 15, 25, 2, ""}} {
		c := &tr.Slices
		got := fmt.Sprint(tr.Strings.Get(c.Name[i]), c.Start[i], c.Dur[i], c.Track[i], string(tr.Args(c.Args[i])))
		if all := fmt.Sprint(want.name, want.start, want.dur, want.track, want.args); got != all {
			t.Errorf("slice %d is %s, not %s", i, got, all)
		}
	}
}
