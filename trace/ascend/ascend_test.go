package ascend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

const view = `[{"name":"process_name","pid":100,"tid":0,"ph":"M","args":{"name":"Python"}},
{"name":"process_name","pid":200,"tid":0,"ph":"M","args":{"name":"CANN"}},
{"name":"process_name","pid":300,"tid":0,"ph":"M","args":{"name":"Ascend Hardware"}},
{"name":"process_name","pid":400,"tid":0,"ph":"M","args":{"name":"HCCL"}},
{"name":"process_name","pid":600,"tid":0,"ph":"M","args":{"name":"Overlap Analysis"}},
{"name":"thread_name","pid":300,"tid":2,"ph":"M","args":{"name":"Stream 17"}},
{"name":"aten::mm","pid":100,"tid":11,"ts":"1712000000000001.500","dur":10.25,"ph":"X","cat":"cpu_op","args":{"Sequence number":12}},
{"name":"AscendCL@aclnnMm","pid":200,"tid":11,"ts":"1712000000000003.000","dur":2.0,"ph":"X","args":{"connection_id":"4321"}},
{"name":"MatMulV2","pid":300,"tid":2,"ts":"1712000000000020.125","dur":55.5,"ph":"X","args":{"Task Type":"AI_CORE","connection_id":4321}},
{"name":"EVENT_WAIT","pid":300,"tid":2,"ts":"1712000000000080.125","dur":5,"ph":"X","args":{"Task Type":"EVENT_WAIT"}},
{"name":"hcom_allReduce__1","pid":400,"tid":3,"ts":"1712000000000080.000","dur":5.0,"ph":"X","args":{"connection_id":4400}},
{"name":"Computing","pid":600,"tid":1,"ts":"1712000000000020.125","dur":55.5,"ph":"X"},
{"name":"async_npu","ph":"s","id":"4321","pid":100,"tid":11,"ts":"1712000000000003.000","cat":"async_npu"}`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node1_42_20260102030405678_ascend_pt")
	write(t, filepath.Join(dir, outputDir, viewFile), view) // no closing bracket: parsing was interrupted
	write(t, filepath.Join(dir, "profiler_info_5.json"), `{"rank_id": 5, "torch_npu_version": "2.7.1"}`)
	write(t, filepath.Join(dir, "profiler_metadata.json"),
		`{"parallel_group_info": {"g0": {"group_name": "tp", "group_rank": 1, "global_ranks": [4, 5]}}}`)
	if err := os.MkdirAll(filepath.Join(dir, "PROF_1_2_ABC", "device_3"), 0o755); err != nil {
		t.Fatal(err)
	}
	tr, err := ReadDir(context.Background(), dir, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Error(err)
	}
	type row struct {
		Name, Cat           string
		Kind                trace.TrackKind
		Device, Stream      int64
		Corr                int64
		Start, Microseconds int64
	}
	var got []row
	for i := range tr.Slices.Len() {
		k := tr.Tracks[tr.Slices.Track[i]]
		got = append(got, row{tr.String(tr.Slices.Name[i]), tr.CategoryText(tr.Slices.Cat[i]), k.Kind, k.Device,
			k.Stream,
			tr.Slices.Corr[i], tr.Slices.Start[i] - 1712000000000000000, tr.Slices.Dur[i] / 1000})
	}
	want := []row{
		{"aten::mm", "cpu_op", trace.TrackCPU, -1, -1, -1, 1500, 10},
		{"AscendCL@aclnnMm", "privateuse1_runtime", trace.TrackCPU, -1, -1, 4321, 3000, 2},
		{"MatMulV2", "kernel", trace.TrackGPU, 3, 17, 4321, 20125, 55},
		{"EVENT_WAIT", "cuda_sync", trace.TrackGPU, 3, 17, -1, 80125, 5},
		{"hcom_allReduce__1", "collective_comm", trace.TrackGPU, 3, -1, 4400, 80000, 5},
		{"Computing", "", trace.TrackOther, -1, -1, -1, 20125, 55},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if m := tr.Meta; m.Rank != 5 || m.WorldSize != 2 || m.Format != "ascend" || !m.WallClock ||
		len(m.ProcessGroups) != 1 {
		t.Errorf("meta %+v", m)
	}
	if n := tr.Repairs.Count[trace.RepairTruncatedFile]; n != 0 {
		t.Errorf("a missing bracket behind a whole event counted %d times", n)
	}
	if n := tr.Repairs.Count[trace.RepairTextTime]; n != 0 {
		t.Errorf("times as text count as %d repairs", n)
	}
}

// A rank hands the view over in an envelope that says who it is, with its regions behind
// torch_npu's events.
func TestHandedOverByARank(t *testing.T) {
	text := `{"schemaVersion": 1, "stage_id": 1, "stage": "dit", "replica": 0, "distributedInfo": {"backend": "hccl", "rank": 3, "world_size": 4}, "traceEvents": ` + view + `,
{"ph": "X", "cat": "user_annotation", "name": "denoise_step", "pid": 100, "tid": 11, "ts": "1712000000000000.000", "dur": 90.001, "args": {"step": 5, "requests": "a"}}
]}`
	tr, err := kineto.Read(t.Context(), strings.NewReader(text), kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if tr.Meta.Format != "ascend" {
		t.Fatalf("format %s", tr.Meta.Format)
	}
	Classify(tr)
	if m := tr.Meta; m.Stage != "dit" || m.StageID != 1 || m.Rank != 3 || m.WorldSize != 4 || !m.WallClock {
		t.Errorf("%+v", m)
	}
	// the region stands behind what it holds
	if tr.Repairs.Total() != 1 || tr.Repairs.Count[trace.RepairUnsorted] != 1 {
		t.Errorf("repairs %v", &tr.Repairs)
	}
	kernels := 0
	for i, c := range tr.Slices.Cat {
		if c == trace.CatKernel {
			kernels++
		}
		if tr.String(tr.Slices.Name[i]) == "denoise_step" {
			requests, _ := tr.ArgText(i, trace.ArgRequests)
			if c != trace.CatUserAnnotation || requests != "a" || tr.Slices.Dur[i] != 90_001 ||
				tr.Slices.Start[i] != 1712000000000000000 {
				t.Errorf("region: %v of %q, %d ns at %d", c, requests, tr.Slices.Dur[i], tr.Slices.Start[i])
			}
		}
	}
	if kernels != 1 {
		t.Errorf("%d kernels", kernels)
	}
}

func TestRawOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dp0_pp0_tp0_rank0_1_2_ascend_pt")
	write(t, filepath.Join(dir, "FRAMEWORK", "torch.op_range"), "x")
	_, err := ReadDir(context.Background(), dir, kineto.Options{})
	var raw *RawOnlyError
	if !errors.As(err, &raw) || !strings.Contains(err.Error(), "analyse(") {
		t.Errorf("error %v", err)
	}
	if _, err := ReadDir(context.Background(), dir+"x", kineto.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if !IsDir(dir) || IsDir(filepath.Dir(dir)) {
		t.Error("IsDir")
	}
}

func TestTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernel_details.csv")
	write(t, path,
		"\xef\xbb\xbfStep Id,Name,Start Time(us)\t,Duration(us),Wait Time(us)\n,MatMul\t,1712000000000001.5\t,3.25,N/A\nx,\"a\"b\",1,2,3\n1,2,3,4,5,6,7\n\xb2\xe2,short\n")
	tb, err := ReadTable(path)
	if err != nil {
		t.Fatal(err)
	}
	if v := tb.Text(0, "Start Time(us)"); v != "1712000000000001.5" {
		t.Errorf("text %q", v)
	}
	if v, ok := tb.Float(0, "duration (us)"); !ok || v != 3.25 {
		t.Errorf("float %v %v", v, ok)
	}
	if _, ok := tb.Float(0, "Wait Time(us)"); ok {
		t.Error("N/A is a number")
	}
	if v := tb.Text(0, "Block Num", "Name"); v != "MatMul" {
		t.Errorf("second column: %q", v)
	}
	if tb.Dropped != 1 || len(tb.Rows) != 3 || tb.Text(2, "Duration(us)") != "" {
		t.Errorf("%d rows, %d dropped", len(tb.Rows), tb.Dropped)
	}
}

func FuzzTable(f *testing.F) {
	f.Add("a,b\n1,2\n")
	f.Add("\xef\xbb\xbfa\n\"")
	f.Fuzz(func(t *testing.T, s string) {
		tb, err := parseTable(strings.NewReader(s))
		if err != nil {
			return
		}
		for i := range tb.Rows {
			for _, h := range tb.Header {
				tb.Text(i, h)
			}
		}
	})
}

// npu writes operators, CANN calls and hardware rows that only arrows join: of an
// operator's own, of CANN's, or both.
func npu(fromOp, fromCANN bool) string {
	var b strings.Builder
	b.WriteString(`[{"ph":"M","name":"process_name","pid":1,"args":{"name":"Python"}},{"ph":"M","name":"process_name","pid":2,"args":{"name":"CANN"}},` +
		`{"ph":"M","name":"process_name","pid":3,"args":{"name":"Ascend Hardware"}}`)
	row := func(format string, a ...any) { fmt.Fprintf(&b, ",\n"+format, a...) }
	for i := range 5 {
		at := 1_700_000_000_000_000 + 300*i
		row(`{"ph":"X","cat":"cpu_op","name":"aten::mul","pid":1,"tid":5,"ts":"%d.000","dur":50}`, at)
		row(`{"ph":"X","name":"AscendCL@aclnnMul","pid":2,"tid":6,"ts":"%d.000","dur":20,"args":{"connection_id":%d}}`,
			at+20, 100+2*i)
		for k := range 2 { // one operator, two tasks
			begin := at + 90 + 40*k
			row(`{"ph":"X","name":"Mul%d","pid":3,"tid":7,"ts":"%d.000","dur":30,"args":{"Task Type":"AI_VECTOR_CORE","connection_id":%d}}`, k, begin, 7000+2*i+k)
			if fromOp {
				row(`{"ph":"s","cat":"async_npu","name":"torch_to_npu","id":%d,"pid":1,"tid":5,"ts":"%d.000"}`, 10*i+k,
					at+10)
				row(`{"ph":"f","bp":"e","cat":"async_npu","name":"torch_to_npu","id":%d,"pid":3,"tid":7,"ts":"%d.000"}`,
					10*i+k, begin)
			}
			if fromCANN {
				id := uint64(7000+2*i+k)<<32 - 1
				row(`{"ph":"s","cat":"HostToDevice","name":"HostToDevice%d","id":"%d","pid":2,"tid":6,"ts":"%d.000"}`,
					i, id, at+25)
				row(`{"ph":"f","bp":"e","cat":"HostToDevice","name":"HostToDevice%d","id":"%d","pid":3,"tid":7,"ts":"%d.000"}`, i, id, begin)
			}
		}
	}
	b.WriteString("]")
	return b.String()
}

// TestLinkedByArrows: every hardware row has a launch, on the thread that the surest arrow
// comes from.
func TestLinkedByArrows(t *testing.T) {
	for name, c := range map[string]struct {
		fromOp, fromCANN bool
		launches         int
		process          string
	}{"operator": {true, false, 5, "Python"}, "CANN": {false, true, 5, "CANN"}, "both": {true, true, 5, "Python"},
		"none": {false, false, 0, ""}} {
		tr, err := kineto.Read(t.Context(), strings.NewReader(npu(c.fromOp, c.fromCANN)), kineto.Options{})
		if err != nil {
			t.Fatal(err)
		}
		Classify(tr)
		if err := tr.Validate(); err != nil {
			t.Fatal(err)
		}
		calls, linked := map[int64]string{}, map[int64]int{}
		for i, cat := range tr.Slices.Cat {
			if cat == trace.CatPrivateRuntime {
				calls[tr.Slices.Corr[i]] = tr.Tracks[tr.Slices.Track[i]].Process
			}
		}
		work := 0
		for i, cat := range tr.Slices.Cat {
			if cat == trace.CatKernel {
				if p, ok := calls[tr.Slices.Corr[i]]; ok {
					linked[tr.Slices.Corr[i]]++
					work++
					if p != c.process {
						t.Errorf("%s: launched on %s", name, p)
					}
				}
			}
		}
		if len(linked) != c.launches || work != 2*c.launches {
			t.Errorf("%s: %d rows of %d launches", name, work, len(linked))
		}
	}
}
