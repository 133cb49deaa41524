package trace_test

import (
	"math"
	"testing"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestSoundTimes: what has a time that cannot be is left out of every column and counted, so that sums of what is
// left do not overflow; times that can be stay as they are.
func TestSoundTimes(t *testing.T) {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{})
	for _, at := range []int64{-5, 10, trace.MaxTime, trace.MaxTime + 1, math.MaxInt64, math.MinInt64} {
		tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "s", Track: k})
		tr.AddInstant(at, "i", trace.CatOther, k, nil)
		tr.AddCounter(at, "c", "v", k, float64(at))
		tr.AddFlow(at, uint64(at), "f", "f", k, true)
	}
	tr.AddSlice(trace.Slice{Start: 20, Dur: trace.MaxDur, Name: "week", Track: k})
	tr.AddSlice(trace.Slice{Start: 20, Dur: math.MaxInt64 - 20, Name: "forever", Track: k})
	tr.Sound()
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	if s, i, c, f := tr.Slices.Len(), len(tr.Instants.Time), len(tr.Counters.Time), len(tr.Flows.Time); s != 4 ||
		i != 3 || c != 3 || f != 3 {
		t.Errorf("%d slices, %d instants, %d samples, %d ends of arrows are left, want 4, 3, 3, 3", s, i, c, f)
	}
	if got := tr.Counters.Value[2]; got != trace.MaxTime {
		t.Errorf("the last sample left is %v", got)
	}
	if n := tr.Repairs.Count[trace.RepairNoTime]; n != 12 {
		t.Errorf("%d rows without a usable time are counted, want 12", n)
	}
	if n := tr.Repairs.Count[trace.RepairAbsurdDur]; n != 1 {
		t.Errorf("%d slices are counted as too long, want 1", n)
	}
}

// TestSoundNothingLeft: a trace of which nothing is left has no window.
func TestSoundNothingLeft(t *testing.T) {
	tr := trace.New()
	tr.AddSlice(trace.Slice{Start: math.MaxInt64, Name: "s", Track: tr.AddTrack(trace.Track{})})
	tr.Meta.WindowStart, tr.Meta.WindowEnd, _ = tr.Extent()
	tr.Sound()
	if tr.Meta.WindowStart != 0 || tr.Meta.WindowEnd != 0 {
		t.Errorf("the window is %d to %d", tr.Meta.WindowStart, tr.Meta.WindowEnd)
	}
}

// TestSoundSums: a profile's sums may be longer than a capture.
func TestSoundSums(t *testing.T) {
	tr := trace.New()
	tr.Meta.Sums = true
	tr.AddSlice(trace.Slice{Dur: 10 * trace.MaxDur, Name: "main", Track: tr.AddTrack(trace.Track{})})
	tr.Sound()
	if tr.Slices.Len() != 1 || len(tr.Repairs.Count) != 0 {
		t.Errorf("%d slices are left, repairs %v", tr.Slices.Len(), tr.Repairs.Count)
	}
}

// TestTextsAreUTF8: whatever a reader hands over, every text of a trace is UTF-8, equal texts are one, and what was
// replaced is counted.
func TestTextsAreUTF8(t *testing.T) {
	tr := trace.New()
	bad := "a\xffb"
	k := tr.AddTrack(trace.Track{PIDText: bad, TIDText: bad, Process: bad, Name: bad, Labels: bad})
	cat := tr.Category(bad)
	first := tr.AddSlice(trace.Slice{Name: bad, Cat: cat, Track: k})
	second := tr.AddSlice(trace.Slice{Name: bad, Cat: tr.Category(bad), Track: k})
	tr.AddInstant(1, bad, cat, k, nil)
	tr.AddCounter(1, bad, bad, k, 1)
	tr.AddFlow(1, 1, bad, bad, k, true)
	tr.Meta.Host, tr.Meta.Devices = bad, []trace.Device{{Name: bad}}
	tr.Sound()
	if tr.Slices.Name[first] != tr.Slices.Name[second] || tr.Slices.Cat[first] != tr.Slices.Cat[second] {
		t.Error("equal names or categories became two")
	}
	texts := append(tr.Strings.Texts(), tr.Categories()...)
	got := tr.Tracks[k]
	texts = append(texts, got.PIDText, got.TIDText, got.Process, got.Name, got.Labels)
	texts = append(texts, tr.Meta.Host, tr.Meta.Devices[0].Name)
	for _, s := range texts {
		if !utf8.ValidString(s) {
			t.Errorf("%q is no UTF-8", s)
		}
	}
	if tr.Repairs.Count[trace.RepairUTF8] == 0 {
		t.Error("nothing says that texts were replaced")
	}
}

func TestAddNs(t *testing.T) {
	const top = math.MaxInt64
	for _, c := range [][3]int64{{1, 2, 3}, {top, 1, top}, {-top, -1, -top}, {top, -top, 0}, {-5, top, top - 5},
		{top, top, top}, {math.MinInt64, math.MinInt64, -top}} {
		if got := trace.AddNs(c[0], c[1]); got != c[2] {
			t.Errorf("AddNs(%d, %d) = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

// TestArgSize: what cannot be a size is none.
func TestArgSize(t *testing.T) {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{})
	for value, want := range map[string]int64{"0": 0, "17": 17, `"17"`: 17, "17592186044416": 1 << 44, "-1": -1,
		"17592186044417": -1, "9223372036854775807": -1, `"x"`: -1, "null": -1} {
		i := tr.AddSlice(trace.Slice{Name: "s", Track: k, Args: []byte(`{"bytes": ` + value + `}`)})
		if n, ok := tr.ArgSize(i, trace.ArgBytes); ok != (want >= 0) || n != max(0, want) {
			t.Errorf("%s: %d, %v", value, n, ok)
		}
	}
}
