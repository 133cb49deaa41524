package write

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

func sample() *trace.Trace {
	t := trace.New()
	t.Meta.WallClock, t.Meta.Rank, t.Meta.StageID = true, -1, -1
	k := t.AddTrack(trace.Track{PID: 1, TID: 2, Device: -1, Stream: -1, Name: "main"})
	t.AddSlice(trace.Slice{Start: 1_700_000_000_000_000_000, Dur: 5000, Name: "aten::mm", Cat: trace.CatCPUOp, Track: k,
		Corr: trace.NoCorrelation})
	g := t.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7})
	t.AddSlice(trace.Slice{Start: 1_700_000_000_000_001_000, Dur: 3000, Name: "gemm", Cat: trace.CatKernel, Track: g,
		Corr: trace.NoCorrelation})
	return t
}

// Every format that is written writes one rank and two, refuses none, and ends early with
// its context.
func TestWriters(t *testing.T) {
	written := 0
	for _, f := range format.All() {
		if f.Create == nil {
			continue
		}
		written++
		for n := range 3 {
			var out bytes.Buffer
			w := f.Create(&out, format.WriteOptions{Name: "x", Workers: 2, StartNs: 1_700_000_000_000_000_000,
				Ranks: n})
			for range n {
				later := func(ns int64) int64 { return ns + 1000 }
				if err := w.Add(t.Context(), format.Rank{Trace: sample(), Name: "rank 0", Clock: later}); err != nil {
					t.Fatal(f.Name, err)
				}
			}
			err := w.Close(t.Context())
			switch {
			case n == 0 && f.Name != "perfetto" && err == nil:
				t.Errorf("%s of nothing: no error", f.Name)
			case n > 0 && (err != nil || out.Len() == 0):
				t.Errorf("%s of %d ranks: %d bytes, %v", f.Name, n, out.Len(), err)
			case n > 0 && f.Sniff != nil && !f.Sniff(unpacked(t, out.Bytes())):
				t.Errorf("%s of %d ranks is not known by its beginning", f.Name, n)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := f.Create(&bytes.Buffer{}, format.WriteOptions{Ranks: 1})
		if err := w.Add(ctx, format.Rank{Trace: sample()}); err == nil {
			t.Errorf("%s goes on after its context", f.Name)
		}
		_ = w.Close(t.Context())
	}
	if written < 5 {
		t.Errorf("%d formats are written", written)
	}
}

func unpacked(t *testing.T, b []byte) []byte {
	t.Helper()
	u, err := unpack.New(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	out, err := io.ReadAll(u)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestForPath(t *testing.T) {
	for path, want := range map[string]string{
		"a.pftrace": "perfetto ", "dir/A.JSON": "kineto ", "a.json.gz": "kineto .gz", "a.json.zst": "kineto .zst",
		"a.speedscope.json": "speedscope ", "a.speedscope.json.gz": "speedscope .gz", "a.pb.gz": "pprof ",
		"a.parquet": "parquet ", "a.xlsx": "xlsx ", "a.folded": "folded ", "a.folded.gz": "folded .gz",
		"a.device.folded": "folded-device ", "a.xlsx.gz": "",
		"a.parquet.gz": "", "a": "", "a.gz": "", "a.ksrec": "",
	} {
		f, c, err := format.ForPath(path)
		if got := f.Name + " " + string(c); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
