package proton_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/proton"
	"github.com/kinetoscope/kinetoscope/trace/stacks"
)

func read(t testing.TB, name string) *trace.Trace {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if !proton.Sniff(b) {
		t.Errorf("%s is not known by its beginning", name)
	}
	tr, err := proton.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// rows lists slices with the stack around them.
func rows(tr *trace.Trace) []string {
	tree := stacks.New(tr)
	var out []string
	for i := range tr.Slices.Len() {
		if tr.Slices.Cat[i] == trace.CatCUDADriver {
			continue
		}
		frames := tree.Stack(nil, tree.Of(i), 100)
		slices.Reverse(frames)
		out = append(out, fmt.Sprintf("%s %s %d %s", strings.Join(frames, ";"), tr.CategoryText(tr.Slices.Cat[i]),
			tr.Slices.Dur[i], tr.Args(tr.Slices.Args[i])))
	}
	return out
}

// Files that Proton itself wrote, of scopes of the host, say the same in both encodings. Its
// MessagePack has no frame that says nothing.
func TestScopes(t *testing.T) {
	want := []string{
		"step python_function 9703701 ",
		`step;decode cpu_op 9703701 {"bytes": 231, "cpu_time (ns)": 3703701, "flops": 3000000000.0}`,
		`step;decode;attn cpu_op 6000000 {"cpu_time (ns)": 6000000}`,
	}
	packed := rows(read(t, "scopes.msgpack"))
	for i := range packed {
		packed[i] = strings.Replace(packed[i], "3e+09", "3000000000.0", 1)
	}
	if d := cmp.Diff(want, packed); d != "" {
		t.Error("MessagePack", d)
	}
	want[0] = "step python_function 9704701 "
	if d := cmp.Diff(append(want, "step;sample python_function 1000 "), rows(read(t, "scopes.hatchet"))); d != "" {
		t.Error("JSON", d)
	}
}

// Kernels keep sums, counts and who launched them.
func TestKernels(t *testing.T) {
	tr := read(t, "kernels.hatchet")
	sum, n := map[string]int64{}, map[string]int{}
	tree, launched := stacks.New(tr), map[int64]string{}
	for i, c := range tr.Slices.Cat {
		if c == trace.CatCUDADriver {
			frames := tree.Stack(nil, tree.Of(i), 100)[1:]
			slices.Reverse(frames)
			launched[tr.Slices.Corr[i]] = strings.Join(frames, ";")
		}
	}
	for i, c := range tr.Slices.Cat {
		if c == trace.CatKernel {
			k := fmt.Sprintf("device %d %s", tr.Tracks[tr.Slices.Track[i]].Device, launched[tr.Slices.Corr[i]])
			sum[k] += tr.Slices.Dur[i]
			n[k]++
		}
	}
	if d := cmp.Diff(map[string]int64{"device 0 prefill;flash_fwd": 900_001, "device 0 prefill;gemm": 500_000,
		"device 0 decode;layer;gemm": 100_000, "device 0 decode;layer;norm": 3000, "device 1 memset": 700},
		sum); d != "" {
		t.Error(d)
	}
	if n["device 0 decode;layer;gemm"] != 100 || n["device 0 decode;layer;norm"] != 50 {
		t.Error(n)
	}
	if m := &tr.Meta; !m.Sums || m.Format != proton.Format || len(m.Devices) != 2 || m.Devices[1].SMs != 132 {
		t.Errorf("%+v", m)
	}
}

// A Chrome trace of Proton has annotations, launches and kernels, which are linked.
func TestChrome(t *testing.T) {
	f, err := os.Open("testdata/chrome.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr, err := kineto.Read(t.Context(), f, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if tr.Meta.Format != proton.FormatChrome {
		t.Fatalf("format %s", tr.Meta.Format)
	}
	var got []string
	for i := range tr.Slices.Len() {
		k := tr.Tracks[tr.Slices.Track[i]]
		got = append(got, fmt.Sprintf("%s %s %s %d %d.%d %d", tr.String(tr.Slices.Name[i]),
			tr.CategoryText(tr.Slices.Cat[i]), k.Kind, tr.Slices.Corr[i], k.Device, k.Stream, tr.Slices.Dur[i]))
	}
	want := []string{
		"step user_annotation cpu -1 -1.-1 400000", "decode user_annotation cpu -1 -1.-1 100250",
		"gemm cuda_driver cpu 4 -1.-1 8500", "graph_launch cuda_driver cpu 6 -1.-1 30000",
		"<captured_at> user_annotation other -1 -1.-1 61000", "layer user_annotation other -1 -1.-1 61000",
		"gemm kernel gpu 4 0.7 40125", "flash_fwd kernel gpu 6 0.7 29000", "gemm kernel gpu -1 0.7 29000",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no list": `{"frame": {}}`, "no frames": `[{"CUDA": {}}]`, "no name": `[{"frame": {}}]`,
		"negative":  `[{"frame": {"name": "r"}, "children": [{"frame": {"name": "a"}, "metrics": {"time (ns)": -5}}]}]`,
		"huge":      `[{"frame": {"name": "r"}, "children": [{"frame": {"name": "a"}, "metrics": {"time (ns)": 1e300}}]}]`,
		"deep JSON": strings.Repeat("[", 100_000), "deep MessagePack": strings.Repeat("\x91", 100_000),
		"long list": "\xdd\xff\xff\xff\xff\x01", "ext": "\x91\xc7\x00\x05", "cut": "\x92\x83\xa5frame",
	} {
		if _, err := proton.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if proton.Sniff([]byte(`[{"ph": "X", "name": "frame"}]`)) || proton.Sniff(nil) {
		t.Error("known without frames")
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"scopes.hatchet", "scopes.msgpack", "kernels.hatchet"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		proton.Sniff(b)
		if tr, err := proton.Read(bytes.NewReader(b)); err == nil {
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
