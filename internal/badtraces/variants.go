package badtraces

import (
	"fmt"
	"strings"
)

// variants are what the other cases say once more, by other names, in another order, of other writers.
func variants() []Case {
	two := Job(2, 6)
	pids := func(format string) []File {
		var rows []any
		for i, r := range two {
			for _, e := range r.Events() {
				row := e.(event)
				row["pid"] = fmt.Sprintf(format, row["pid"], i)
				rows = append(rows, row)
			}
		}
		return []File{{"all.json", Document(two, rows)}}
	}
	apart := map[string][]string{"report": {"rank 1: ", "!several ranks", "!replays of"}}
	return append([]Case{
		{Kind: "merged", Name: "labels behind without a blank", Files: pids("%v(TP%d)"), Want: want(two...),
			Says: apart},
		{Kind: "merged", Name: "a number before the id", Files: pids("%[2]d_%[1]v"), Want: want(two...), Says: apart},
		{Kind: "merged", Name: "hosts named, devices not", Files: []File{{"all.json", hostsNamed()}},
			Want: want(sameCards...), Says: apart},
		{Kind: "impossible", Name: "a time of another clock", Files: []File{stray(3000)}, Want: []string{": 60"},
			Says: map[string][]string{"report": {"In doubt: 1 device slice has a time that cannot be, .* before all others",
				"!idle for 100"}, "inspect": {"window +5\\.9\\d ms", "wall clock, window begins 2022-08-08"}}},
		{Kind: "impossible", Name: "a time days later", Files: []File{stray(1.66e15 + 3*86400e6)},
			Want: []string{": 60"},
			Says: map[string][]string{"report": {"In doubt: 1 device slice has a time that cannot be, .* after all others",
				"!idle for 100"}, "inspect": {"window +5\\.9\\d ms"}}},
		{Kind: "Windows paths", Name: "every escape valid", Files: []File{windows(`C:\nets\train.py(7): run`,
			`D:\tmp\base\run.py(1): <module>`)}, Want: []string{": 12"},
			Says: map[string][]string{"ops --by-stack --csv": {`C:\\nets\\train\.py\(7\): run`,
				`D:\\tmp\\base\\run\.py\(1\): <module>`}}},
		{Kind: "documents", Name: "nothing behind the last event", Files: []File{{"rank0.json",
			strings.Replace(two[0].Text(), "\n ]\n}", ",\n null]\n}", 1)}}, Want: want(two[0]),
			Says: map[string][]string{"inspect": {"repairs none", "!truncated"}}},
		{Kind: "steps", Name: "layers, with a pause a step", Files: []File{layered(6, 20, false)},
			Want: []string{": 480"},
			Says: map[string][]string{"steps": {"6 steps", "a repeating sequence of 40 launches"}}},
		{Kind: "steps", Name: "iterations that pause as regularly", Files: []File{layered(6, 10, true)},
			Want: []string{": 300"},
			Says: map[string][]string{"steps": {"60 steps", "a repeating sequence of 2 launches"}}},
		{Kind: "other writer", Name: "JAX on a TPU, its idle time", Files: []File{{"t.json", jax("TPU")}},
			Want: []string{": 24"}, Says: map[string][]string{"report": {"!other than the host"}}},
		{Kind: "twice", Name: "a copy, inspected", Files: []File{{"trace (1).json", two[0].Text()},
			{"trace.json", two[0].Text()}}, Want: want(two[0]), Left: []string{"trace (1).json"},
			Says: map[string][]string{"inspect": {"the same trace as"}, "report": {"the same trace as"}}},
	}, ofOlderWriters()...)
}

// ofOlderWriters are traces of profilers as they were years ago.
func ofOlderWriters() []Case {
	ops := map[string][]string{"ops": {`aten::add\s+8\s+(\S+ \S+)\s+100%`}, "report": {"!no operator launched",
		"!No device work"}}
	return []Case{
		{Kind: "NPU", Name: "links by arrows of CANN alone", Files: []File{{"trace_view.json",
			npuOnThread("Python", "CANN", "Ascend Hardware")}}, Want: []string{": 32"}, Says: ops},
		{Kind: "NPU", Name: "older names of processes", Files: []File{{"trace_view.json",
			npuOnThread("python3", "AscendCL", "Task Scheduler")}}, Want: []string{": 32"}, Says: ops},
		{Kind: "NPU", Name: "a card's number in its name", Files: []File{{"trace_view.json",
			npuOnThread("Python", "CANN", "NPU_1")}}, Want: []string{": 32"}, Says: ops},
		{Kind: "other writer", Name: "rocprof before rocprofv3", Files: []File{{"results.json", rocprof("GPU0")}},
			Want: []string{": 16"}, Says: map[string][]string{"report": {"!No profiler of torch", "!No device work"},
				"kernels": {`gemm_tile\s+compute\s+8`}, "inspect": {"repairs none", "Chrome JSON of rocprof"}}},
		{Kind: "other writer", Name: "rocprof, the second card", Files: []File{{"x.json", rocprof("GPU1")}},
			Want: []string{": 16"}, Says: map[string][]string{"idle": {"Why streams stood still"}}},
	}
}

// hostsNamed is two ranks whose hosts' names say their ranks and whose devices' names do not, with ids
// that collide.
func hostsNamed() string {
	first, second := sameCards[0], sameCards[1]
	second.Device = 1
	var rows []any
	for i, r := range []Rank{first, second} {
		events := r.Events()
		events[0].(event)["args"] = event{"name": fmt.Sprintf("rank %d python", i)}
		rows = append(rows, events...)
	}
	return Document([]Rank{first, second}, rows)
}

// stray is a trace in microseconds since 1970 of which one kernel begins at another time.
func stray(at float64) File {
	h := newHost("cudaLaunchKernel")
	h.steady(20, 1.66e15, "gemm", "relu")
	h.rows[3*7+2].(event)["ts"] = at
	return File{"trace.json", `{"schemaVersion": 1, "traceEvents": ` + Array(h.rows) + "}"}
}

// layered is steps of n pairs of launches and a pause; if waits, the host waits for every pair.
func layered(steps, n int, waits bool) File {
	h := newHost("cudaLaunchKernel")
	for s := range steps {
		for k := range n {
			at := 1000 + float64(s*(400*n+2000)+400*k)
			h.run("attention", at, at+20, 180)
			h.run("mlp", at+10, at+205, 190)
			if waits {
				h.call("cudaStreamSynchronize", at+20, 378)
			}
		}
	}
	return h.file("layers.json")
}

// npuOnThread is eight operators whose work only arrows of CANN join, on the thread of their own.
func npuOnThread(python, cann, hardware string) string {
	var rows []any
	for i, name := range []string{python, cann, hardware} {
		rows = append(rows, event{"ph": "M", "name": "process_name", "pid": 10 * (i + 1), "tid": 0,
			"args": event{"name": name}})
	}
	for k := range 8 {
		at := 1760000000000000 + 200*float64(k)
		ts := func(us float64) string { return fmt.Sprintf("%.3f", at+us) }
		id := fmt.Sprint((70 + k) << 32)
		rows = append(rows,
			event{"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 10, "tid": 77, "ts": ts(0), "dur": 60.0},
			event{"ph": "X", "name": "AscendCL@aclnnAdd", "pid": 20, "tid": 77, "ts": ts(10), "dur": 15.0},
			event{"ph": "X", "name": "AddV2", "pid": 30, "tid": 3, "ts": ts(50), "dur": 90.0,
				"args": event{"Task Type": "AI_CORE", "connection_id": 70 + k}},
			event{"ph": "s", "cat": "HostToDevice", "name": "arrow", "pid": 20, "tid": 77, "ts": ts(12), "id": id},
			event{"ph": "f", "cat": "HostToDevice", "name": "arrow", "pid": 30, "tid": 3, "ts": ts(50), "id": id,
				"bp": "e"})
	}
	return Array(rows)
}

// rocprof is what rocprof wrote of eight kernels of a card before rocprofv3: all numbers are text.
func rocprof(card string) string {
	rows := []any{event{}, event{"ph": "M", "name": "process_name", "pid": 2, "args": event{"name": "CPU HIP API"}},
		event{"ph": "M", "name": "process_name", "pid": 6, "args": event{"name": card}}}
	for k := range 8 {
		at := 5000 + 400*k
		row := func(name string, pid, tid, from, us int) event {
			return event{"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": fmt.Sprint(from), "dur": fmt.Sprint(us),
				"args": event{"BeginNs": fmt.Sprint(1000 * from), "EndNs": fmt.Sprint(1000 * (from + us)),
					"Index": fmt.Sprint(k)}}
		}
		arrow := func(ph string, pid, tid, from int) event {
			return event{"ph": ph, "cat": "DataFlow", "name": "dep", "id": k, "pid": pid, "tid": tid,
				"ts": fmt.Sprint(from)}
		}
		rows = append(rows, row("hipLaunchKernel", 2, 91, at, 8), arrow("s", 2, 91, at), arrow("f", 6, 0, at+30),
			row("gemm_tile", 6, 0, at+30, 200))
	}
	return `{"traceEvents": ` + Array(rows) + "}"
}
