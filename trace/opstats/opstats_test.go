package opstats

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// sample has nesting, launches on a device, Python frames, memory and an async lane.
func sample() *trace.Trace {
	t := trace.New()
	cpu := t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	req := t.AddTrack(trace.Track{Kind: trace.TrackOther, Device: -1, Stream: -1})
	add := func(start, dur int64, name string, cat trace.Category, track trace.TrackID, corr int64, args string) {
		t.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: cat, Track: track, Corr: corr,
			Args: []byte(args)})
	}
	add(0, 1000, "step", trace.CatUserAnnotation, cpu, 0, "")
	add(10, 900, "model.py(3): forward", trace.CatPythonFunction, cpu, 0, "")
	add(100, 300, "aten::linear", trace.CatCPUOp, cpu, 0, `{"Input Dims": [[2,3],[3, 4]]}`)
	add(120, 200, "aten::mm", trace.CatCPUOp, cpu, 0, `{"Input Dims": [[2,3],[3,4]], "flops": 48}`)
	add(200, 50, "cudaLaunchKernel", trace.CatCUDARuntime, cpu, 9, "")
	add(500, 100, "aten::mm", trace.CatCPUOp, cpu, 0,
		`{"Input Dims": [[8,8],[8,8]], "flops": 1024, "Call stack": "a.py(1): f;b.py(2): g"}`)
	add(260, 400, "gemm", trace.CatKernel, gpu, 9, "")
	add(700, 70, "gemm", trace.CatKernel, gpu, 33, "") // launched before the window
	add(255, 410, "step", trace.CatGPUUserAnnotation, gpu, 0, "")
	add(0, 5000, "request", trace.CatUserAnnotation, req, 0, "")
	t.AddInstant(150, "[memory]", trace.CatCPUInstant, cpu, []byte(`{"Device Type": 0, "Bytes": 64}`))
	t.AddInstant(400, "[memory]", trace.CatCPUInstant, cpu, []byte(`{"Device Type": 1, "Bytes": -32}`))
	t.AddInstant(9000, "[memory]", trace.CatCPUInstant, cpu, []byte(`{"Device Type": 0, "Bytes": 1}`)) // in no operator
	return t
}

func TestRows(t *testing.T) {
	o := Collect(sample())
	if o.SelfCPU != 1000 || o.SelfDevice != 470 || !o.HasDevice || !o.HasFLOPs || !o.HasMemory {
		t.Errorf("%+v", *o)
	}
	mm := Row{Name: "aten::mm", Device: DeviceCPU, Count: 2, SelfCPU: 250, CPU: 300, SelfDevice: 400, DeviceTime: 400,
		SelfMemory: 64, Memory: 64, FLOPs: 1072}
	want := []Row{
		{Name: "step", Device: DeviceCPU, Count: 1, SelfCPU: 600, CPU: 1000, DeviceTime: 400, Memory: 64,
			DevMemory: -32},
		mm,
		{Name: "aten::linear", Device: DeviceCPU, Count: 1, SelfCPU: 100, CPU: 300, DeviceTime: 400, Memory: 64,
			SelfDevMemory: -32, DevMemory: -32},
		{Name: "cudaLaunchKernel", Device: DeviceCPU, Count: 1, SelfCPU: 50, CPU: 50},
		{Name: "gemm", Device: DeviceCUDA, Count: 2, SelfDevice: 470, DeviceTime: 470},
		{Name: "request", Device: DeviceCPU, Async: true, Count: 1, CPU: 5000},
	}
	if d := cmp.Diff(want, o.Rows(GroupName)); d != "" {
		t.Errorf("by name (-want +got):\n%s", d)
	}
	keys := map[Group][]string{}
	for _, g := range []Group{GroupShapes, GroupStack} {
		for _, r := range o.Rows(g) {
			if r.Name == "aten::mm" {
				keys[g] = append(keys[g], r.Shapes+r.Stack)
			}
		}
	}
	wantKeys := map[Group][]string{
		GroupShapes: {"[[2, 3], [3, 4]]", "[[8, 8], [8, 8]]"},
		GroupStack:  {"model.py(3): forward", "a.py(1): f\nb.py(2): g"},
	}
	if d := cmp.Diff(wantKeys, keys); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
}

func TestEmpty(t *testing.T) {
	if rows := Collect(trace.New()).Rows(GroupStack); len(rows) != 0 {
		t.Errorf("%v", rows)
	}
}

// TestSelfTimes checks on random nests that self times add up to the time that any
// operator covers, whatever the grouping.
func TestSelfTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := trace.New()
		cpu := tr.AddTrack(trace.Track{})
		var nest func(start, end int64, depth int) int64
		nest = func(start, end int64, depth int) (covered int64) {
			for at := start; at < end && depth < 4; {
				from := rapid.Int64Range(at, end).Draw(t, "from")
				to := rapid.Int64Range(from, end).Draw(t, "to")
				if to-from < 10 {
					return covered
				}
				cat := rapid.SampledFrom([]trace.Category{trace.CatCPUOp, trace.CatUserAnnotation,
					trace.CatPythonFunction}).Draw(t, "cat")
				tr.AddSlice(trace.Slice{Start: from, Dur: to - from, Name: rapid.StringMatching("[ab]").Draw(t, "name"),
					Cat: cat, Track: cpu})
				inner := nest(from, to, depth+1)
				if cat != trace.CatPythonFunction {
					inner = to - from
				}
				covered += inner
				at = to + 10
			}
			return covered
		}
		want := nest(0, 1000, 0)
		o := Collect(tr)
		for _, g := range []Group{GroupName, GroupShapes, GroupStack} {
			sum := int64(0)
			for _, r := range o.Rows(g) {
				sum += r.SelfCPU
			}
			if sum != want || o.SelfCPU != want {
				t.Errorf("group %d: self times add up to %d and %d, want %d", g, sum, o.SelfCPU, want)
			}
		}
	})
}
