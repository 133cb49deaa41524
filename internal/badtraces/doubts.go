package badtraces

import (
	"fmt"
	"strings"
)

// doubtful are traces that say what cannot be true, and labels that mark no steps.
func doubtful() []Case {
	return []Case{
		{Kind: "impossible", Name: "a kernel into the next ones",
			Files: []File{overrun("hipModuleLaunchKernel", "Cijk_gemm",
				2.9e6)}, Want: []string{": 60"},
			Says: map[string][]string{"report": {"In doubt: stream 7 of device 0: Cijk_gemm lasts 2.90 s",
				"later slices",
				"!device-bound: the device is busy 100%"}}},
		{Kind: "impossible", Name: "a copy into the next ones",
			Files: []File{overrun("cudaLaunchKernel", "copy_tile", 7e5)},
			Want:  []string{": 60"},
			Says:  map[string][]string{"kernels": {"in doubt: .*copy_tile lasts 700 ms"}}},
		{Kind: "impossible", Name: "no time on the device, epoch", Files: []File{noTime(1.66e15, "")},
			Want: []string{": 60"},
			Says: map[string][]string{"report": {"3 device slices have no time", "!idle for 100"},
				"inspect": {"ts 0 kept out of the window 3", "2022-08-0"}}},
		{Kind: "impossible", Name: "no time on the device, after a base", Files: []File{noTime(3.2e12,
			`"baseTimeNanoseconds": 1759300074000000000, `)}, Want: []string{": 60"},
			Says: map[string][]string{"report": {"3 device slices have no time"}}},
		{Kind: "impossible", Name: "no time on the device, near the file's zero", Files: []File{noTime(10_000,
			`"baseTimeNanoseconds": 1759300074000000000, `)}, Want: []string{": 60"},
			Says: map[string][]string{"report": {"3 device slices have no time", "!begins? before"},
				"inspect": {"ts 0 kept out of the window 3"}}},
		{Kind: "possible", Name: "a first ts of 0 after a base", Files: []File{fromZero()}, Want: []string{": 12"},
			Says: map[string][]string{"inspect": {"!ts 0", "repairs none|events not in order"},
				"report": {"!no time"}}},
		{Kind: "possible", Name: "a first ts of 0, of a HIP program", Files: []File{fromZeroHIP()},
			Want: []string{"rank 0: 18"},
			Says: map[string][]string{"report": {"!no time", "!In doubt"}}},
		{Kind: "impossible", Name: "begins at 0", Files: []File{{"npkit.json", beginsAtZero()}}, Want: []string{": 8"},
			Says: map[string][]string{"inspect": {`begin at ts 0: dur set to 0 4`, `window 1.90 ms`}}},
		{Kind: "impossible", Name: "begins at 0 of threads", Files: []File{{"t.json", strings.ReplaceAll(beginsAtZero(),
			`"GPU_SEND"`, `"net,send"`)}}, Want: []string{": 8"},
			Says: map[string][]string{"inspect": {`begin at ts 0: dur set to 0 4`, `window 1.90 ms`}}},
		{Kind: "launches alone", Name: "HIP", Files: []File{launchesOnly("hipLaunchKernel")}, Want: []string{": 20"},
			Says: map[string][]string{"report": {`10 launch calls \(hipLaunchKernel\) are in the trace and no device work`}}},
		{Kind: "launches alone", Name: "driver", Files: []File{launchesOnly("cuLaunchKernelEx")},
			Want: []string{": 20"},
			Says: map[string][]string{"report": {`10 launch calls \(cuLaunchKernelEx\) are in the trace and no device work`}}},
		{Kind: "lost work", Name: "graphs at the end", Files: []File{lostGraphs("hipGraphLaunch", func(k int) bool {
			return k > 3
		})}, Want: []string{": 32"},
			Says: map[string][]string{"report": {"16 of 20 graph launches have no device work in the trace",
				"16 at the end",
				"!device-bound", "!was idle", "16 launches outside of these steps lack device work"}}},
		{Kind: "lost work", Name: "graphs in between", Files: []File{lostGraphs("cudaGraphLaunch", func(k int) bool {
			return k%3 != 0
		})}, Want: []string{": 41"},
			Says: map[string][]string{"report": {"13 of 20 graph launches have no device work in the trace",
				"12 in between",
				"!was idle"}}},
		{Kind: "one slice", Name: "a collective", Files: []File{dominant("ncclDevKernel_AllGather_RING_LL")},
			Want: []string{"rank 1: 62"},
			Says: map[string][]string{"report": {`one slice of ncclDevKernel_AllGather_RING_LL lasts 800 ms`}}},
		{Kind: "one slice", Name: "a kernel", Files: []File{dominant("softmax")}, Want: []string{"rank 1: 62"},
			Says: map[string][]string{"report": {`one slice of softmax lasts 800 ms`,
				"without the step in which one slice takes most of all time", "!device-bound"}}},
	}
}

// labelsOfSteps are labels of engines, and labels that mark no steps.
func labelsOfSteps() []Case {
	return []Case{
		{Kind: "labels", Name: "vLLM", Files: []File{labelled("execute_new_%d_cached_%d", 3, 0, 1, 3, 0, 4)},
			Want: []string{": 36"},
			Says: map[string][]string{"steps": {"vLLM", `prefill\s+1 `, `mixed\s+1 `, `decode\s+10 `}}},
		{Kind: "labels", Name: "TensorRT-LLM", Files: []File{labelled(
			"[Executor] _forward_step 7: %d ctx reqs, 96 ctx tokens, %d gen reqs", 2, 0, 0, 2, 0, 2)},
			Want: []string{": 36"},
			Says: map[string][]string{"steps": {"TensorRT-LLM", `prefill\s+1 `, `decode\s+11 `}}},
		{Kind: "labels", Name: "ATOM", Files: []File{labelled("decode[bs=8 tok=9 p=%d d=%d]", 2, 6, 0, 8, 0, 8)},
			Want: []string{": 36"}, Says: map[string][]string{"steps": {"ATOM", `mixed\s+1 `, `decode\s+11 `}}},
		{Kind: "labels", Name: "vLLM by words", Files: []File{labelled("execute_model[prefill=%d,decode=%d]", 2, 0, 1,
			2, 0, 3)}, Want: []string{": 36"},
			Says: map[string][]string{"steps": {"vLLM", `prefill\s+1 `, `mixed\s+1 `, `decode\s+10 `}}},
		{Kind: "labels", Name: "behind a start of many launches", Files: []File{started(500, true)},
			Want: []string{": 1144"},
			Says: map[string][]string{"steps": {`step\s+24\s+1\.1\d ms`, "the 500 launches before it",
				"!no steps"}}},
		{Kind: "labels", Name: "behind a start of one launch many times", Files: []File{started(400, false)},
			Want: []string{": 944"},
			Says: map[string][]string{"steps": {`step\s+24\s+1\.1\d ms`, "the 400 launches before it",
				"!no steps"}}},
		{Kind: "labels", Name: "outside the work", Files: []File{outside("warmup_done", "step[EXTEND bs=1 toks=9]")},
			Want: []string{": 98"}, Says: map[string][]string{"steps": {`step\s+24\s+7\.67 ms`}}},
		{Kind: "labels", Name: "outside, a profiler's", Files: []File{outside("x", "ProfilerStep#3")},
			Want: []string{": 98"}, Says: map[string][]string{"report": {`step\s+24\s+7\.67 ms`}}},
	}
}

// steady launches n kernels of 250 µs, each on time, with an operator round the launch.
func (h *host) steady(n int, from float64, names ...string) {
	for k := range n {
		at := from + 300*float64(k)
		h.op("aten::mm", at, 20)
		h.run(names[k%len(names)], at+5, at+15, 250)
	}
}

// overrun is twenty kernels of a stream, the sixth of which never ended.
func overrun(api, name string, us float64) File {
	h := newHost(api)
	h.steady(20, 1000, "gemm", name)
	h.rows[3*5+2].(event)["dur"] = us
	return h.file("x.json")
}

// noTime is a trace of which three kernels have no time.
func noTime(from float64, base string) File {
	h := newHost("cudaLaunchKernel")
	h.steady(20, from, "gemm", "relu")
	for k := range 3 {
		e := h.rows[3*(4+k)+2].(event)
		e["ts"], e["dur"] = 0, 0
	}
	return File{"trace.json", "{" + base + `"schemaVersion": 1, "traceEvents": ` + Array(h.rows) + "}"}
}

// fromZero is a trace whose times count from its beginning, which its base is.
func fromZero() File {
	h := newHost("cudaLaunchKernel")
	h.steady(4, 0, "gemm")
	return h.file("cut.json")
}

func fromZeroHIP() File {
	h := newHost("hipLaunchKernel")
	h.op("aten::mm", 0, 40)
	h.steady(6, 0, "Cijk_Ailk_Bljk")
	h.rows = h.rows[1:]
	return h.file("rank_0.json")
}

// beginsAtZero has four begins without a time among rows that begin at 1.4 s.
func beginsAtZero() string {
	var rows []any
	for k := range 4 {
		at := 1400000 + 500*float64(k)
		rows = append(rows, event{"ph": "B", "cat": "NET", "name": "GPU_SEND", "pid": 1, "tid": 1, "ts": at},
			event{"ph": "E", "cat": "NET", "name": "GPU_SEND", "pid": 1, "tid": 1, "ts": at + 400},
			event{"ph": "B", "cat": "NET", "name": "LAUNCH", "pid": 1, "tid": 2, "ts": 0},
			event{"ph": "E", "cat": "NET", "name": "LAUNCH", "pid": 1, "tid": 2, "ts": at + 100})
	}
	return Array(rows)
}

func launchesOnly(api string) File {
	h := newHost(api)
	for k := range 10 {
		h.op("aten::mm", 100*float64(k), 50)
		h.call(api, 100*float64(k)+10, 5)
	}
	return h.file("cpu.json")
}

// lostGraphs replays twenty graphs of three kernels; those that lost names have none.
func lostGraphs(api string, lost func(k int) bool) File {
	h := newHost(api)
	for k := range 20 {
		at := 1000 * float64(k)
		h.call(api, at, 10)
		if !lost(k) {
			for j := range 3 {
				h.work("kernel", fmt.Sprint("node_", j), at+20+300*float64(j), 290)
			}
		}
	}
	return h.file("graphs.json")
}

// dominant is a steady trace in which one slice lasts longer than all others together.
func dominant(name string) File {
	h := newHost("cudaLaunchKernel")
	h.steady(15, 1000, "gemm", "relu")
	h.run(name, 6000, 6010, 800000)
	h.steady(5, 806100, "gemm", "relu")
	return h.file("rank1.json")
}

// labelled is twelve steps: the first with prompts a, the second mixed b, the rest c.
func labelled(format string, counts ...int) File {
	h := newHost("cudaLaunchKernel")
	for k := range 12 {
		at := 2000 * float64(k)
		i := 2 * min(k, 2)
		h.label(fmt.Sprintf(format, counts[i], counts[i+1]), at, 1500)
		h.run("attn", at+100, at+120, 1200)
	}
	return h.file("steps.json")
}

// started is twenty-four iterations of three kernels behind a start of n launches, of kernels that
// differ or do not.
func started(n int, differ bool) File {
	h := newHost("hipModuleLaunchKernel")
	for k := range n {
		name := "fill"
		if differ {
			name = fmt.Sprint("tune_", k)
		}
		h.run(name, 110*float64(k), 110*float64(k)+20, 90)
	}
	for k := range 24 {
		at := 110*float64(n) + 1160*float64(k)
		h.run("embed", at, at+20, 100)
		h.run("attn", at+120, at+140, 300)
		h.run("mlp", at+440, at+460, 500)
	}
	return h.file("loop.json")
}

// outside is twenty-four iterations of 7.7 ms and a label that is round none of them.
func outside(name, label string) File {
	h := newHost("cudaLaunchKernel")
	h.label(label, 0, 30)
	h.label(name, 40, 5)
	for k := range 24 {
		at := 1000 + 7700*float64(k)
		h.run("embed", at, at+20, 900)
		h.run("head", at+50, at+930, 6000)
	}
	return h.file("loop.json")
}
