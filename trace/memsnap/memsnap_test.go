package memsnap

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

func sample() *trace.Trace {
	t := trace.New()
	t.Meta.Stage = "thinker"
	cpu := t.AddTrack(trace.Track{Device: -1, Stream: -1})
	t.AddSlice(trace.Slice{Start: 1000, Dur: 9000, Name: "step", Track: cpu})
	t.AddSlice(trace.Slice{Start: 2000, Dur: 1000, Name: "mm", Track: cpu})
	for _, e := range []struct {
		at   int64
		args string
	}{
		{500, `{"Device Id": -1, "Addr": 64, "Bytes": -100, "Pool": "kv"}`}, // allocated before
		{2500, `{"Device Id": -1, "Addr": 18446603336221196288, "Bytes": 4096, "Pool": "kv"}`},
		{3500, `{"Device Id": 1, "Addr": 8192, "Bytes": 2097152}`},
		{4500, `{"Device Id": -1, "Addr": 16, "Bytes": 8, "Pool": "kv"}`},
		{4600, `{"Device Id": -1, "Addr": 16, "Bytes": 8, "Pool": "latents"}`}, // another pool's 16
		{5500, `{"Device Id": -1, "Addr": 16, "Bytes": -8, "Pool": "kv"}`},
		{6500, `{"Device Id": -1, "Addr": 8}`}, // no bytes
	} {
		t.AddInstant(e.at, "[memory]", trace.CatCPUInstant, cpu, []byte(e.args))
	}
	return t
}

func TestWriteRead(t *testing.T) {
	var b bytes.Buffer
	stats, err := Write(&b, sample())
	if err != nil {
		t.Fatal(err)
	}
	if want := (Stats{Entries: 11, Segments: 3, Unmatched: 1}); stats != want {
		t.Errorf("stats %+v, want %+v", stats, want)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	kv := []Frame{{"thinker", 0, "kv"}}
	step := []Frame{{"thinker", 0, "step"}}
	kvStep := append(append([]Frame{}, kv...), step...)
	kvMM := []Frame{{"thinker", 0, "kv"}, {"thinker", 0, "mm"}, {"thinker", 0, "step"}}
	latents := []Frame{{"thinker", 0, "latents"}, {"thinker", 0, "step"}}
	segment := func(device int64, addr uint64, size int64, kind string, frames []Frame) Segment {
		return Segment{
			Device: device, Address: addr, TotalSize: size, AllocatedSize: size, ActiveSize: size, RequestedSize: size,
			Type: kind, Frames: frames,
			Blocks: []Block{{Address: addr, Size: size, RequestedSize: size, State: "active_allocated",
				Frames: frames}},
		}
	}
	const high = 18446603336221196288
	want := &Snapshot{
		Segments: []Segment{
			segment(0, 16, 8, "small", latents), segment(0, high, 4096, "small", kvMM),
			segment(1, 8192, 2097152, "large", step),
		},
		Traces: [][]Entry{
			{
				{ActionFreeCompleted, 64, 100, 0, 0, kv},
				{ActionSegmentAlloc, high, 4096, 0, 2, kvMM}, {ActionAlloc, high, 4096, 0, 2, kvMM},
				{ActionSegmentAlloc, 16, 8, 0, 4, kvStep}, {ActionAlloc, 16, 8, 0, 4, kvStep},
				{ActionSegmentAlloc, 16, 8, 0, 4, latents}, {ActionAlloc, 16, 8, 0, 4, latents},
				{ActionFreeCompleted, 16, 8, 0, 5, kvStep}, {ActionSegmentFree, 16, 8, 0, 5, kvStep},
			},
			{{ActionSegmentAlloc, 8192, 2097152, 0, 3, step}, {ActionAlloc, 8192, 2097152, 0, 3, step}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWriteReusedAddress(t *testing.T) {
	tr := trace.New()
	cpu := tr.AddTrack(trace.Track{})
	for i := range int64(2) { // the free between was lost
		tr.AddInstant(i, "[memory]", trace.CatCPUInstant, cpu, []byte(`{"Addr": 16, "Bytes": 8}`))
	}
	var b bytes.Buffer
	if _, err := Write(&b, tr); err != nil {
		t.Fatal(err)
	}
	s, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range s.Traces[0] {
		actions = append(actions, e.Action)
	}
	if got, want := strings.Join(actions, " "),
		"segment_alloc alloc free_completed segment_free segment_alloc alloc"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !Has(tr) || Has(trace.New()) {
		t.Error("Has")
	}
}

// Pickles below were made by Python's pickle.dumps.
func TestUnpicklePython(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want any
	}{
		"protocol 0": {"(dp0\nVa\np1\n(lp2\nI1\naL5L\naI01\nas.",
			&Dict{[]Item{{"a", &List{[]any{int64(1), int64(5), true}}}}}},
		"protocol 2": {"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xff\xff\xff\xff\x88es.",
			&Dict{[]Item{{"a", &List{[]any{int64(1), int64(-1), true}}}}}},
		"protocol 4": {"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94(K\x01Nes.",
			&Dict{[]Item{{"a", &List{[]any{int64(1), nil}}}}}},
		"long":     {"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x80\xff\xff\x00.", uint64(0xffff_8000_0000_0000)},
		"negative": {"\x80\x02\x8a\x06\x00\x00\x00\x00\x00\x80.", int64(-1 << 47)},
		"float":    {"\x80\x02G?\xf0\x00\x00\x00\x00\x00\x00.", 1.0},
		"tuples":   {"\x80\x02K\x01K\x02\x86K\x03\x85\x86.", Tuple{Tuple{int64(1), int64(2)}, Tuple{int64(3)}}},
	} {
		got, err := Unpickle(strings.NewReader(c.raw))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestUnpickleRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"os.system":     "cos\nsystem\n(S'true'\ntR.",
		"reduce":        "\x80\x02N)R.",
		"build":         "\x80\x02}}b.",
		"inst":          "(ios\nsystem\n.",
		"obj":           "(No.",
		"newobj":        "\x80\x02N)\x81.",
		"stack global":  "\x80\x04\x8c\x02os\x8c\x06system\x93.",
		"persistent id": "\x80\x02NQ.",
		"extension":     "\x80\x02\x82\x01.",
	} {
		if _, err := Unpickle(strings.NewReader(raw)); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v, want ErrUnsafe", name, err)
		}
	}
	for name, raw := range map[string]string{
		"empty":           "",
		"no stop":         "N",
		"nothing":         ".",
		"two values":      "NN.",
		"open mark":       "N(.",
		"append to dict":  "}Na.",
		"setitem to list": "](NNu.",
		"odd dict":        "(Nd.",
		"dict as key":     "}}Ns.",
		"pop below mark":  "N(0.",
		"no memo":         "h\x05.",
		"long text":       "X\xff\xff\xff\xff",
		"text cut":        "X\x05\x00\x00\x00ab",
		"huge long":       "\x8a\xff",
		"too large":       "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
		"protocol 9":      "\x80\x09N.",
	} {
		var p *PickleError
		if _, err := Unpickle(strings.NewReader(raw)); !errors.As(err, &p) {
			t.Errorf("%s: %v, want a PickleError", name, err)
		}
	}
}

func TestReadWrongTypes(t *testing.T) {
	for raw, want := range map[string]string{
		"N.":                                    "snapshot is <nil>, want a dict",
		"(Vsegments\nVx\nd.":                    "snapshot.segments is string, want a list",
		"(Vsegments\n(I1\nld.":                  "segments[0] is int64, want a dict",
		"(Vdevice_traces\n(I1\nld.":             "device_traces[0] is int64, want a list",
		"(Vdevice_traces\n((Vx\nlld.":           "device_traces[0] is string, want a dict",
		"(Vsegments\n((Vaddress\nVx\ndld.":      "segments[0].address is string, want an integer",
		"(Vsegments\n((Vframes\nI1\ndld.":       "segments[0].frames is int64, want a list",
		"(Vsegments\n((Vsegment_type\nI1\ndld.": "segments[0].segment_type is int64, want a text",
	} {
		if _, err := Read(strings.NewReader(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", raw, err, want)
		}
	}
}

func TestIntegersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{
			0, -1, 255, 256, 65535, 65536, math.MaxInt32, math.MaxInt32 + 1, math.MinInt32, math.MinInt32 - 1,
			math.MaxInt64, math.MinInt64,
		})).Draw(t, "int")
		u := rapid.Uint64().Draw(t, "uint")
		s := rapid.String().Draw(t, "text")
		var b bytes.Buffer
		p := newPickler(&b)
		p.int(i)
		p.uint(u)
		p.op(opTuple2)
		p.text(s)
		p.text(s)
		p.op(opTuple3)
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		got, err := Unpickle(&b)
		if err != nil {
			t.Fatal(err)
		}
		var wantU any = u
		if u <= math.MaxInt64 {
			wantU = int64(u)
		}
		if d := cmp.Diff(Tuple{Tuple{i, wantU}, s, s}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if _, err := Write(&b, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("(dp0\nVa\np1\n(lp2\nI1\naL5L\naI01\nas."))
	f.Add([]byte("]q\x00h\x00a.")) // holds itself
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = Read(bytes.NewReader(raw))
	})
}
