package trace

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestArgsRoundTrip(t *testing.T) {
	tr := New()
	cases := []string{
		`{"External id": 51234, "Input Dims": [[8, 64], []], "x": "a\"b"}`,
		`{"External id": 51235, "Input Dims": [[8, 64], []], "x": "a\"b"}`,
		`{"Addr": 140234567890123456789, "neg": -123456, "f": 12.345678, "z": 0012345}`,
		`{"n": {"correlation": 99999}, "correlation": 77777, "s": "123456"}`,
		`{"big": 9223372036854775807, "e": 1e10, "t": true, "nil": null}`,
	}
	var refs []ArgsRef
	for _, c := range cases {
		refs = append(refs, tr.AddArgs([]byte(c)))
	}
	for i, c := range cases {
		if got := string(tr.Args(refs[i])); got != c {
			t.Errorf("args %d: got %s want %s", i, got, c)
		}
	}
	if refs[0].Template() != refs[1].Template() {
		t.Error("objects that differ in an id do not share a template")
	}
	if v, ok := tr.RefArgInt(refs[1], "External id"); !ok || v != 51235 {
		t.Errorf("External id: %d %v", v, ok)
	}
	if v, ok := tr.RefArgInt(refs[3], "correlation"); !ok || v != 77777 {
		t.Errorf("correlation: %d %v", v, ok)
	}
	if v, ok := tr.RefArgInt(refs[3], "s"); !ok || v != 123456 {
		t.Errorf("number as text: %d %v", v, ok)
	}
	if v, ok := tr.RefArgInt(refs[2], "neg"); !ok || v != -123456 {
		t.Errorf("negative: %d %v", v, ok)
	}
	if v, ok := tr.RefArgText(refs[0], "x"); !ok || v != `a"b` {
		t.Errorf("text: %q %v", v, ok)
	}
	if v, ok := tr.RefArgFloat(refs[2], "f"); !ok || v != 12.345678 {
		t.Errorf("float: %v %v", v, ok)
	}
	if v := tr.RefArg(refs[0], "Input Dims"); string(v) != "[[8, 64], []]" {
		t.Errorf("raw: %s", v)
	}
	if v := tr.RefArg(refs[0], "absent"); v != nil {
		t.Errorf("absent key: %s", v)
	}
	for _, empty := range []string{"", "{}"} {
		if r := tr.AddArgs([]byte(empty)); r != NoArgs {
			t.Errorf("%q: ref %v", empty, r)
		}
	}
	if tr.Args(NoArgs) != nil || tr.Args(MakeArgsRef(0, 0)) == nil || tr.Args(1<<63) != nil {
		t.Error("Args of no, a first and an unknown reference")
	}
}

func TestArgsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := New()
		for range rapid.IntRange(1, 5).Draw(rt, "n") {
			m := rapid.MapOf(rapid.String(), rapid.OneOf(
				rapid.Custom(func(t *rapid.T) any { return rapid.Int64().Draw(t, "i") }),
				rapid.Custom(func(t *rapid.T) any { return rapid.String().Draw(t, "s") }),
				rapid.Custom(func(t *rapid.T) any { return rapid.SliceOf(rapid.Uint32()).Draw(t, "l") }),
			)).Draw(rt, "m")
			raw, err := json.Marshal(m)
			if err != nil {
				rt.Fatal(err)
			}
			r := tr.AddArgs(raw)
			if len(m) == 0 {
				continue
			}
			if got := string(tr.Args(r)); got != string(raw) {
				rt.Fatalf("got %s want %s", got, raw)
			}
			for k, v := range m {
				switch v := v.(type) {
				case int64:
					if got, ok := tr.RefArgInt(r, k); (!ok || got != v) && !keyHasHole(k) {
						rt.Fatalf("%q: got %d want %d", k, got, v)
					}
				case string:
					if got, ok := tr.RefArgText(r, k); (!ok || got != v) && !keyHasHole(k) {
						rt.Fatalf("%q: got %q want %q", k, got, v)
					}
				}
			}
		}
	})
}

// keyHasHole tells keys with a long run of digits, which the key index leaves out.
func keyHasHole(k string) bool {
	raw, _ := json.Marshal(k)
	lit, _ := SplitArgs(raw, nil, nil)
	return CountHoles(lit) > 0
}

func TestCategories(t *testing.T) {
	tr := New()
	for _, c := range []struct{ in, out string }{
		{"Operator", "cpu_op"}, {"kernel", "kernel"}, {"Kernel", "kernel"}, {"async_npu", "async_npu"}, {"", ""},
		{"Trace", "Trace"},
	} {
		if got := tr.CategoryText(tr.Category(c.in)); got != c.out {
			t.Errorf("%q: got %q want %q", c.in, got, c.out)
		}
	}
	for i := range 300 {
		tr.Category(fmt.Sprint("c", i))
	}
	if tr.Repairs.Count[RepairCategoryLimit] == 0 || tr.Category("c5") == CatOther {
		t.Errorf("limit: %v", tr.Repairs.Count)
	}
	for c := range catStatic {
		if got, ok := ParseCategory(c.String()); !ok || got != c {
			t.Errorf("category %d: text %q reads as %d", c, c, got)
		}
	}
}

func TestIndex(t *testing.T) {
	tr := New()
	a, b := tr.AddTrack(Track{}), tr.AddTrack(Track{})
	add := func(k TrackID, name string, start, end int64) {
		tr.AddSlice(Slice{Start: start, Dur: end - start, Name: name, Track: k})
	}
	add(a, "inner", 10, 20)
	add(a, "outer", 0, 100)
	add(a, "partial", 90, 150)
	add(b, "elsewhere", 5, 6)
	add(a, "rounded", 40, 101) // ends 1 ns after outer
	add(a, "same", 10, 20)
	add(a, "zero", 30, 30)
	add(a, "zero2", 30, 30)
	x := tr.Index()
	var got []string
	for _, i := range x.Track(a) {
		p := "-"
		if q := x.Parent[i]; q != NoParent {
			p = tr.String(tr.Slices.Name[q])
		}
		got = append(got, fmt.Sprintf("%s in %s lane %d depth %d self %d", tr.String(tr.Slices.Name[i]), p, x.Lane[i],
			x.Depth[i], x.Self[i]))
	}
	want := []string{
		"outer in - lane 0 depth 0 self 30",
		"inner in outer lane 0 depth 1 self 0",
		"same in inner lane 0 depth 2 self 10",
		"zero in outer lane 0 depth 1 self 0",
		"zero2 in outer lane 0 depth 1 self 0",
		"rounded in outer lane 1 depth 0 self 61",
		"partial in - lane 2 depth 0 self 60",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if x.Overlaps != 2 || x.Lanes[a] != 3 {
		t.Errorf("overlaps %d lanes %d", x.Overlaps, x.Lanes[a])
	}
	if err := tr.Validate(); err != nil {
		t.Error(err)
	}
	add(b, "late", 7, 9)
	if len(tr.Index().Track(b)) != 2 {
		t.Error("index is not rebuilt after adding")
	}
}

func TestIndexProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := New()
		tr.AddTrack(Track{})
		tr.AddTrack(Track{})
		for range rapid.IntRange(0, 60).Draw(rt, "n") {
			tr.AddSlice(Slice{
				Start: rapid.Int64Range(0, 60).Draw(rt, "start"), Dur: rapid.Int64Range(0, 30).Draw(rt, "dur"),
				Track: TrackID(rapid.IntRange(0, 1).Draw(rt, "track")),
			})
		}
		if err := tr.Validate(); err != nil {
			rt.Fatal(err)
		}
		x, s := tr.Index(), &tr.Slices
		for k := range tr.Tracks { // no two slices of one (track, lane, depth) share time
			type place struct{ lane, depth uint16 }
			last := map[place]int64{}
			for _, i := range x.Track(TrackID(k)) {
				p := place{x.Lane[i], x.Depth[i]}
				if s.Start[i] < last[p] {
					rt.Fatalf("slice %d collides at %v", i, p)
				}
				last[p] = s.End(int(i))
			}
			order := x.Track(TrackID(k))
			for at, i := range order { // a parent is the nearest before it that holds it and is not over
				want := NoParent
				for _, o := range slices.Backward(order[:at]) {
					if !ended(s, o, s.Start[i]) && s.End(int(i)) <= s.End(int(o))+NestTolerance {
						want = int32(o)
						break
					}
				}
				if x.Parent[i] != want {
					rt.Fatalf("the parent of slice %d is %d, want %d", i, x.Parent[i], want)
				}
			}
		}
	})
}

func TestValidateFinds(t *testing.T) {
	for name, spoil := range map[string]func(*Trace){
		"length":      func(t *Trace) { t.Slices.Dur = nil },
		"track":       func(t *Trace) { t.Slices.Track[0] = 9 },
		"string":      func(t *Trace) { t.Slices.Name[0] = 99 },
		"dur":         func(t *Trace) { t.Slices.Dur[0] = -1 },
		"category":    func(t *Trace) { t.Slices.Cat[0] = 200 },
		"correlation": func(t *Trace) { t.Slices.Corr[0] = 0 },
		"args":        func(t *Trace) { t.Slices.Args[0] = t.AddArgs([]byte(`{"a":}`)) },
		"event":       func(t *Trace) { t.Slices.Event[1] = 0 },
	} {
		tr := New()
		tr.AddTrack(Track{})
		tr.AddSlice(Slice{Name: "a", Dur: 1})
		tr.AddSlice(Slice{Name: "b", Dur: 1})
		if err := tr.Validate(); err != nil {
			t.Fatal(err)
		}
		spoil(tr)
		if tr.Validate() == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestDuplicateIDs(t *testing.T) {
	tr := New()
	k := tr.AddTrack(Track{})
	for _, c := range []struct {
		cat  Category
		corr int64
	}{{CatCUDARuntime, 5}, {CatKernel, 5}, {CatKernel, 5}, {CatCUDARuntime, 5}, {CatCUDADriver, 6}, {CatCUDARuntime, 0},
		{CatCUDARuntime, 0}} {
		tr.AddSlice(Slice{Cat: c.cat, Corr: c.corr, Track: k})
	}
	tr.AddFlow(1, 9, "ac2g", "ac2g", k, true)
	tr.AddFlow(1, 9, "fwdbwd", "fwdbwd", k, true)
	tr.AddFlow(2, 9, "ac2g", "ac2g", k, false)
	tr.AddFlow(3, 9, "ac2g", "ac2g", k, true)
	if calls, flows := tr.DuplicateIDs(); calls != 1 || flows != 1 {
		t.Errorf("%d calls, %d flows", calls, flows)
	}
}

func TestHoles(t *testing.T) {
	for _, c := range []struct{ in, lit string }{
		{`{"External id": 5, "Ev Idx":12, "x": 123, "y": 1234}`,
			"{\"External id\": \xff, \"Ev Idx\":\xff, \"x\": 123, \"y\": \xff}"},
		{`{"id": 0, "id": 07, "z": 01234, "id": -3}`, "{\"id\": \xff, \"id\": 07, \"z\": 01234, \"id\": -3}"},
		{`{"p": "0x7f3a00ff", "q": 0x12345, "short": "0x1ff"}`,
			"{\"p\": \"0x\xfe\", \"q\": 0x\xfe, \"short\": \"0x1ff\"}"},
		{`{"p": "0x0012345", "q": "0x7F3A00FF", "r": "0x12345678901234567"}`,
			"{\"p\": \"0x0012345\", \"q\": \"0x7F3A00FF\", \"r\": \"0x\xff\"}"},
		{`{"big": 12345678901234567890}`, `{"big": 12345678901234567890}`},
	} {
		lit, vals := SplitArgs([]byte(c.in), nil, nil)
		if string(lit) != c.lit {
			t.Errorf("%s: template %q", c.in, lit)
		}
		if back := expand(nil, lit, vals); string(back) != c.in {
			t.Errorf("%s: back %s", c.in, back)
		}
	}
}

func FuzzArgs(f *testing.F) {
	f.Add([]byte(`{"p": "0x7f3a00ff12", "f": 0x1234}`))
	f.Add([]byte(`{"External id": 5, "Addr": 139876543210496, "f": 1.000001}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tr := New()
		got := tr.Args(tr.AddArgs(raw))
		if json.Valid(raw) && utf8.Valid(raw) && len(raw) > 2 && string(got) != string(raw) {
			t.Errorf("got %q want %q", got, raw)
		}
		tr.RefArg(tr.AddArgs(raw), "f")
		if v := memberOf(raw, "f"); json.Valid(raw) && v != nil && !json.Valid(v) {
			t.Errorf("member of %q: %q", raw, v)
		}
	})
}
