package chrome

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/trace"
)

var update = flag.Bool("update", false, "rewrite golden files")

const t0 = int64(1_790_900_000_123_456_789) // after the base 1790857026 s

// sample has one of everything that a native rank records.
func sample() *trace.Trace {
	t := trace.New()
	t.Meta = trace.Meta{
		Format: "native", WallClock: true, Rank: 1, WorldSize: 2, Backend: "gloo", Host: "node\"7",
		StageID: 0, Stage: "thinker", WindowStart: t0, WindowEnd: t0 + 5_000_000,
		ProcessGroups: []trace.ProcessGroup{{Name: "tp", Desc: "tensor parallel", Backend: "gloo", Size: 2,
			Ranks: []int{0, 1}}},
		Extra: map[string]string{"record_shapes": "1", "broken": "{", "schemaVersion": "9"},
	}
	cpu := t.AddTrack(trace.Track{PID: 4242, TID: 7, Device: -1, Stream: -1, Process: "stage0 thinker rank 1",
		Name: "scheduler"})
	req := t.AddTrack(trace.Track{Kind: trace.TrackOther, PID: 4242, TIDText: "requests 0", Device: -1, Stream: -1,
		Name: "requests"})
	gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7, Name: "stream 7"})
	t.AddSlice(trace.Slice{Start: t0 + 1000, Dur: 3_000_007, Name: "ProfilerStep#3", Cat: trace.CatUserAnnotation,
		Track: cpu})
	t.AddSlice(trace.Slice{
		Start: t0 + 2001, Dur: 999, Name: "aten::mm \"x\"\n\xff", Cat: trace.CatCPUOp, Track: cpu,
		Args: []byte(`{"Input Dims": [[2,3],[3,4]], "Input type": ["float","float"], "flops": 48}`),
	})
	t.AddSlice(trace.Slice{Start: t0 + 2500, Dur: 40_000, Name: "kernel", Cat: trace.CatKernel, Track: gpu, Corr: 17,
		Args: []byte(`{"correlation": 17}`)})
	t.AddSlice(trace.Slice{Start: t0, Dur: 4_000_000, Name: "request", Cat: trace.CatUserAnnotation, Track: req,
		Args: []byte(`{"request": "r-1"}`)})
	t.AddFlow(t0+2002, 1<<63+5, "handoff", "handoff", cpu, true)
	t.AddFlow(t0+3000, 1<<63+5, "handoff", "handoff", gpu, false)
	t.AddInstant(t0+2100, "[memory]", trace.CatCPUInstant, cpu,
		[]byte(`{"Device Type": 0, "Device Id": -1, "Addr": 140000000000000, "Bytes": 4096}`))
	t.AddCounter(t0+10, "batch", "running", cpu, 3)
	t.AddCounter(t0+10, "batch", "waiting", cpu, 0.5)
	t.AddCounter(t0+20, "batch", "running", cpu, math.NaN())
	return t
}

func TestWriteGolden(t *testing.T) {
	var b bytes.Buffer
	stats, err := Write(&b, sample(), Options{TraceName: "trace_rank1.json.gz"})
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b.Bytes()) {
		t.Error("output is no JSON")
	}
	if want := (Stats{Events: 23, Dropped: 1}); stats != want {
		t.Errorf("stats %+v, want %+v", stats, want)
	}
	golden(t, "sample.json", b.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// A trace span is written where nothing else tells the window, and for recordings, whose readers expect one; of another
// writer's trace it would be a slice that it does not have.
func TestSpanOfTheRecording(t *testing.T) {
	for _, c := range []struct {
		format string
		end    int64 // of the window; the last slice ends at 30
		span   bool
	}{{"native", 30, true}, {"viztracer", 30, false}, {"kineto", 30, false}, {"kineto", 25, true}} {
		tr := trace.New()
		tr.Meta.Format, tr.Meta.WindowStart, tr.Meta.WindowEnd = c.format, 10, c.end
		k := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
		tr.AddSlice(trace.Slice{Start: 10, Dur: 20, Name: "f", Track: k, Corr: trace.NoCorrelation})
		var b bytes.Buffer
		if _, err := Write(&b, tr, Options{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "PyTorch Profiler"); got != c.span {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func TestWriteGzipWorkers(t *testing.T) {
	var plain bytes.Buffer
	if _, err := Write(&plain, sample(), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{0, 1, 2, 8} {
		var z bytes.Buffer
		if _, err := WriteGzip(&z, sample(), Options{}, workers); err != nil {
			t.Fatal(err)
		}
		r, err := gzip.NewReader(&z)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain.Bytes()) {
			t.Errorf("workers %d: content differs, err %v", workers, err)
		}
	}
}

func TestBaseTime(t *testing.T) {
	for _, c := range []struct{ first, want int64 }{
		{0, 0}, {-5, 0}, {1, 0},
		{1711964646_000000000, 1711964646_000000000},
		{1719853883_999999999, 1711964646_000000000},
		{1719853884_000000000, 1719853884_000000000},
		{1790900000_123456789, 1790857026_000000000},
	} {
		if got := BaseTime(c.first); got != c.want {
			t.Errorf("BaseTime(%d) = %d, want %d", c.first, got, c.want)
		}
	}
}

func TestAppendMicros(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0.000", 1: "0.001", 999: "0.999", 1000: "1.000", 1234567: "1234.567", -1: "-0.001", -1500: "-1.500",
		math.MaxInt64: "9223372036854775.807", math.MinInt64: "-9223372036854775.808",
	} {
		if got := string(appendMicros(nil, ns)); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
}

// failing fails after n bytes.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteReportsError(t *testing.T) {
	for _, n := range []int{0, 100} {
		if _, err := Write(&failing{n}, sample(), Options{}); err == nil {
			t.Errorf("no error after %d bytes", n)
		}
		if _, err := WriteGzip(&failing{n}, sample(), Options{}, 2); err == nil {
			t.Errorf("gzip: no error after %d bytes", n)
		}
	}
}

func TestWriteDoesNotAllocatePerEvent(t *testing.T) {
	big := trace.New()
	id := big.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	for i := range int64(10_000) {
		big.AddSlice(trace.Slice{Start: t0 + i, Dur: 1, Name: "op", Cat: trace.CatCPUOp, Track: id,
			Args: []byte(`{"External id": 123456}`)})
	}
	if n := testing.AllocsPerRun(3, func() { _, _ = Write(io.Discard, big, Options{}) }); n > 100 {
		t.Errorf("%.0f allocations for 10000 events", n)
	}
}
