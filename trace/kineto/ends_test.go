package kineto_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// TestEndsWithoutCategory: an end row closes what began last on its thread or on the device's lane of the same
// numbers, also where it says nothing of itself.
func TestEndsWithoutCategory(t *testing.T) {
	list, err := kineto.ReadAll(t.Context(), strings.NewReader(`{"traceEvents": [
{"ph": "B", "cat": "cpu_op", "name": "op", "pid": 0, "tid": 7, "ts": 1},
{"ph": "B", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 2, "args": {"device": 0, "stream": 7}},
{"ph": "E", "pid": 0, "tid": 7, "ts": 4},
{"ph": "E", "pid": 0, "tid": 7, "ts": 9},
{"ph": "B", "cat": "gpu_memcpy", "name": "c", "pid": 1, "tid": 8, "ts": 10, "args": {"device": 1, "stream": 8}},
{"ph": "E", "pid": 1, "tid": 8, "ts": 13},
{"ph": "E", "pid": 1, "tid": 8, "ts": 14}
]}`), "ends.json", kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tr := list[0]
	got := map[string][2]int64{}
	for i := range tr.Slices.Start {
		name := tr.String(tr.Slices.Name[i])
		if tr.Tracks[tr.Slices.Track[i]].Kind == trace.TrackGPU {
			name += " on a device"
		}
		got[name] = [2]int64{tr.Slices.Start[i], tr.Slices.Dur[i]}
	}
	want := map[string][2]int64{"op": {1000, 8000}, "k on a device": {2000, 2000}, "c on a device": {10000, 3000}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if tr.Repairs.Count[trace.RepairUnmatchedEnd] != 1 || len(tr.Tracks) != 3 {
		t.Errorf("%v, %d tracks", tr.Repairs, len(tr.Tracks))
	}
}
