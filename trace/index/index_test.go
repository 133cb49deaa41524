package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// draw makes a trace with rows of every kind.
func draw(t *rapid.T) *trace.Trace {
	tr := trace.New()
	tr.Meta.Extra = map[string]string{"k": rapid.String().Draw(t, "extra")}
	tr.Repairs.Add(trace.RepairQuote, 3)
	k := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 1, Device: 2, Stream: 3, Name: "stream 3"})
	for range rapid.IntRange(0, 20).Draw(t, "rows") {
		name := rapid.StringN(0, 5, 20).Draw(t, "name")
		at := rapid.Int64Range(0, 1<<60).Draw(t, "at")
		args := []byte(`{"correlation": 123456, "x": [1, 2]}`)
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: name, Cat: tr.Category("odd"), Track: k, Corr: at,
				Args: args})
		case 1:
			tr.AddInstant(at, name, trace.CatCPUInstant, k, args)
		case 2:
			tr.AddCounter(at, name, "s", k, 1.5)
		case 3:
			tr.AddFlow(at, 7, "ac2g", name, k, at%2 == 0)
		}
	}
	return tr
}

func equal(t interface{ Errorf(string, ...any) }, want, got *trace.Trace) {
	for what, pair := range map[string][2]any{
		"meta": {want.Meta, got.Meta}, "tracks": {want.Tracks, got.Tracks}, "slices": {want.Slices, got.Slices},
		"instants": {want.Instants, got.Instants}, "counters": {want.Counters, got.Counters},
		"flows":   {want.Flows, got.Flows},
		"repairs": {want.Repairs, got.Repairs}, "texts": {want.Strings.Texts(), got.Strings.Texts()},
		"categories": {want.Categories(), got.Categories()},
	} {
		if d := cmp.Diff(pair[0], pair[1], cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	for i, r := range want.Slices.Args {
		if !bytes.Equal(want.Args(r), got.Args(got.Slices.Args[i])) {
			t.Errorf("args of slice %d", i)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := draw(rt)
		var b bytes.Buffer
		if err := Write(&b, tr, Stamp{1, 2}); err != nil {
			rt.Fatal(err)
		}
		got, err := Read(b.Bytes(), Stamp{1, 2})
		if err != nil {
			rt.Fatal(err)
		}
		equal(rt, tr, got)
		if err := got.Validate(); err != nil {
			rt.Fatal(err)
		}
		if len(got.Args(got.AddArgs([]byte(`{"correlation": 123456, "x": [1, 2]}`)))) == 0 ||
			got.Intern("new text") == 0 {
			rt.Fatal("a restored trace cannot be added to")
		}
		if _, err := Read(b.Bytes(), Stamp{1, 3}); !errors.Is(err, ErrStale) {
			rt.Fatalf("other file: %v", err)
		}
		bad := bytes.Clone(b.Bytes())
		bad[rapid.IntRange(8, len(bad)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		if _, err := Read(bad, Stamp{1, 2}); !errors.Is(err, ErrCorrupt) {
			rt.Fatalf("flipped bit: %v", err)
		}
		cut := b.Bytes()[:rapid.IntRange(0, b.Len()-1).Draw(rt, "cut")]
		if _, err := Read(cut, Stamp{1, 2}); !errors.Is(err, ErrCorrupt) {
			rt.Fatalf("cut: %v", err)
		}
	})
}

func TestCache(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "trace.json")
	text := []byte(`{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": 1, "ts": 1.5, "dur": 2, "args": {"x": 12345}}]}`)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := kineto.ReadFile(context.Background(), file, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Cache{"beside": {Beside: true}, "dir": {Dir: filepath.Join(dir, "cache", "deep")}} {
		if _, err := c.Load(file, nil); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: before saving: %v", name, err)
		}
		if err := c.Save(file, tr); err != nil {
			t.Fatal(err)
		}
		got, err := c.Load(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, tr, got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := (Cache{Beside: true}).Load(file, nil); !errors.Is(err, ErrStale) {
		t.Errorf("touched file: %v", err)
	}
	if _, err := (Cache{}).Load(file, nil); !errors.Is(err, ErrOff) {
		t.Errorf("no cache: %v", err)
	}
	if _, err := (Cache{Beside: true, MinSize: 1 << 20}).Load(file, nil); !errors.Is(err, ErrOff) {
		t.Errorf("small file: %v", err)
	}
	if err := (Cache{}).Save(file, tr); err != nil {
		t.Error(err)
	}
}

// TestPacked keeps arguments that no template repays.
func TestPacked(t *testing.T) {
	tr := trace.New()
	tr.AddTrack(trace.Track{})
	texts := make([]string, 20_000)
	for i := range texts {
		h := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		texts[i] = fmt.Sprintf(`{"a": "%s"}`, base64.StdEncoding.EncodeToString(h[:]))
		tr.AddSlice(trace.Slice{Start: int64(i), Args: []byte(texts[i])})
	}
	var b bytes.Buffer
	if err := Write(&b, tr, Stamp{}); err != nil {
		t.Fatal(err)
	}
	if len(tr.PackedArgs()) == 0 {
		t.Fatal("nothing packed")
	}
	got, err := Read(b.Bytes(), Stamp{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range texts {
		if raw := string(got.Args(got.Slices.Args[i])); raw != want {
			t.Fatalf("slice %d: %s, want %s", i, raw, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	tr := trace.New()
	tr.AddTrack(trace.Track{})
	tr.AddSlice(trace.Slice{Name: "a", Dur: 1, Args: []byte(`{"a": 12345}`)})
	var b bytes.Buffer
	if err := Write(&b, tr, Stamp{}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[8 : b.Len()-8])
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 16<<10 { // a fault shows in less, and making inputs smaller takes minutes
			return
		}
		got, err := Read(sealed(body), Stamp{})
		if err != nil {
			return
		}
		for i := range got.Slices.Len() {
			got.String(got.Slices.Name[i])
			got.Args(got.Slices.Args[i])
			got.CategoryText(got.Slices.Cat[i])
		}
		if len(got.Tracks) > 0 {
			got.Index()
		}
	})
}
