package write

import (
	"bytes"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

// TestDeviceAnnotationStaysOnItsStream: annotations of a device name neither device nor stream. They are on the
// stream of the work that they span after every way through formats that are read and written.
func TestDeviceAnnotationStaysOnItsStream(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{PID: 4711, TID: 4711, Device: -1, Stream: -1, Name: "python"})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 2, TID: 7, Device: 2, Stream: 7, Name: "stream 7"})
	tr.AddSlice(trace.Slice{Start: 0, Dur: 5, Name: "aten::mm", Cat: trace.CatCPUOp, Track: host})
	tr.AddSlice(trace.Slice{Start: 10, Dur: 50, Name: "step", Cat: trace.CatGPUUserAnnotation, Track: gpu})
	tr.AddSlice(trace.Slice{Start: 20, Dur: 30, Name: "gemm", Cat: trace.CatKernel, Track: gpu, Corr: 1,
		Args: []byte(`{"device": 2, "stream": 7, "correlation": 1}`)})
	for _, way := range [][]string{{"kineto"}, {"perfetto"}, {"perfetto", "kineto"}, {"kineto", "perfetto", "kineto"}} {
		got := tr
		for _, name := range way {
			got = through(t, name, got)
		}
		at := map[string]trace.Track{}
		for i, id := range got.Slices.Name {
			at[got.String(id)] = got.Tracks[got.Slices.Track[i]]
		}
		if k, a := at["gemm"], at["step"]; k != a || k.Kind != trace.TrackGPU || k.Device != 2 || k.Stream != 7 {
			t.Errorf("by %v the kernel came to %+v, its annotation to %+v", way, k, a)
		}
	}
}

// TestWindowIsKept: when recording began and ended is more than its slices tell.
func TestWindowIsKept(t *testing.T) {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1, Name: "python"})
	spans := tr.AddTrack(trace.Track{Kind: trace.TrackOther, PIDText: "Spans", TIDText: "p", Device: -1, Stream: -1})
	tr.AddSlice(trace.Slice{Start: 1000, Dur: 8000, Name: "PyTorch Profiler (0)", Cat: trace.CatTraceSpan,
		Track: spans})
	tr.AddSlice(trace.Slice{Start: 3000, Dur: 1000, Name: "aten::mm", Cat: trace.CatCPUOp, Track: k})
	tr.AddInstant(12000, trace.NameWindowEnd, trace.CatOther, spans, nil)
	tr.Window()
	for _, name := range []string{"kineto", "perfetto"} {
		if m := through(t, name, tr).Meta; m.WindowStart != 1000 || m.WindowEnd != 12000 {
			t.Errorf("%s: the window is %d to %d, want 1000 to 12000", name, m.WindowStart, m.WindowEnd)
		}
	}
}

// through returns what is read of t written in a format.
func through(t *testing.T, name string, tr *trace.Trace) *trace.Trace {
	t.Helper()
	f, ok := format.Lookup(name)
	if !ok {
		t.Fatal("no format", name)
	}
	var out bytes.Buffer
	w := f.Create(&out, format.WriteOptions{Workers: 1})
	if err := w.Add(t.Context(), format.Rank{Trace: tr, Name: "rank 0"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := f.Read(t.Context(), format.Input{Name: name, R: &out}, format.Options{Workers: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d traces, %v", name, len(list), err)
	}
	return list[0]
}
