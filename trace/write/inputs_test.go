package write

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	rpprof "runtime/pprof"
	rtrace "runtime/trace"
	"testing"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/trace"
)

// made are files of the kinds that are recorded rather than kept: of package profiler, of
// Go's own tools, and a directory as torch_npu leaves it.
func made(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, write func(out *bytes.Buffer)) string {
		var out bytes.Buffer
		write(&out)
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	list := []string{
		file("rank0.ksrec", func(out *bytes.Buffer) { recordNative(t, out) }),
		file("goroutines.pb.gz", func(out *bytes.Buffer) {
			if err := rpprof.Lookup("goroutine").WriteTo(out, 0); err != nil {
				t.Fatal(err)
			}
		}),
	}
	var goTrace bytes.Buffer
	if err := rtrace.Start(&goTrace); err != nil {
		t.Log("Go's execution trace is left out, one runs already:", err)
	} else {
		ctx, task := rtrace.NewTask(t.Context(), "answer")
		rtrace.WithRegion(ctx, "decode step", func() { rtrace.Log(context.WithoutCancel(ctx), "token", "first") })
		task.End()
		rtrace.Stop()
		list = append(list, file("program.trace", func(out *bytes.Buffer) { out.Write(goTrace.Bytes()) }))
	}
	npu := filepath.Join("node1_42_20260102030405678_ascend_pt")
	file(filepath.Join(npu, "ASCEND_PROFILER_OUTPUT", "trace_view.json"), func(out *bytes.Buffer) {
		out.WriteString(npuView)
	})
	file(filepath.Join(npu, "profiler_info_5.json"), func(out *bytes.Buffer) { out.WriteString(`{"rank_id": 5}`) })
	return append(list, filepath.Join(dir, npu))
}

// npuView has a row of each kind of torch_npu's processes.
const npuView = `[{"name":"process_name","pid":100,"tid":0,"ph":"M","args":{"name":"Python"}},
{"name":"process_name","pid":200,"tid":0,"ph":"M","args":{"name":"CANN"}},
{"name":"process_name","pid":300,"tid":0,"ph":"M","args":{"name":"Ascend Hardware"}},
{"name":"thread_name","pid":300,"tid":2,"ph":"M","args":{"name":"Stream 17"}},
{"name":"aten::mm","pid":100,"tid":11,"ts":"1712000000000001.500","dur":10.25,"ph":"X","cat":"cpu_op","args":{"Sequence number":12}},
{"name":"AscendCL@aclnnMm","pid":200,"tid":11,"ts":"1712000000000003.000","dur":2.0,"ph":"X","args":{"connection_id":"4321"}},
{"name":"MatMulV2","pid":300,"tid":2,"ts":"1712000000000020.125","dur":55.5,"ph":"X","args":{"Task Type":"AI_CORE","connection_id":4321}},
{"name":"hcom_allReduce__1","pid":300,"tid":2,"ts":"1712000000000080.000","dur":5.0,"ph":"X","args":{"connection_id":4400}}]`

// recordNative records a step with what package profiler can record.
func recordNative(t *testing.T, out *bytes.Buffer) {
	t.Helper()
	rec := profiler.New(profiler.Config{Process: "stage0 thinker rank 0"})
	track := rec.Track("scheduler")
	if err := rec.Start(profiler.StartOptions{Out: out, RecordShapes: true, WithFLOPs: true,
		WithMemory: true}); err != nil {
		t.Fatal(err)
	}
	request, step, op := profiler.Intern(trace.NameRequest), profiler.Intern(trace.NameDecodeStep),
		profiler.Intern("aten::mm")
	id, pool := profiler.Intern(trace.ArgRequest), profiler.Intern("kv_cache")
	track.AsyncBegin(request, profiler.CategoryAnnotation, 1).Text(id, "r-1")
	for i := range 3 {
		s := track.Begin(step, profiler.CategoryAnnotation).Int(profiler.Intern(trace.ArgStep),
			int64(i)).FlowIn(uint64(70 + i))
		track.Alloc(pool, 4096, 64)
		track.Begin(op, profiler.CategoryOp).Shape(profiler.Float32, 2, 3).FLOPs(48).End()
		track.Free(pool, 4096, 64)
		s.FlowOut(uint64(71 + i))
		s.End()
	}
	track.AsyncEnd(request, 1)
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
}
