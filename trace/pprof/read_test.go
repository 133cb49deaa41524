package pprof

import (
	"bytes"
	"compress/gzip"
	"io"
	rpprof "runtime/pprof"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

func unzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// made is a profile of every kind of value, with a Python frame, an address and labels.
func made(t testing.TB) []byte {
	t.Helper()
	fn := func(id uint64, name, system string) *profile.Function {
		return &profile.Function{ID: id, Name: name, SystemName: system}
	}
	main, mm, py := fn(1, "main", ""), fn(2, "mm", "mm"), fn(3, "forward", "model.py(12): forward")
	at := func(id uint64, f ...*profile.Function) *profile.Location {
		l := &profile.Location{ID: id, Address: 0x400 + id}
		for _, f := range f {
			l.Line = append(l.Line, profile.Line{Function: f})
		}
		return l
	}
	root, leaf, inlined, bare := at(1, main), at(2, mm), at(3, mm, py), at(4)
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "calls", Unit: "count"}, {Type: "host", Unit: "nanoseconds"},
			{Type: "device", Unit: "nanoseconds"}, {Type: "alloc", Unit: "bytes"}},
		Function: []*profile.Function{main, mm, py}, Location: []*profile.Location{root, leaf, inlined, bare},
		Sample: []*profile.Sample{
			{Location: []*profile.Location{leaf, root}, Value: []int64{3, 700, 900, 64}},
			{Location: []*profile.Location{leaf, root}, Value: []int64{1, 300, 100, 0}},
			{Location: []*profile.Location{inlined, root}, Value: []int64{1, 50, 0, 0},
				Label: map[string][]string{"rank": {"rank 1"}, "phase": {"decode"}}},
			{Location: []*profile.Location{bare}, Value: []int64{1, 5, 0, 0}},
		},
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return unzipped(t, out.Bytes())
}

func TestRead(t *testing.T) {
	b := made(t)
	if !Sniff(b) || !Sniff(b[:40]) {
		t.Error("not known by its beginning")
	}
	tr, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	self, device, tracks := map[string]int64{}, map[string]int64{}, map[string]string{}
	x := tr.Index()
	for i := range tr.Slices.Len() {
		name := tr.String(tr.Slices.Name[i])
		if tr.Slices.Cat[i] == trace.CatKernel {
			device[name] += tr.Slices.Dur[i]
			continue
		}
		if p := x.Parent[i]; p != trace.NoParent {
			name = tr.String(tr.Slices.Name[p]) + ";" + name
		}
		self[name] = tr.Slices.Dur[i]
		tracks[name] = tr.Tracks[tr.Slices.Track[i]].Name
	}
	if device["mm"] != 1000 || self["main;mm"] != 1000 || tracks["main;model.py(12): forward"] != "rank 1" ||
		tracks["0x404"] != "stacks" {
		t.Errorf("host %v, device %v, tracks %v", self, device, tracks)
	}
	if got, ok := tr.ArgText(find(tr, "model.py(12): forward"), "phase"); ok || got != "" {
		t.Errorf("a caller has the label %q of what it called", got)
	}
	bytes := int64(0)
	for _, n := range opstats.Collect(tr).Allocations() {
		bytes += n
	}
	if bytes != 64 {
		t.Errorf("%d bytes allocated", bytes)
	}
}

func find(t *trace.Trace, name string) int {
	for i, n := range t.Slices.Name {
		if t.String(n) == name {
			return i
		}
	}
	return -1
}

// What a trace's profile says is what the profile of that profile says.
func TestThereAndBack(t *testing.T) {
	first, err := Read(bytes.NewReader(made(t)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, []Rank{{Trace: first, Labels: map[string]string{"rank": "r"}}}); err != nil {
		t.Fatal(err)
	}
	back, err := Read(bytes.NewReader(unzipped(t, out.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	sums := func(t *trace.Trace) (device int64) {
		for i, c := range t.Slices.Cat {
			if c == trace.CatKernel {
				device += t.Slices.Dur[i]
			}
		}
		return device
	}
	if a, b := sums(first), sums(back); a != b || a != 1000 {
		t.Errorf("device time %d, then %d", a, b)
	}
}

// Profiles of this very program, as Go's runtime writes them.
func TestGo(t *testing.T) {
	var heap bytes.Buffer
	if err := rpprof.Lookup("heap").WriteTo(&heap, 0); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"heap": unzipped(t, heap.Bytes()), "goroutine": goroutines(t)} {
		if !Sniff(b) {
			t.Errorf("%s: not known by its beginning", name)
		}
		tr, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := tr.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	tr, err := Read(bytes.NewReader(goroutines(t)))
	if err != nil {
		t.Fatal(err)
	}
	if i := find(tr, "testing.tRunner"); i < 0 {
		t.Error("the test's own stack is missing")
	}
}

func goroutines(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := rpprof.Lookup("goroutine").WriteTo(&out, 0); err != nil {
		t.Fatal(err)
	}
	return unzipped(t, out.Bytes())
}

func TestRefused(t *testing.T) {
	for name, b := range map[string]string{
		"empty": "", "text": "hello", "Perfetto": "\n\x03\x40\x01\x50\x01", "cut": string(made(t)[:60]),
		"XSpace": "\n\x0b\x12\x09/host:CPU",
	} {
		if _, err := Read(strings.NewReader(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if Sniff([]byte("\n\x03\x40\x01\x50\x01")) || Sniff([]byte("\n\x0b\x12\x09/host:CPU")) {
		t.Error("other protobuf files are taken for profiles")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(made(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		Sniff(b)
		if tr, err := Read(bytes.NewReader(b)); err == nil {
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
