package trace_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestTwice: slices that a file repeats are found, few as well if they have a correlation, in a trace so large that
// a part of it is looked at first too; what only looks alike is none.
func TestTwice(t *testing.T) {
	const n = 30_000
	calls := func(n, from int) (out []trace.Slice) {
		for i := from; i < from+n; i++ {
			out = append(out, trace.Slice{Start: int64(i) * 1000, Dur: 400, Name: fmt.Sprint("k", i%7),
				Corr: int64(i + 1), Cat: trace.CatKernel})
		}
		return out
	}
	recursion := func(n int) (out []trace.Slice) {
		for i := range n {
			out = append(out, trace.Slice{Start: int64(i/2) * 1000, Dur: 900, Name: "fib", Corr: trace.NoCorrelation})
		}
		return append(out, calls(3*n, 0)...)
	}
	args := func(n int) (out []trace.Slice) {
		for i := range n {
			out = append(out, trace.Slice{Start: 7000, Dur: 900, Name: "f", Corr: trace.NoCorrelation,
				Args: fmt.Appendf(nil, `{"Python id": %d}`, i)})
		}
		return out
	}
	// Of slices that begin together all are looked at first, or none.
	at := func(rows []trace.Slice) []trace.Slice {
		for i := range rows {
			rows[i].Start = 0
		}
		return rows
	}
	for name, c := range map[string]struct {
		rows []trace.Slice
		want int
	}{
		"once":                      {calls(n, 0), 0},
		"one start":                 {at(calls(n, 0)), 0},
		"one start, once again":     {append(at(calls(n, 0)), at(calls(1, n-1))...), 1},
		"all":                       {append(calls(n, 0), calls(n, 0)...), n},
		"the first half":            {append(calls(n, 0), calls(n/2, 0)...), n / 2},
		"five of a small one":       {append(calls(90, 0), calls(5, 40)...), 5},
		"a function in itself":      {recursion(500), 0},
		"other arguments":           {args(600), 0},
		"three times":               {append(append(calls(50, 0), calls(50, 0)...), calls(50, 0)...), 100},
		"host alone, nearly all":    {append(args(400), args(380)...), 380},
		"host alone, one in twenty": {append(args(400), args(20)...), 0},
	} {
		tr := trace.New()
		track := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
		for _, r := range c.rows {
			r.Track = track
			tr.AddSlice(r)
		}
		at := tr.Twice()
		if len(at) != c.want {
			t.Errorf("%s: %d slices, want %d", name, len(at), c.want)
		}
		all := tr.Slices.Len()
		tr.Slices.Drop(at)
		if tr.Slices.Len() != all-c.want || tr.Twice() != nil {
			t.Errorf("%s: %d of %d slices are left", name, tr.Slices.Len(), all)
		}
	}
	s := trace.Slices{Start: []int64{0, 1, 2, 3, 4}, Dur: make([]int64, 5), Name: make([]trace.StringID, 5),
		Cat: make([]trace.Category, 5), Track: make([]trace.TrackID, 5), Corr: make([]int64, 5),
		Args: make([]trace.ArgsRef, 5), Event: make([]uint32, 5)}
	s.Drop([]int{1, 4})
	if d := cmp.Diff([]int64{0, 2, 3}, s.Start); d != "" {
		t.Error(d)
	}
}

// TestTwiceProperty: what is found is what comparing each slice with all before it finds, of which one has a
// correlation or nearly all are there twice.
func TestTwiceProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := trace.New()
		track := tr.AddTrack(trace.Track{Kind: trace.TrackCPU})
		var rows []trace.Slice
		for range rapid.IntRange(1, 40).Draw(rt, "slices") {
			few := rapid.IntRange(0, 3)
			row := trace.Slice{Start: int64(few.Draw(rt, "start")), Dur: int64(few.Draw(rt, "dur")), Name: "f",
				Corr: trace.NoCorrelation, Track: track}
			if n := few.Draw(rt, "args"); n > 0 {
				row.Args = fmt.Appendf(nil, `{"Python id": %d}`, n)
			}
			if few.Draw(rt, "correlation") == 0 {
				row.Corr = 5
			}
			rows = append(rows, row)
			tr.AddSlice(row)
		}
		var want []int
		seen := map[string]bool{}
		linked, told := false, 0
		for i, r := range rows {
			key := fmt.Sprint(r.Start, r.Dur, r.Corr, string(r.Args))
			if !seen[key] {
				seen[key] = true
				continue
			}
			want = append(want, i)
			linked = linked || r.Dur > 0 && r.Corr != trace.NoCorrelation
			if len(r.Args) > 0 {
				told++
			}
		}
		if !linked && float64(min(told, len(seen))) < 0.4*float64(len(rows)) {
			want = nil
		}
		if d := cmp.Diff(want, tr.Twice()); d != "" {
			rt.Fatal(d)
		}
	})
}
