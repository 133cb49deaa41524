package badtraces

import "fmt"

// impossibleToo are more traces that say what cannot be true.
func impossibleToo() []Case {
	return []Case{
		{Kind: "impossible", Name: "the last but one never ended", Files: []File{neverEnded()},
			Want: []string{": 90"},
			Says: map[string][]string{"report": {"In doubt: stream 3 of device 1: triton_red_fused_3 lasts 1.20 s, and 1 later slice of the stream begins and ends", "!idle for 100"}, "kernels": {`triton_red_fused_3 compute 15 2\.30 ms`}}},
		{Kind: "impossible", Name: "two of one rank", Files: twoOverruns(),
			Want: []string{"rank 0: 120", "rank 1: 120"},
			Says: map[string][]string{"report": {"In doubt: rank 1: stream 1 of device 1: RMSNorm lasts 2.80 ms",
				"In doubt: rank 1: stream 2 of device 1: gemm_kernel lasts 2.80 ms", "!In doubt: rank 0"}}},
		{Kind: "impossible", Name: "a kernel past the next start", Files: []File{pastNext()},
			Want: []string{": 60"},
			Says: map[string][]string{"report": {"stream 7 of device 0: fused_add_rmsnorm lasts 600 µs, past the begin of the next slice"}, "kernels": {`fused_add_rmsnorm compute 20 6\.10 ms`}}},
		{Kind: "impossible", Name: "many never ended", Files: []File{manyOverruns()},
			Want: []string{": 120"},
			Says: map[string][]string{"report": {"In doubt: .*elementwise lasts 350 ms, .*impossible",
				`!elementwise compute 14 4\.90 s`, "!device is busy 100%"}}},
		{Kind: "impossible", Name: "no time and a duration", Files: []File{zeroWithDur()},
			Want: []string{": 60"}, Says: map[string][]string{"report": {"In doubt: 2 device slices have no time",
				"!idle for 100"}, "inspect": {"ts 0 kept out of the window 2", `window 5\.96 ms`, "2026-02-16"}}},
		{Kind: "impossible", Name: "no time, before the base", Files: []File{zeroBeforeBase()},
			Want: []string{": 60"}, Says: map[string][]string{"report": {"In doubt: 3 device slices have no time",
				"!idle for 100"}, "inspect": {`window 5\.\d\d ms`}}},
		{Kind: "impossible", Name: "no duration in whole microseconds", Files: []File{zeroDur()},
			Want: []string{": 60"},
			Says: map[string][]string{"report": {"In doubt: 3 device slices of 20 have a duration of 0"}}},
		{Kind: "impossible", Name: "rows of the host without a time", Files: []File{zeroHost()},
			Want: []string{": 63"}, Says: map[string][]string{"report": {"3 slices have no time", "!idle for 100"},
				"inspect": {"ts 0 kept out of the window 3", "2026-02-16"}}},
		{Kind: "lost work", Name: "at the start", Files: []File{lateDevice()},
			Want: []string{": 108"},
			Says: map[string][]string{"report": {"In doubt: 12 of 40 launches have no device work in the trace, 12 at the start"}}},
		{Kind: "lost work", Name: "kernels but not copies", Files: []File{copiesOnly()},
			Want: []string{": 70"},
			Says: map[string][]string{"report": {"In doubt: 30 of 30 launches .*kernels were not recorded", "!was idle",
				"!-bound"}}},
		{Kind: "lost work", Name: "of steps in the middle", Files: []File{middleLost()},
			Want: []string{"rank 0: 212"},
			Says: map[string][]string{"report": {"In doubt: rank 0: 40 of 120 launches",
				"the device work of 4 of 12 steps is missing; in the others: device-bound: the device is busy 8[56]%"}}},
		{Kind: "lost work", Name: "of all graphs", Files: []File{allGraphsLost()},
			Want: []string{": 50"},
			Says: map[string][]string{"report": {"In doubt: 10 of 10 graph launches .*not one graph has", "!host-bound",
				"!was idle"}}},
		{Kind: "impossible", Name: "begins at 0 of asynchronous spans", Files: []File{asyncZero()},
			Want: []string{": 10"}, Says: map[string][]string{"inspect": {"begin at ts 0: dur set to 0 2",
				`window 3\.10 ms`}}},
		{Kind: "one slice", Name: "a copy beyond the end", Files: []File{beyond()},
			Want: []string{": 62"},
			Says: map[string][]string{"report": {"In doubt: .*one slice of CopyHostToDevice lasts 2.20 s.*is left out",
				"!idle for (9.|100)"}}},
		{Kind: "one slice", Name: "the first kernel", Files: []File{firstLong()},
			Want: []string{": 77"},
			Says: map[string][]string{"report": {"In doubt: .*one slice of nccl_init_barrier lasts 3.00 s"}}},
		{Kind: "impossible", Name: "work before its launch", Files: []File{early("hipLaunchKernel", 2300)},
			Want: []string{": 192"},
			Says: map[string][]string{"report": {"In doubt: device 0: 60 slices of 60 begin before the call",
				`by at least 2\.29 ms`}}},
	}
}

const epochUs = 1.7712e15 // 2026-02-16

func neverEnded() File {
	h := newHost("hipExtModuleLaunchKernel")
	h.device, h.stream, h.head = 1, 3, "-"
	for k := range 30 {
		at := epochUs + 200*float64(k)
		dur := 150.0
		if k == 28 {
			dur = 1.2e6
		}
		h.op("aten::mul", at, 40)
		h.run([]string{"triton_red_fused_3", "Cijk_Ailk"}[k%2], at+10, at+30, dur)
	}
	f := h.file("trace.json.gz")
	f.Data = Gzip(f.Data)
	return f
}

func twoOverruns() []File {
	var out []File
	for r := range 2 {
		h := newHost("urEnqueueKernelLaunchWithArgsExp")
		h.rank, h.world, h.device, h.pid = r, 2, int64(r), 500+int64(r)
		for k := range 40 {
			at := 1000 + 300*float64(k)
			dur := 200.0
			if r == 1 && (k == 9 || k == 20) {
				dur = 2800
			}
			h.stream = 1 + k%2
			h.op("aten::linear", at, 40)
			h.run([]string{"gemm_kernel", "gemm_kernel", "RMSNorm"}[k%3], at+10, at+30, dur)
		}
		out = append(out, h.file(fmt.Sprintf("worker-rank-%d.json", r)))
	}
	return out
}

func pastNext() File {
	h := newHost("cuLaunchKernel")
	for k := range 20 {
		at := 1000 + 400*float64(k)
		h.op("aten::add", at, 20)
		dur := 300.0
		if k == 7 {
			dur = 600 // ends within the next
		}
		h.run("fused_add_rmsnorm", at+5, at+20, dur)
	}
	return h.file("p.json")
}

func manyOverruns() File {
	h := newHost("hipLaunchKernel")
	for k := range 40 {
		at := 1000 + 100*float64(k)
		dur := 60.0
		if k%3 == 0 {
			dur = 3.5e5
		}
		h.op("aten::add", at, 20)
		h.run([]string{"elementwise", "gemm", "softmax"}[k%3], at+5, at+20, dur)
	}
	return h.file("r.json")
}

func zeroWithDur() File {
	h := newHost("cudaLaunchKernel")
	h.head = "-"
	h.steady(20, epochUs, "attn", "mlp")
	for _, k := range []int{3, 11} {
		h.rows[3*k+2].(event)["ts"] = 0
	}
	f := h.file("t.json.gz")
	f.Data = Gzip(f.Data)
	return f
}

func zeroBeforeBase() File {
	h := newHost("cudaLaunchKernel")
	h.steady(20, 5000, "attn", "mlp")
	for _, k := range []int{0, 1, 2} {
		e := h.rows[3*k+2].(event)
		e["ts"], e["dur"] = -1750000000000000.0, 0
	}
	return h.file("t.json")
}

func zeroDur() File {
	h := newHost("cudaLaunchKernel")
	h.head = "-"
	h.steady(20, epochUs, "attn", "mlp")
	for _, k := range []int{3, 11, 12} {
		h.rows[3*k+2].(event)["dur"] = 0
	}
	return h.file("t.json")
}

func zeroHost() File {
	h := newHost("cudaLaunchKernel")
	h.head = "-"
	h.steady(20, epochUs, "attn", "mlp")
	h.frame("loader.py(3): fetch", 0, 0)
	h.op("aten::to", 0, 12)
	h.op("aten::copy_", 0, 0)
	return h.file("t.json")
}

// lateDevice is a trace whose device began to record after 12 of 40 launches.
func lateDevice() File {
	h := newHost("urEnqueueKernelLaunch")
	for k := range 40 {
		at := 1000 + 300*float64(k)
		h.op("aten::mm", at, 20)
		if k < 12 {
			h.call(h.api, at+5, 5)
			continue
		}
		h.run("gemm", at+5, at+15, 250)
	}
	return h.file("xpu.json")
}

func copiesOnly() File {
	h := newHost("hipLaunchKernel")
	for k := range 30 {
		at := 1000 + 300*float64(k)
		h.op("aten::mm", at, 20)
		h.call(h.api, at+5, 5)
		if k%6 == 0 {
			h.call("hipMemcpyAsync", at+30, 5)
			h.work("gpu_memcpy", "CopyDeviceToHost", at+200, 20)
		}
	}
	return h.file("amd.json")
}

// middleLost is twelve steps of which four in the middle lost their kernels.
func middleLost() File {
	h := newHost("cudaLaunchKernel")
	for s := range 12 {
		at := 10000 * float64(s)
		h.label(fmt.Sprintf("step[DECODE bs=%d]", 4), at, 9000)
		for k := range 10 {
			t := at + 100 + 880*float64(k)
			if s >= 4 && s < 8 {
				h.call(h.api, t, 5)
			} else {
				h.run("decode_attn", t, t+20, 850)
			}
		}
	}
	return h.file("sgl-TP-0.trace.json")
}

func allGraphsLost() File {
	h := newHost("cudaLaunchKernel")
	for s := range 10 {
		at := 5000 * float64(s)
		h.run("embed", at, at+20, 100)
		h.call("cudaGraphLaunch", at+30, 20)
		h.run("sample", at+4000, at+4020, 90)
	}
	return h.file("g.json")
}

func asyncZero() File {
	var rows []any
	for k := range 5 {
		at := 2.5e6 + 700*float64(k)
		id := fmt.Sprint(k)
		begin := at
		if k%2 == 1 {
			begin = 0
		}
		rows = append(rows, event{"ph": "b", "cat": "NET", "name": "Recv", "pid": 3, "tid": 1, "id": id, "ts": begin},
			event{"ph": "e", "cat": "NET", "name": "Recv", "pid": 3, "tid": 1, "id": id, "ts": at + 300},
			event{"ph": "X", "cat": "NET", "name": "proxy", "pid": 3, "tid": 2, "ts": at, "dur": 200})
	}
	return File{"profiler.json", Array(rows)}
}

func beyond() File {
	h := newHost("hipModuleLaunchKernel")
	h.steady(20, 1000, "gemm", "relu")
	h.call("hipMemcpyWithStream", 7100, 30)
	h.work("gpu_memcpy", "CopyHostToDevice", 7110, 2.2e6)
	return h.file("b.json")
}

func firstLong() File {
	h := newHost("cudaLaunchKernel")
	h.run("nccl_init_barrier", 100, 110, 3e6)
	h.steady(25, 3.0003e6, "gemm", "relu")
	return h.file("f.json")
}

func early(api string, by float64) File {
	h := newHost(api)
	for s := range 12 {
		at := 10000 * float64(s)
		for k := range 5 {
			t := at + 600*float64(k)
			h.op("aten::mm", t, 30)
			h.run("gemm", t+5, t+20-by, 400)
		}
		h.call("hipDeviceSynchronize", at+3050, 5)
	}
	return h.file("e.json")
}
