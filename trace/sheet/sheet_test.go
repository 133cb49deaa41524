package sheet

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

func sample(device bool) *trace.Trace {
	t := trace.New()
	cpu := t.AddTrack(trace.Track{Device: -1, Stream: -1})
	t.AddSlice(trace.Slice{Start: 0, Dur: 5001, Name: "=1+1", Cat: trace.CatUserAnnotation, Track: cpu})
	t.AddSlice(trace.Slice{Start: 10, Dur: 1500, Name: "aten::mm", Cat: trace.CatCPUOp, Track: cpu,
		Args: []byte(`{"Input Dims": [[2,3]]}`)})
	t.AddInstant(20, "[memory]", trace.CatCPUInstant, cpu, []byte(`{"Device Type": 0, "Bytes": 64}`))
	if device {
		gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU})
		t.AddSlice(trace.Slice{Start: 10, Dur: 2000, Name: "gemm\x01", Cat: trace.CatKernel, Track: gpu})
	}
	return t
}

func open(t *testing.T, tr *trace.Trace, o Options) *excelize.File {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, opstats.Collect(tr), o); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestWrite(t *testing.T) {
	f := open(t, sample(false), Options{Shapes: true, Stacks: true})
	if d := cmp.Diff([]string{"summary", "by_shape", "by_stack"}, f.GetSheetList()); d != "" {
		t.Error(d)
	}
	// The columns as vLLM-Omni documents them, in order.
	header := strings.Split(
		"name,count,device_type,node_id,self_cpu_time_total_us,cpu_time_total_us,self_cuda_time_total_us,"+
			"cuda_time_total_us,self_xpu_time_total_us,xpu_time_total_us,self_cpu_memory_usage_bytes,cpu_memory_usage_bytes,"+
			"self_cuda_memory_usage_bytes,cuda_memory_usage_bytes,self_xpu_memory_usage_bytes,xpu_memory_usage_bytes,"+
			"input_shapes,stack,overload_name,is_async,is_legacy", ",")
	row := func(name, self, total, selfMem, mem, shapes, stack string) []string {
		return []string{name, "1", "CPU", "0", self, total, "", "", "", "", selfMem, mem, "0", "0", "", "", shapes,
			stack, "", "FALSE", "FALSE"}
	}
	for sheet, want := range map[string][][]string{
		"summary": {header, row("=1+1", "3.501", "5.001", "0", "64", "", ""),
			row("aten::mm", "1.5", "1.5", "64", "64", "", "")},
		"by_shape": {header, row("=1+1", "3.501", "5.001", "0", "64", "", ""),
			row("aten::mm", "1.5", "1.5", "64", "64", "[[2, 3]]", "")},
		"by_stack": {header, row("=1+1", "3.501", "5.001", "0", "64", "", ""),
			row("aten::mm", "1.5", "1.5", "64", "64", "", "=1+1")},
	} {
		rows, err := f.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, rows); d != "" {
			t.Errorf("%s (-want +got):\n%s", sheet, d)
		}
		panes, err := f.GetPanes(sheet)
		if err != nil || !panes.Freeze || panes.YSplit != 1 || panes.TopLeftCell != "A2" {
			t.Errorf("%s: panes %+v, %v", sheet, panes, err)
		}
		if formula, err := f.GetCellFormula(sheet, "A2"); err != nil || formula != "" {
			t.Errorf("%s: a name became the formula %q, %v", sheet, formula, err)
		}
	}
	filters := 0
	for _, n := range f.GetDefinedName() {
		if strings.Contains(n.Name, "FilterDatabase") && strings.HasSuffix(n.RefersTo, "$A$1:$U$3") {
			filters++
		}
	}
	if filters != 3 {
		t.Errorf("%d filters: %+v", filters, f.GetDefinedName())
	}
}

func TestWriteDevice(t *testing.T) {
	f := open(t, sample(true), Options{})
	rows, err := f.GetRows("summary")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 || rows[3][2] != "CUDA" || rows[3][6] != "2" || rows[1][6] != "0" {
		t.Errorf("%q", rows)
	}
	tr := sample(true)
	tr.Meta.Backend = "xccl"
	rows, err = open(t, tr, Options{}).GetRows("summary")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 || rows[3][2] != "XPU" || rows[3][6] != "" || rows[3][8] != "2" || rows[1][12] != "" ||
		rows[1][14] != "0" {
		t.Errorf("Intel's card: %q", rows)
	}
	if len(f.GetSheetList()) != 1 {
		t.Errorf("sheets %q", f.GetSheetList())
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	var first []byte
	for range 30 { // each has a chance of 1 in 6 to pass if sheets come in random order
		var b bytes.Buffer
		if err := Write(&b, opstats.Collect(sample(true)), Options{Shapes: true, Stacks: true}); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
		}
		if !bytes.Equal(first, b.Bytes()) {
			t.Fatal("the same trace gave other bytes")
		}
	}
}

func TestText(t *testing.T) {
	long := strings.Repeat("é", maxCellText)
	if got := text(long); len(got) > maxCellText || !utf8.ValidString(got) || !strings.HasPrefix(long, got) {
		t.Errorf("%d bytes", len(got))
	}
	if got := text("a\xffb"); got != "a\uFFFDb" {
		t.Errorf("%q", got)
	}
}

func TestWriteEmpty(t *testing.T) {
	rows, err := open(t, trace.New(), Options{}).GetRows("summary")
	if err != nil || len(rows) != 1 {
		t.Errorf("%q, %v", rows, err)
	}
}
