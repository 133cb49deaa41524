package table

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
)

func sample() *trace.Trace {
	tr := trace.New()
	tr.Meta.StageID, tr.Meta.Rank, tr.Meta.Stage = -1, 2, "talker"
	host := tr.AddTrack(trace.Track{Process: "python", Name: "main", PID: 5, TID: 6, Device: -1, Stream: -1})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 1, Stream: 7})
	add := func(s trace.Slice) { tr.AddSlice(s) }
	add(trace.Slice{Start: 100, Dur: 90, Name: "aten::mm", Cat: trace.CatCPUOp, Track: host, Args: []byte(`{"a": 1}`)})
	add(trace.Slice{Start: 110, Dur: 20, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime, Track: host, Corr: 3})
	add(trace.Slice{Start: 150, Dur: 70, Name: "gemm", Cat: trace.CatKernel, Track: gpu, Corr: 3})
	tr.AddFlow(115, 255, "ac2g", "ac2g", host, true)
	tr.AddFlow(150, 255, "ac2g", "ac2g", gpu, false)
	tr.AddCounter(120, "queue", "depth", host, 0.5)
	tr.AddInstant(130, "[memory]", trace.CatCPUInstant, host, nil)
	return tr
}

func named(t *testing.T, name string) *Table {
	t.Helper()
	for _, table := range Of(Rank{Trace: sample(), Name: "x"}) {
		if table.Name == name {
			return &table
		}
	}
	t.Fatalf("no table %s", name)
	return nil
}

// What a trace does not say is null; what it says is in its column.
func TestRows(t *testing.T) {
	who := []any{"x", nil, "talker", int64(0), int64(2)}
	for name, want := range map[string][][]any{
		"slices": {
			{int64(0), nil, int64(0), int64(100), int64(90), int64(70), "aten::mm", "cpu_op", "host", int64(0),
				int64(0), nil, nil, nil, `{"a": 1}`},
			{int64(1), int64(0), int64(0), int64(110), int64(20), int64(20), "cudaLaunchKernel", "cuda_runtime",
				"runtime", int64(1), int64(0), nil, nil, int64(3), nil},
			{int64(2), nil, int64(1), int64(150), int64(70), int64(70), "gemm", "kernel", "device", int64(0), int64(0),
				int64(1), int64(7), int64(3), nil},
		},
		"flows": {
			{"00000000000000ff", int64(115), "start", "ac2g", "ac2g", int64(0)},
			{"00000000000000ff", int64(150), "end", "ac2g", "ac2g", int64(1)},
		},
		"counters": {{int64(120), "queue", "depth", 0.5, int64(0)}},
		"instants": {{int64(130), "[memory]", "cpu_instant_event", int64(0), nil}},
		"tracks": {
			{int64(0), "cpu", int64(5), int64(6), "python", "main", nil, nil, int64(2)},
			{int64(1), "gpu", int64(0), int64(0), nil, nil, int64(1), int64(7), int64(1)},
		},
	} {
		table := named(t, name)
		if table.Rows != len(want) {
			t.Errorf("%s: %d rows", name, table.Rows)
			continue
		}
		for i, row := range table.All() {
			if d := cmp.Diff(append(who[:len(who):len(who)], want[i]...), row); d != "" {
				t.Errorf("%s row %d (-want +got):\n%s", name, i, d)
			}
		}
	}
}

// Every table and column says what it is, and names are unique.
func TestDocumented(t *testing.T) {
	for _, table := range Of(Rank{Trace: sample()}) {
		seen := map[string]bool{}
		for _, c := range table.Columns {
			if c.Doc == "" || seen[c.Name] {
				t.Errorf("column %s.%s: %q", table.Name, c.Name, c.Doc)
			}
			seen[c.Name] = true
			if got, ok := table.Column(c.Name); !ok || got.Doc != c.Doc {
				t.Errorf("column %s.%s is not found", table.Name, c.Name)
			}
		}
		if table.Doc == "" {
			t.Errorf("table %s says nothing", table.Name)
		}
	}
}

// Rows of ops are the operators' own numbers.
func TestOps(t *testing.T) {
	table := named(t, "ops")
	self, _ := table.Column("self_device")
	name, _ := table.Column("name")
	for i := range table.Rows {
		n, _ := name.Text(i)
		if ns, _ := self.Int(i); n == "aten::mm" && ns != 70 {
			t.Errorf("aten::mm launched %d ns", ns)
		}
	}
}
