package kineto

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustRead(t testing.TB, r io.Reader, o Options) *trace.Trace {
	t.Helper()
	tr, err := Read(context.Background(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// samples are the texts of testdata and, if they are there, of the smaller real traces.
func samples(t testing.TB) map[string][]byte {
	out := make(map[string][]byte)
	files, _ := filepath.Glob("testdata/*.json")
	more, _ := filepath.Glob("../../../shared/traces/*.json.gz")
	for _, f := range append(files, more...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, ".gz") {
			if len(b) > 50_000 {
				continue
			}
			b = unzip(t, b)
		}
		out[filepath.Base(f)] = b
	}
	return out
}

func unzip(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return b
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// TestWindowsAndWorkers reads every sample with blocks and workers of many numbers;
// the trace is the same to the last reference.
func TestWindowsAndWorkers(t *testing.T) {
	for name, text := range samples(t) {
		t.Run(name, func(t *testing.T) {
			want := dump(mustRead(t, bytes.NewReader(text), Options{Workers: 1, Window: len(text) + 1}))
			for _, o := range []Options{{Workers: 1, Window: 64}, {Workers: 3, Window: 97}, {Workers: 2, Window: 700},
				{Workers: 4, Window: 5000}, {Workers: 8, Window: 65536}} {
				if o.Window < 5000 && len(text) > 100_000 {
					continue
				}
				if d := cmp.Diff(want, dump(mustRead(t, bytes.NewReader(text), o))); d != "" {
					t.Fatalf("workers %d window %d: %s", o.Workers, o.Window, d)
				}
			}
		})
	}
}

// TestPacked reads samples packed in every way; the trace is that of the plain text.
func TestPacked(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for name, text := range samples(t) {
		want := dump(mustRead(t, bytes.NewReader(text), Options{}))
		half := len(text) / 2
		for how, packed := range map[string][]byte{
			"gzip":         zip(text),
			"gzip members": append(zip(text[:half]), zip(text[half:])...),
			"zstd":         enc.EncodeAll(text, nil),
			"zstd frames":  append(enc.EncodeAll(text[:half], nil), enc.EncodeAll(text[half:], nil)...),
		} {
			if d := cmp.Diff(want, dump(mustRead(t, bytes.NewReader(packed), Options{Window: 4096}))); d != "" {
				t.Fatalf("%s as %s: %s", name, how, d)
			}
		}
	}
}

// kinetoText draws a trace in one of the layouts that writers use, now and then with
// faults in it.
func kinetoText(t *rapid.T) []byte {
	var b strings.Builder
	sep, sp := rapid.SampledFrom([]string{",\n  ", ",", ", "}).Draw(t, "sep"),
		rapid.SampledFrom([]string{" ", "", "\n    "}).Draw(t, "space")
	array := rapid.Bool().Draw(t, "array")
	if !array {
		b.WriteString(`{"schemaVersion": 1, "traceEvents": `)
	}
	b.WriteString("[")
	name := rapid.OneOf(rapid.SampledFrom([]string{"aten::add", `say "hi"`, `C:\Users`, "a\tb", "b\xffc", `{"ph": "X"}`,
		"}, {", "k<1234567>"}), rapid.StringN(0, 20, 40))
	n := rapid.IntRange(0, 30).Draw(t, "events")
	for i := range n {
		if i > 0 {
			b.WriteString(sep)
		}
		nm := name.Draw(t, "name")
		if !rapid.Bool().Draw(t, "raw") {
			nm = strings.Trim(fmt.Sprintf("%q", nm), `"`)
		}
		ph := rapid.SampledFrom([]string{"X", "X", "X", "i", "s", "f", "M", "C", "B", "E"}).Draw(t, "ph")
		id := rapid.IntRange(0, 99999).Draw(t, "id")
		fmt.Fprintf(&b,
			`{"ph":%s"%s",%s"cat": "%s", "name": "%s", "pid": %d, "tid": %d,%s"ts": %d.%03d, "dur": %d, "id": %d`,
			sp, ph, sp, rapid.SampledFrom([]string{"cpu_op", "kernel", "odd"}).Draw(t, "cat"), nm, id%3, id%5, sp, id,
			id%1000, id%77, id)
		if rapid.Bool().Draw(t, "args") {
			fmt.Fprintf(&b, `,%s"args": {"correlation": %d, "list": [{"name": "x"}, {"name": "y"}], "v": %s}`, sp, id,
				rapid.SampledFrom([]string{"1", "NaN", `"a}b"`, "[1, 22222, 3]", `"1234567"`, "-1"}).Draw(t, "v"))
		}
		b.WriteString("}")
	}
	b.WriteString("]")
	if !array {
		b.WriteString(`, "baseTimeNanoseconds": 1000000000000000000}`)
	}
	text := []byte(b.String())
	if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
		text = text[:rapid.IntRange(min(len(text), 37), len(text)).Draw(t, "at")]
	}
	return text
}

// TestProperty checks on drawn files, of one trace or some one after the other, that
// blocks, workers and packing do not matter and that what is read is valid.
func TestProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := kinetoText(rt)
		for range rapid.IntRange(0, 2).Draw(rt, "more") {
			text = append(text, rapid.SampledFrom([]string{"", "\n", "INFO: [done] {x}\n", "}", `{"a": 1}`,
				"[1]"}).Draw(rt, "between")...)
			text = append(text, kinetoText(rt)...)
		}
		ref, err := ReadAll(context.Background(), bytes.NewReader(text), "", Options{Workers: 1})
		if err != nil {
			rt.Fatal(err)
		}
		var size int64
		for _, tr := range ref {
			if err := tr.Validate(); err != nil {
				rt.Fatal(err)
			}
			if size += tr.Repairs.Text; tr.Repairs.Skipped > tr.Repairs.Text {
				rt.Fatalf("%d of %d bytes skipped", tr.Repairs.Skipped, tr.Repairs.Text)
			}
		}
		if size != int64(len(text)) {
			rt.Fatalf("%d of %d bytes belong to traces", size, len(text))
		}
		want := dumpAll(ref)
		o := Options{Workers: rapid.IntRange(1, 4).Draw(rt, "workers"),
			Window: rapid.IntRange(64, 700).Draw(rt, "window")}
		for how, b := range map[string][]byte{"plain": text, "gzip": zip(text)} {
			got, err := ReadAll(context.Background(), bytes.NewReader(b), "", o)
			if err != nil {
				rt.Fatal(err)
			}
			if d := cmp.Diff(want, dumpAll(got)); d != "" {
				rt.Fatalf("%s, window %d: %s\n%s", how, o.Window, d, text)
			}
		}
	})
}

// dumpAll is the traces of a file as text.
func dumpAll(list []*trace.Trace) string {
	var b strings.Builder
	for _, t := range list {
		fmt.Fprintf(&b, "%s\nskipped %d of %d\n", dump(t), t.Repairs.Skipped, t.Repairs.Text)
	}
	return b.String()
}

// TestTraceInMember: a trace whose writer was cut in a member after its events, and another one in the place of the
// member's value. However much of the file is seen at once, these are two traces.
func TestTraceInMember(t *testing.T) {
	one := `{"schemaVersion": 1, "traceEvents": [{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]`
	text := []byte(one + `, "v": ` + one + `, "baseTimeNanoseconds": 1}`)
	var want string
	for _, window := range []int{0, 64, 80, 100, 150, 200} {
		list, err := ReadAll(context.Background(), bytes.NewReader(text), "", Options{Workers: 1, Window: window})
		if err != nil || len(list) != 2 || list[0].Slices.Len() != 1 || list[1].Slices.Len() != 1 {
			t.Fatalf("window %d: %d traces, %v", window, len(list), err)
		}
		if want == "" {
			want = dumpAll(list)
		}
		if d := cmp.Diff(want, dumpAll(list)); d != "" {
			t.Errorf("window %d: %s", window, d)
		}
	}
}

// TestCut cuts a real layout at every byte; what was complete before the cut is read.
func TestCut(t *testing.T) {
	text, err := os.ReadFile("testdata/base_after.json")
	if err != nil {
		t.Fatal(err)
	}
	full := mustRead(t, bytes.NewReader(text), Options{})
	begin := bytes.Index(text, []byte("[\n  {\n    \"ph\"")) + 1
	last := 0
	for at := begin; at < len(text); at++ {
		tr := mustRead(t, bytes.NewReader(text[:at]), Options{})
		n := tr.Slices.Len()
		if n < last || n > full.Slices.Len() {
			t.Fatalf("cut at %d: %d slices after %d", at, n, last)
		}
		last = n
		if tr.Repairs.Count[trace.RepairTruncatedFile] == 0 && at < len(text)-2 {
			t.Fatalf("cut at %d is not noticed", at)
		}
	}
	if last != full.Slices.Len() {
		t.Errorf("%d of %d slices before the end", last, full.Slices.Len())
	}
}

// TestCutGzip cuts the packed file; what could be unpacked is read.
func TestCutGzip(t *testing.T) {
	text, err := os.ReadFile("testdata/base_after.json")
	if err != nil {
		t.Fatal(err)
	}
	packed := zip(text)
	for at := len(packed) * 2 / 3; at < len(packed); at++ {
		tr, err := Read(context.Background(), bytes.NewReader(packed[:at]), Options{})
		if err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		if tr.Repairs.Count[trace.RepairTruncatedStream] != 1 {
			t.Fatalf("cut at %d is not noticed: %s", at, tr.Repairs.String())
		}
	}
	bad := bytes.Clone(packed)
	bad[len(bad)-6] ^= 0xff // the checksum
	if tr := mustRead(t, bytes.NewReader(bad), Options{}); tr.Repairs.Count[trace.RepairTruncatedStream] != 1 ||
		tr.Slices.Len() != 8 {
		t.Errorf("bad checksum: %d slices, %s", tr.Slices.Len(), tr.Repairs.String())
	}
}

// TestNoTrace checks what is said about files that are no traces.
func TestNoTrace(t *testing.T) {
	for text, want := range map[string]string{
		"\x1f\x9d\x90ab":      `byte 0: expected a JSON object or array, found data packed by compress: unpack it first`,
		"":                    `byte 0: expected a JSON object or array, found the end of the file`,
		"  \x80\x02}":         "pickle",
		"SQLite format 3\x00": "SQLite",
		"<html>":              "HTML",
		"hello":               `found "hello"`,
		`[{"rank": 0, "trace": {"traceEvents": []}}, {"rank": 1, "trace": {}}]`: `byte 0: expected events with a phase ("ph"), found objects without one; the keys of the first are rank, trace`,
		`{"a": 1, "b": [2]}`:                   `byte 17: expected the key "traceEvents", found an object without it; its keys are a, b`,
		`{"schema": "1.0.1", "nodes": []}`:     "execution trace",
		"{\"ph\": \"X\", \"name\": \"a\"}\n{}": "it is one event",
		`{"a": 1`:                              "the end of the file",
		`{"traceEvents": 5}`:                   "an array of events",
		`[[1, 2, 3, 4]]`:                       "memory timeline",
		`[1]`:                                  "events (objects)",
		"PK\x03\x04":                           "zip",
		"\x1f\x8b\x08\x00":                     "gzip header",
		string(zip([]byte(`{"a"`))[:20]):       "expected",
		"\xfd7zXZ\x00":                         "xz",
		`{"rocprofiler-sdk-tool": [1]}`:        "rocprofv3",
		"\xef\xbb\xbf{\"segments\": [1, 2]}":   "memory snapshot",
	} {
		_, err := Read(context.Background(), strings.NewReader(text), Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	go func() {
		defer w.Close()
		io.WriteString(w, `{"traceEvents": [`)
		for {
			if _, err := io.WriteString(w,
				strings.Repeat(`{"ph": "X", "name": "a", "ts": 1, "dur": 1, "pid": 1, "tid": 1},`, 100)); err != nil {
				return
			}
		}
	}()
	o := Options{Window: 4096, Progress: func(_, events, _ int64) {
		if events > 1000 {
			cancel()
		}
	}}
	_, err := Read(ctx, r, o)
	r.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestReadError(t *testing.T) {
	bad := errors.New("disk on fire")
	r := io.MultiReader(strings.NewReader(`{"traceEvents": [`), &failing{bad})
	if _, err := Read(context.Background(), r, Options{}); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	packed := zip([]byte(`{"traceEvents": []}`))
	r = io.MultiReader(bytes.NewReader(packed[:20]), &failing{bad})
	if _, err := Read(context.Background(), r, Options{}); !errors.Is(err, bad) {
		t.Errorf("packed: error %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestDropArgs(t *testing.T) {
	tr, err := ReadFile(context.Background(), "testdata/base_after.json", Options{DropArgs: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := tr.ArgsBytes(); n != 0 {
		t.Errorf("%d bytes of args", n)
	}
	if tr.Slices.Corr[2] != 57541 || tr.Tracks[tr.Slices.Track[2]].Device != 7 {
		t.Error("correlation or device not read without args")
	}
}

func TestMaxEvent(t *testing.T) {
	big := `{"ph": "X", "name": "` + strings.Repeat("x", 5000) + `", "ts": 1, "dur": 1, "pid": 1, "tid": 1}`
	small := `{"ph": "X", "name": "a", "ts": 1, "dur": 1, "pid": 1, "tid": 1}`
	text := `{"traceEvents": [` + small + "," + big + "," + small + `]}`
	for _, w := range []int{64, 1000, 3000, 100000} {
		tr := mustRead(t, strings.NewReader(text), Options{MaxEvent: 2000, Window: w})
		if tr.Slices.Len() != 2 || tr.Repairs.Count[trace.RepairOversize] != 1 {
			t.Errorf("window %d: %d slices, %s", w, tr.Slices.Len(), tr.Repairs.String())
		}
	}
}

// maxFuzz bounds what is fuzzed: a fault shows in a few events, and the fuzzer takes
// minutes to make large inputs smaller.
const maxFuzz = 4 << 10

func FuzzRead(f *testing.F) {
	for _, b := range samples(f) {
		if len(b) <= maxFuzz {
			f.Add(b, uint16(200))
			f.Add(append(bytes.Clone(b), b...), uint16(300))
			f.Add(append(bytes.Clone(b[:len(b)*2/3]), b...), uint16(300))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, window uint16) {
		if len(b) > maxFuzz {
			return
		}
		one, err := ReadAll(context.Background(), bytes.NewReader(b), "", Options{Workers: 1})
		many, err2 := ReadAll(context.Background(), bytes.NewReader(b), "", Options{Workers: 3, Window: int(window)})
		if (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %v, in windows of %d: %v", err, window, err2)
		}
		if err != nil {
			return
		}
		for _, tr := range one {
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(dumpAll(one), dumpAll(many)); d != "" {
			t.Fatalf("window %d: %s", window, d)
		}
	})
}
