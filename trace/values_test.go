package trace

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a file's argument is as a number, as a text: exact or not at all.
func TestArgValues(t *testing.T) {
	const none = "–"
	for _, c := range []struct{ raw, whole, real, text string }{
		{`42`, "42", "42", none},
		{`-42`, "-42", "-42", none},
		{`"42"`, "42", "42", "42"},
		{`"0x1f"`, none, none, "0x1f"},
		{`1.5`, none, "1.5", none},
		{`7.0`, "7", "7", none},
		{`1e3`, "1000", "1000", none},
		{`-0.0`, "0", "-0", none},
		// Ids beyond 2⁵³ are no floats on their way.
		{`9007199254740993`, "9007199254740993", "9.007199254740992e+15", none},
		{`9223372036854775807`, "9223372036854775807", "9.223372036854776e+18", none},
		{`-9223372036854775808`, "-9223372036854775808", "-9.223372036854776e+18", none},
		// What no int64 holds is no integer, and neither is a float that stands for several.
		{`9223372036854775808`, none, "9.223372036854776e+18", none},
		{`9007199254740992.0`, none, "9.007199254740992e+15", none},
		{`9007199254740991.0`, "9007199254740991", "9.007199254740991e+15", none},
		{`-9007199254740991.0`, "-9007199254740991", "-9.007199254740991e+15", none},
		{`-9007199254740992.0`, none, "-9.007199254740992e+15", none},
		{`1e300`, none, "1e+300", none},
		{`1e999`, none, none, none},
		{`true`, none, none, none}, {`null`, none, none, none}, {`[1]`, none, none, none},
		{`{"a":1}`, none, none, none},
		{`""`, none, none, ""},
		{`"a\"b\\c\/d\b\f\n\r\t"`, none, none, "a\"b\\c/d\b\f\n\r\t"},
		{`"\u0041\u00e9\u4e2d"`, none, none, "Aé中"},
		{`"\ud83d\ude00!"`, none, none, "😀!"},
		// Half a pair is no character; what follows is.
		{`"\ud83dx"`, none, none, "\uFFFDx"}, {`"\ud83d\u0041"`, none, none, "\uFFFDA"},
		{`"\ude00"`, none, none, "\uFFFD"},
		// No escape: it stays as it stands.
		{`"\q\u12g4"`, none, none, `\q\u12g4`}, {`"\u12"`, none, none, `\u12`},
		{`"C:\\temp"`, none, none, `C:\temp`},
	} {
		for _, form := range []string{`{"k": %s}`, `{"a": 1, "k":%s , "z": [2, {"k": 3}]}`, `{"k": 8, "k": %s}`} {
			tr := New()
			i := tr.AddSlice(Slice{Track: tr.AddTrack(Track{}), Args: fmt.Appendf(nil, form, c.raw)})
			whole, real, text := none, none, none
			if v, ok := tr.ArgInt(i, "k"); ok {
				whole = fmt.Sprint(v)
			}
			if v, ok := tr.ArgFloat(i, "k"); ok {
				real = fmt.Sprint(v)
			}
			if v, ok := tr.ArgText(i, "k"); ok {
				text = v
			}
			if whole != c.whole || real != c.real || text != c.text {
				t.Errorf("%s in %s: integer %s, number %s, text %q; want %s, %s, %q", c.raw, form, whole, real, text,
					c.whole,
					c.real, c.text)
			}
			if got := tr.Args(tr.Slices.Args[i]); string(got) != fmt.Sprintf(form, c.raw) {
				t.Errorf("%s came back as %s", fmt.Sprintf(form, c.raw), got)
			}
		}
	}
}

func TestArgsObjectValues(t *testing.T) {
	var o ArgsObject
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		o.Float("none", v)
	}
	if o.Len() != 0 || o.Done() != nil {
		t.Errorf("numbers that JSON has no form for gave %q", o)
	}
	o.Float("f", 0.1)
	o.Int("i", math.MinInt64)
	o.Uint("u", math.MaxUint64)
	o.Text("t\n", "\"\xff<é")
	o.Raw("r", []byte(`[1]`))
	want := `{"f": 0.1, "i": -9223372036854775808, "u": 18446744073709551615, "t\n": "\"�<é", "r": [1]}`
	if n, got := o.Len(), o.Done(); string(got) != want || n != len(want)-1 {
		t.Errorf("%d bytes: %s", n, got)
	}
}

// The extent is that of slices with a time; the span that the profiler itself writes is none of
// the program's.
func TestExtentValues(t *testing.T) {
	tr := New()
	k := tr.AddTrack(Track{})
	if _, _, ok := tr.Extent(); ok {
		t.Error("nothing has an extent")
	}
	tr.AddSlice(Slice{Start: 500, Dur: 9000, Cat: CatTraceSpan, Track: k})
	if _, _, ok := tr.Extent(); ok {
		t.Error("the profiler's own span is an extent")
	}
	tr.AddSlice(Slice{Start: 1000, Dur: 50, Track: k})
	tr.AddSlice(Slice{Start: -30, Dur: 10, Track: k})
	tr.AddSlice(Slice{Start: 900, Dur: 400, Track: k})
	tr.AddSlice(Slice{Start: 7, Dur: -5, Track: k}) // a length below zero is none
	tr.AddInstant(5000, "i", CatCPUOp, k, nil)
	if start, end, ok := tr.Extent(); start != -30 || end != 1300 || !ok || tr.Slices.Dur[4] != 0 {
		t.Errorf("extent %d to %d, %v; length %d", start, end, ok, tr.Slices.Dur[4])
	}
	tr.Meta.ZeroIsNoTime, tr.Meta.BaseTimeNs = true, -30
	if start, end, _ := tr.Extent(); start != 7 || end != 1300 {
		t.Errorf("without the slice that has no time: %d to %d", start, end)
	}
	if tr.Timeless(1) || !tr.Timeless(2) {
		t.Error("the slice at the zero of times is not the one without a time")
	}
	if tr.Meta.ZeroIsNoTime = false; tr.Timeless(2) {
		t.Error("a time is none although the file's zero is a time")
	}
}

// Rows of all kinds count for the order of the file.
func TestEventNumbers(t *testing.T) {
	tr := New()
	k := tr.AddTrack(Track{})
	tr.AddSlice(Slice{Track: k})
	tr.AddInstant(1, "i", CatCPUOp, k, nil)
	tr.AddInstant(2, "i", CatCPUOp, k, nil)
	tr.AddCounter(3, "c", "s", k, 0.5)
	tr.AddFlow(4, 9, "f", "f", k, true)
	second := tr.AddSlice(Slice{Track: k, Corr: 3})
	third := tr.AddSlice(Slice{Track: k})
	if got := []uint32{tr.Slices.Event[0], tr.Slices.Event[second], tr.Slices.Event[third]}; !slices.Equal(got,
		[]uint32{0, 5, 6}) {
		t.Errorf("numbers %v", got)
	}
	if tr.Slices.Corr[0] != NoCorrelation || tr.Slices.Corr[second] != 3 || second != 1 || third != 2 {
		t.Errorf("correlations %v", tr.Slices.Corr)
	}
	if tr.AddInstant(5, "i", CatCPUOp, k, nil) != 2 || tr.AddCounter(6, "c", "s", k, 1) != 1 ||
		tr.AddFlow(7, 9, "f", "f", k, false) != 1 {
		t.Error("a row's index is not its place")
	}
}

// nested is each slice of a track in the index's order: its name, parent, own time.
func nested(tr *Trace, k TrackID) []string {
	x := tr.Index()
	var out []string
	for _, i := range x.Track(k) {
		p := "-"
		if q := x.Parent[i]; q != NoParent {
			p = tr.String(tr.Slices.Name[q])
		}
		out = append(out, fmt.Sprintf("%s in %s: %d", tr.String(tr.Slices.Name[i]), p, x.Self[i]))
	}
	return out
}

func TestNestingValues(t *testing.T) {
	for name, c := range map[string]struct {
		in   []Slice
		want []string
	}{
		"of one start the longer is outside, of one length the first": {
			[]Slice{{Start: 5, Dur: 10, Name: "short"}, {Start: 5, Dur: 30, Name: "long"},
				{Start: 5, Dur: 10, Name: "later"}},
			[]string{"long in -: 20", "short in long: 0", "later in short: 10"},
		},
		"one that ends where the next begins does not hold it": {
			[]Slice{{Start: 0, Dur: 10, Name: "a"}, {Start: 10, Dur: 5, Name: "b"}, {Start: 14, Dur: 1, Name: "c"}},
			[]string{"a in -: 10", "b in -: 5", "c in -: 1"}, // within the tolerance b has ended
		},
		"a child may reach out by the tolerance, and what it covers is inside": {
			[]Slice{{Start: 0, Dur: 100, Name: "p"}, {Start: 90, Dur: 12, Name: "c"}},
			[]string{"p in -: 90", "c in p: 12"},
		},
		"by more it is none": {
			[]Slice{{Start: 0, Dur: 100, Name: "p"}, {Start: 90, Dur: 13, Name: "c"}},
			[]string{"p in -: 100", "c in -: 13"},
		},
		"a slice of the tolerance holds what begins before its end": {
			[]Slice{{Start: 0, Dur: 2, Name: "tick"}, {Start: 1, Dur: 1, Name: "in"},
				{Start: 2, Dur: 0, Name: "after"}},
			[]string{"tick in -: 1", "in in tick: 1", "after in -: 0"},
		},
		"before the zero of the clock": {
			[]Slice{{Start: -100, Dur: 80, Name: "p"}, {Start: -90, Dur: 30, Name: "c"},
				{Start: -55, Dur: 40, Name: "over"}},
			[]string{"p in -: 50", "c in p: 30", "over in -: 40"},
		},
		"two children in one another's way are both subtracted": {
			[]Slice{{Start: 0, Dur: 100, Name: "p"}, {Start: 10, Dur: 50, Name: "a"}, {Start: 40, Dur: 50, Name: "b"}},
			[]string{"p in -: 0", "a in p: 50", "b in p: 50"},
		},
	} {
		tr := New()
		other, k := tr.AddTrack(Track{}), tr.AddTrack(Track{})
		for _, s := range c.in {
			s.Track = k
			tr.AddSlice(s)
		}
		tr.AddSlice(Slice{Start: 0, Dur: 1000, Name: "elsewhere", Track: other})
		if d := cmp.Diff(c.want, nested(tr, k)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if got := tr.Index().Track(TrackID(2)); got != nil {
			t.Errorf("a track that is none has slices %v", got)
		}
	}
}

func TestDuplicateValues(t *testing.T) {
	tr := New()
	k := tr.AddTrack(Track{})
	for _, s := range []Slice{{Cat: CatCUDARuntime, Corr: 5}, {Cat: CatKernel, Corr: 5}, {Cat: CatCUDARuntime, Corr: 5},
		{Cat: CatCUDADriver, Corr: 5}, {Cat: CatCUDARuntime, Corr: 6}, {Cat: CatCUDARuntime}, {Cat: CatCUDARuntime},
		{Cat: CatKernel, Corr: 6}} {
		s.Track = k
		tr.AddSlice(s)
	}
	for _, f := range []struct {
		id    uint64
		cat   string
		start bool
	}{{1, "a", true}, {1, "b", true}, {1, "a", false}, {1, "a", false}, {1, "a", true}, {1 << 60, "a", true},
		{1<<60 + 1, "a", true}} {
		tr.AddFlow(0, f.id, f.cat, "x", k, f.start)
	}
	if calls, flows := tr.DuplicateIDs(); calls != 2 || flows != 1 {
		t.Errorf("%d calls and %d flows share an id, want 2 and 1", calls, flows)
	}
}
