package badtraces

import (
	"fmt"
	"strings"
)

// sources are traces that other programs wrote, and rows that only their writers link.
func sources() []Case {
	return []Case{
		{Kind: "other writer", Name: "viztracer", Files: []File{{"result.json", viztracer()}}, Want: []string{": 6"},
			Says: map[string][]string{"report": {"viztracer", `Python frames`, `fib \(/src/fib\.py:3\)\s+3`,
				`!Operators`}}},
		{Kind: "other writer", Name: "browser", Files: []File{{"Trace-20270101.json", browser()}},
			Want: []string{": 5"},
			Says: map[string][]string{
				"report": {"No profiler of torch", `toplevel, v8, loading`, `CrBrowserMain`, `RunTask\s+3`},
				"comms":  {"nothing of this in the trace, which is Chrome JSON of an unknown writer"},
			}},
		{Kind: "other writer", Name: "build of a compiler", Files: []File{{"main.json", compiler()}},
			Want: []string{": 8"},
			Says: map[string][]string{"report": {"No profiler of torch", `Source\s+3`, "Tracks"}}},
		{Kind: "other writer", Name: "JAX on a GPU", Files: []File{{"perfetto_trace.json.gz", Gzip(jax("GPU"))}},
			Want: []string{": 24"},
			Says: map[string][]string{
				"report": {"JAX or TensorFlow", `fusion_3\s+compute\s+8`, `!No device work`, "!truncated"},
				"idle":   {"Why streams stood still"},
			}},
		{Kind: "other writer", Name: "JAX on a TPU", Files: []File{{"host.trace.json", jax("TPU")}},
			Want: []string{": 24"},
			Says: map[string][]string{"report": {"JAX or TensorFlow", `fusion_3\s+compute\s+8`, `!No device work`}}},
		{Kind: "other writer", Name: "TensorFlow's sessions", Files: []File{{"timeline.json", sessions("stream:all")}},
			Want: []string{": 27"},
			Says: map[string][]string{"report": {"JAX or TensorFlow", `MatMul\s+compute\s+9`, `!No device work`},
				"kernels": {"9 slices of 1 name"}}},
		{Kind: "other writer", Name: "TensorFlow's sessions, by stream", Files: []File{{"timeline.json.gz",
			Gzip(sessions("stream:13"))}}, Want: []string{": 36"},
			Says: map[string][]string{"kernels": {`MatMul\s+compute\s+9`, "9 slices of 1 name"}}},
		{Kind: "other writer", Name: "viztracer without its keys", Files: []File{{"cut.json", viztracerCut()}},
			Want: []string{": 6"},
			Says: map[string][]string{"report": {"viztracer", `Python frames`, `!Operators`}}},
		{Kind: "NPU", Name: "links by arrows",
			Files: []File{{"w_1_20270101000000000_ascend_pt/ASCEND_PROFILER_OUTPUT/" +
				"trace_view.json", npu(9, true)}}, Want: []string{": 45"},
			Says: map[string][]string{"ops": {`aten::matmul\s+9\s+(\S+ \S+)\s+100%`},
				"report": {"!no operator launched"}}},
		{Kind: "NPU", Name: "links by arrows of the framework alone", Files: []File{{"trace_view.json", npu(5, false)}},
			Want: []string{": 25"},
			Says: map[string][]string{"ops": {`aten::matmul\s+5\s+(\S+ \S+)\s+100%`},
				"report": {"!no operator launched"}}},
		{Kind: "Windows paths", Name: "one bad escape", Files: []File{windows(`D:\work\new\train.py(7): run`,
			`C:\Users\bob\test.py(1): <module>`)}, Want: []string{": 12"},
			Says: map[string][]string{"ops --by-stack --csv": {`D:\\work\\new\\train\.py\(7\): run`,
				`C:\\Users\\bob\\test\.py\(1\): <module>`}}},
		{Kind: "Windows paths", Name: "in a module's name",
			Files: []File{windows(`venv\Lib\site-packages\torch\nn\functional.py(4): f`,
				`\\share\build\run.py(2): main`)}, Want: []string{": 12"},
			Says: map[string][]string{"ops --by-stack --csv": {`venv\\Lib\\site-packages\\torch\\nn\\functional\.py\(4\): f`}}},
		{Kind: "Windows paths", Name: "a directory that begins an escape of Unicode",
			Files: []File{windows(`E:\ufeed\train.py(1): run`, `D:\users\x.py(2): <module>`)}, Want: []string{": 12"},
			Says: map[string][]string{"ops --by-stack --csv": {`E:\\ufeed\\train\.py\(1\): run`}}},
		{Kind: "Windows paths", Name: "a server's share",
			Files: []File{windows(`\\nas\home\run.py(1): run`, `D:\Jobs\x.py(2): <module>`)}, Want: []string{": 12"},
			Says: map[string][]string{"ops --by-stack --csv": {`\\\\nas\\home\\run\.py\(1\): run`}}},
		{Kind: "Windows paths", Name: "escaped rightly", Files: []File{windows(`D:\\work\\new\\train.py(7): run`,
			`D:\\temp\\b.py(1): <module>`)}, Want: []string{": 12"},
			Says: map[string][]string{"ops --by-stack --csv": {`D:\\work\\new\\train\.py\(7\): run`,
				`D:\\temp\\b\.py`}}},
	}
}

func viztracer() string {
	var rows []any
	add := func(name string, at, dur float64) {
		rows = append(rows, event{"ph": "X", "cat": "FEE", "name": name, "pid": 11, "tid": 11, "ts": at, "dur": dur})
	}
	rows = append(rows, event{"ph": "M", "name": "process_name", "pid": 11, "tid": 11,
		"args": event{"name": "MainProcess"}})
	add("<module> (/src/fib.py:1)", 5, 900)
	for k := range 3 {
		add("fib (/src/fib.py:3)", 10+250*float64(k), 200)
	}
	add("time.sleep", 60, 100)
	add("print", 860, 20)
	return `{"traceEvents": ` + Array(rows) +
		`, "viztracer_metadata": {"version": "1.0.0", "overflow": false}, "file_info": {}}`
}

// viztracerCut is viztracer's events alone, in an object without its keys.
func viztracerCut() string {
	text, _, _ := strings.Cut(viztracer(), `, "viztracer_metadata"`)
	return text + "}"
}

// sessions is a timeline of TensorFlow's sessions of nine steps, with its device's work by one
// stream as well if stream names one.
func sessions(stream string) string {
	var rows []any
	process := func(pid int, name string) {
		rows = append(rows, event{"ph": "M", "name": "process_name", "pid": pid, "args": event{"name": name}})
	}
	process(1, "/job:localhost/replica:0/task:0/device:GPU:0 Compute")
	process(2, "/device:GPU:0/memcpy Compute")
	process(3, "/device:GPU:0/stream:all Compute")
	pids := []int{1, 2, 3}
	if stream != "stream:all" {
		process(4, "/device:GPU:0/"+stream+" Compute")
		pids = append(pids, 4)
	}
	for k := range 9 {
		for _, pid := range pids {
			name := "MatMul"
			if pid == 2 {
				name = "MemcpyHtoD"
			}
			rows = append(rows, event{"ph": "X", "cat": "Op", "name": name, "pid": pid, "tid": 0, "ts": 100 + 50*k,
				"dur": 40, "args": event{"op": name}})
		}
	}
	return `{"traceEvents": ` + Array(rows) + "}"
}

func browser() string {
	return `{"traceEvents": [` + strings.Join([]string{
		`{"ph":"M","cat":"__metadata","name":"process_name","pid":31,"tid":0,"ts":0,"args":{"name":"Browser"}}`,
		`{"ph":"M","cat":"__metadata","name":"thread_name","pid":31,"tid":9,"ts":0,"args":{"name":"CrBrowserMain"}}`,
		`{"ph":"X","cat":"toplevel","name":"RunTask","pid":31,"tid":9,"ts":1000,"dur":500,"tts":3,"args":{}}`,
		`{"ph":"X","cat":"v8","name":"V8.Run","pid":31,"tid":9,"ts":1100,"dur":300,"args":{}}`,
		`{"ph":"X","cat":"toplevel","name":"RunTask","pid":31,"tid":9,"ts":1600,"dur":100,"args":{}}`,
		`{"ph":"b","cat":"loading","name":"Load","pid":31,"tid":9,"ts":1050,"id":"0x7","args":{}}`,
		`{"ph":"X","cat":"toplevel","name":"RunTask","pid":31,"tid":9,"ts":1900,"dur":100,"args":{}}`,
		`{"ph":"e","cat":"loading","name":"Load","pid":31,"tid":9,"ts":1800,"id":"0x7","args":{}}`,
	}, ",\n") + `], "metadata": {"os-name": "Linux", "product-version": "Chrome/140"}}`
}

// compiler is a trace of clang -ftime-trace: no categories, a track a thread.
func compiler() string {
	var rows []any
	add := func(name string, tid int, at, dur float64) {
		rows = append(rows, event{"ph": "X", "name": name, "pid": 77, "tid": tid, "ts": at, "dur": dur,
			"args": event{"detail": "x.h"}})
	}
	add("ExecuteCompiler", 77, 0, 9000)
	add("Frontend", 77, 100, 5000)
	for k := range 3 {
		add("Source", 77, 200+1000*float64(k), 700)
	}
	add("Backend", 77, 5200, 3000)
	add("Total Source", 78, 0, 2100)
	add("Total Frontend", 79, 0, 5000)
	return `{"traceEvents": ` + Array(rows) + `, "beginningOfTime": 1750000000000000}`
}

// jax is what JAX writes of eight steps on a device; the last event of such files is empty.
func jax(kind string) string {
	dev := "/device:" + kind + ":0"
	lane := "Stream #16(Compute)"
	if kind == "TPU" {
		lane = "XLA Ops"
	}
	name := func(pid, tid int, what, text string) event {
		return event{"ph": "M", "name": what, "pid": pid, "tid": tid, "args": event{"name": text}}
	}
	rows := []any{name(3, 0, "process_name", dev), name(3, 1, "thread_name", lane),
		name(3, 2, "thread_name", "XLA Modules"),
		name(701, 0, "process_name", "/host:CPU"), name(701, 5, "thread_name", "python")}
	for k := range 8 {
		at := 100 + 700*float64(k)
		rows = append(rows,
			event{"ph": "X", "name": "PjitFunction(train)", "pid": 701, "tid": 5, "ts": at, "dur": 80},
			event{"ph": "X", "name": "fusion_3", "pid": 3, "tid": 1, "ts": at + 90, "dur": 400,
				"args": event{"hlo_op": "fusion.3", "hlo_module": "jit_train"}},
			event{"ph": "X", "name": "jit_train(7)", "pid": 3, "tid": 2, "ts": at + 90, "dur": 400})
	}
	return `{"displayTimeUnit": "ns", "metadata": {"highres-ticks": true}, "traceEvents": ` +
		Array(append(rows, event{})) + "}"
}

// npu is a trace of torch_npu of n operators; the work has no connection that a row of the
// host has, and is tied to it by arrows whose ids hold it in their upper half.
func npu(n int, both bool) string {
	meta := func(pid int, name string) event {
		return event{"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": event{"name": name}}
	}
	rows := []any{meta(10, "Python"), meta(20, "CANN"), meta(30, "Ascend Hardware"),
		event{"ph": "M", "name": "thread_name", "pid": 30, "tid": 5, "args": event{"name": "Stream 5"}}}
	ts := func(us float64) string { return fmt.Sprintf("%.3f", 1760000000000000+us) }
	for k := range n {
		at, id := 100*float64(k), fmt.Sprint((500+k)<<32|5)
		arrow := func(ph, cat string, pid int, us float64, id string) event {
			e := event{"ph": ph, "cat": cat, "name": cat, "pid": pid, "tid": pid + 1, "ts": ts(us), "id": id}
			if pid == 30 {
				e["tid"] = 5
			}
			if ph == "f" {
				e["bp"] = "e"
			}
			return e
		}
		rows = append(rows,
			event{"ph": "X", "cat": "cpu_op", "name": "aten::matmul", "pid": 10, "tid": 11, "ts": ts(at), "dur": 40.0},
			event{"ph": "X", "cat": "enqueue", "name": "Enqueue@matmul", "pid": 10, "tid": 11, "ts": ts(at + 10),
				"dur": 2.0},
			event{"ph": "X", "name": "AscendCL@aclnnMatmul", "pid": 20, "tid": 21, "ts": ts(at + 15), "dur": 10.0},
			event{"ph": "X", "name": "MatMulV3", "pid": 30, "tid": 5, "ts": ts(at + 50), "dur": 30.0,
				"args": event{"Task Type": "AI_CORE", "connection_id": 500 + k}},
			arrow("s", "async_npu", 10, at+10, fmt.Sprint(900+k)),
			arrow("f", "async_npu", 30, at+50, fmt.Sprint(900+k)))
		if both {
			rows = append(rows, arrow("s", "HostToDevice", 20, at+15, id), arrow("f", "HostToDevice", 30, at+50, id))
		}
	}
	return Array(rows)
}

// windows is a trace whose stacks hold paths with backslashes, of a writer that escapes none.
func windows(outer, inner string) File {
	h := newHost("cudaLaunchKernel")
	for k := range 2 {
		at := 1000 * float64(k)
		h.frame("@inner@", at, 900)
		h.frame("@outer@", at+10, 800)
		h.op("aten::addmm", at+20, 100)
		h.run("gemm", at+30, at+60, 200)
		h.frame("torch/plain.py(3): g", at+300, 10)
	}
	f := h.file("stack.json")
	f.Data = strings.NewReplacer("@outer@", outer, "@inner@", inner).Replace(f.Data)
	return f
}
