package analysis

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
)

// A Perfetto file has counters in place of allocations: all is known but who made them.
func TestMemoryOfCounters(t *testing.T) {
	for _, name := range []string{
		filepath.Join("trace", "kineto", "testdata", "torch_shapes_memory_flops.json.gz"),
		filepath.Join("analysis", "testdata", "torch_cpu.json.gz"),
	} {
		list, err := open.Files(t.Context(), []string{filepath.Join("..", name)}, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, name, list[0])
	}
	tr := trace.New() // a card of another kind, which held something when the recording began
	track := tr.AddTrack(trace.Track{})
	tr.AddSlice(trace.Slice{Start: 0, Dur: 50, Name: "aten::empty", Cat: trace.CatCPUOp, Track: track})
	for i, args := range []string{
		`{"Device Type": 12, "Device Id": 3, "Bytes": 100, "Addr": 1, "Total Allocated": 1100, "Total Reserved": 4096}`,
		`{"Device Type": 0, "Device Id": -1, "Bytes": 8, "Addr": 2, "Total Allocated": 8, "Total Reserved": 0}`,
		`{"Device Type": 12, "Device Id": 3, "Bytes": 200, "Addr": 3, "Total Allocated": 1300, "Total Reserved": 8192}`,
		`{"Device Type": 12, "Device Id": 3, "Bytes": -100, "Addr": 1, "Total Allocated": 1200, "Total Reserved": 8192}`,
	} {
		tr.AddInstant(int64(10*i), trace.NameMemory, trace.CatCPUInstant, track, []byte(args))
	}
	same(t, "two devices", tr)
}

// same compares the memory of tr with that of a Perfetto file of it.
func same(t *testing.T, name string, tr *trace.Trace) {
	t.Helper()
	want := Memory(tr, Options{})
	if len(want.Devices) == 0 || want.FromCounters {
		t.Fatalf("%s: %+v", name, want)
	}
	var b bytes.Buffer
	w := perfetto.NewWriter(&b, 100)
	for _, seq := range w.AddRank(tr, perfetto.RankOptions{}) {
		for e := range seq {
			w.Emit(e)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	read, err := perfetto.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	got := Memory(read, Options{})
	if !got.FromCounters {
		t.Errorf("%s: not from counters", name)
	}
	ignore := cmpopts.IgnoreFields(DeviceMemory{}, "ByOp", "FreedBeforeTime", "Events", "Series", "PeakTimeNs")
	if d := cmp.Diff(want.Devices, got.Devices, ignore); d != "" {
		t.Errorf("%s (-trace +file):\n%s", name, d)
	}
	for i := range got.Devices {
		if g, w := got.Devices[i], want.Devices[i]; len(g.ByOp) != 0 || g.PeakTimeNs-g.Series[0].TimeNs !=
			w.PeakTimeNs-w.Series[0].TimeNs {
			t.Errorf("%s: the peak is at %d, want %d; by operator %v", name, g.PeakTimeNs, w.PeakTimeNs, g.ByOp)
		}
	}
}
