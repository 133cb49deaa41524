package timeline

import (
	"math"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// lines is a timeline of one trace with a slice of 10 ns on each of n threads.
func lines(t *testing.T, n int) *Timeline {
	t.Helper()
	tr := trace.New()
	for i := range n {
		k := tr.AddTrack(trace.Track{PID: 1, TID: int64(i + 1), Device: -1, Stream: -1})
		tr.AddSlice(trace.Slice{Start: int64(i), Dur: 10, Name: "s", Cat: trace.CatCPUOp, Track: k})
	}
	tl, err := New([]Source{{Trace: tr}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// TestFarWindows: a window that holds everything shows everything, or is refused; times that do not fit 64 bits with
// the clocks' offsets do not come around to an empty answer.
func TestFarWindows(t *testing.T) {
	tl := lines(t, 3)
	tracks := ids(tl.Tree(PackNone), "thread")
	for _, w := range [][2]int64{{math.MinInt64, math.MaxInt64}, {math.MinInt64, 1}, {0, math.MaxInt64},
		{-math.MaxInt64 / 4, math.MaxInt64 / 4}, {math.MaxInt64 - 1, math.MaxInt64}, {-maxReach, maxReach},
		{-1, 100}} {
		q := Query{From: w[0], To: w[1], Px: 100, Tracks: tracks}
		refused := w[0] < -maxReach || w[1] > maxReach
		if _, err := tl.Slices(nil, q); (err != nil) != refused {
			t.Errorf("%v: picture: %v", w, err)
		}
		if _, err := tl.Arrows(q); (err != nil) != refused {
			t.Errorf("%v: arrows: %v", w, err)
		}
		s, err := tl.Select(t.Context(), q)
		if (err != nil) != refused || err == nil && s.Slices != 3 {
			t.Errorf("%v: sums: %+v, %v", w, s, err)
		}
	}
}

// TestSumsOfManyTracks: sums take as many tracks as there are; pictures say that they do not.
func TestSumsOfManyTracks(t *testing.T) {
	const n = 2*MaxTracks + 1
	tl := lines(t, n)
	q := Query{From: 0, To: 10 * n, Px: 100, Tracks: ids(tl.Tree(PackNone), "thread")}
	s, err := tl.Select(t.Context(), q)
	if err != nil || s.Slices != n || s.Ops[0].Count != n {
		t.Errorf("sums of %d tracks: %v, %v", n, s, err)
	}
	cut, err := tl.Cut(q)
	if err != nil || cut.Slices.Len() != n {
		t.Errorf("export of %d tracks: %v", n, err)
	}
	if _, err := tl.Slices(nil, q); err == nil {
		t.Error("a picture of more tracks than one has is not refused")
	}
}
