package trace_test

import (
	"math"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestStrays: few slices that lie far from all others are strays, at any distance that 64 bits hold, and
// neither the extent nor the window reaches to them; a long pause and a second capture are none.
func TestStrays(t *testing.T) {
	const hour, day = int64(3600e9), 24 * int64(3600e9)
	for _, c := range []struct {
		name    string
		base    int64 // start of the first of n others
		n, step int64
		further []int64 // starts of further slices
		strays  int     // how many of these, the last ones, are strays
	}{
		{"none", 1.7e18, 100, 1e6, nil, 0},
		{"long before", 1.7e18, 100, 1e6, []int64{3e6}, 1},
		{"long after", 5e9, 100, 1e6, []int64{1.7e18}, 1},
		{"at both ends of what there is", 1.7e18, 100, 1e6, []int64{math.MinInt64 + 5, math.MaxInt64 - 5}, 2},
		{"a thousand times more than 63 bits hold", 1e18, 108 * 24, hour, []int64{1e18 - 10*day}, 0},
		{"a thousand times more than 64 bits hold", 1e18, 215 * 24, hour, []int64{1e18 - 2000*day}, 0},
		{"two hours later in a trace of hours", 1e18, 100, hour / 2, []int64{1e18 + 52*hour}, 0},
		{"a day after a second", 1e18, 100, 1e7, []int64{1e18 + day}, 1},
		{"the zero of the file", 1e18, 100, 1e6, []int64{0}, 0},
		{"as many as the others", 1e18, 100, 1e6, many(100, 5e9), 0},
		{"five", 1e18, 100, 1e6, many(5, 5e9), 0},
		{"round the zero of the clock", -hour / 2, 100, 1e6, []int64{hour * 5 / 4}, 1},
		{"pauses round the zero of the clock", -hour * 3 / 2, 100, hour * 3 / 4, []int64{5 * hour}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := trace.New()
			k := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
			for i := range c.n {
				tr.AddSlice(trace.Slice{Start: c.base + i*c.step, Dur: 5, Name: "x", Cat: trace.CatCPUOp, Track: k})
			}
			for _, at := range c.further {
				tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "x", Cat: trace.CatCPUOp, Track: k})
			}
			got := tr.Strays()
			var want []int32
			for i := range c.strays {
				want = append(want, int32(tr.Slices.Len()-c.strays+i))
			}
			if !slices.Equal(got.Slices, want) {
				t.Fatalf("strays are %v, want %v", got.Slices, want)
			}
			tr.Window()
			if c.strays > 0 && (tr.Meta.WindowStart != c.base || tr.Meta.WindowEnd != c.base+(c.n-1)*c.step+5) {
				t.Errorf("the window is %d to %d", tr.Meta.WindowStart, tr.Meta.WindowEnd)
			}
		})
	}
}

// many is n starts from at on.
func many(n int, at int64) (out []int64) {
	for i := range int64(n) {
		out = append(out, at+i*1e6)
	}
	return out
}
