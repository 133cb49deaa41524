package badtraces

import "fmt"

// waiting are hosts that set the pace, in ways that labels and launches hide.
func waiting() []Case {
	return []Case{
		{Kind: "host sets the pace", Name: "before the first launch", Files: []File{gapLoop("hipModuleLaunchKernel",
			"aten::argsort", 700, 2)}, Want: []string{": 120"},
			Says: map[string][]string{"report": {"host-bound", "!device-bound"}, "steps": {`1\.10 ms`}}},
		{Kind: "host sets the pace", Name: "between graphs", Files: []File{graphLoop()}, Want: []string{": 80"},
			Says: map[string][]string{"report": {"host-bound", "!device-bound"}}},
		{Kind: "host sets the pace", Name: "loader after the work", Files: []File{tail("ProfilerStep#%d",
			"enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__")}, Want: []string{": 16"},
			Says: map[string][]string{"report": {"host-bound", "DataLoader", "!device-bound"}}},
		{Kind: "host sets the pace", Name: "Python after the work", Files: []File{tail("step[DECODE bs=%d]",
			"server/stream.py(9): send")}, Want: []string{": 16"},
			Says: map[string][]string{"report": {"host-bound", `stream\.py`, "!device-bound"}}},
		{Kind: "what the host did", Name: "shared memory", Files: []File{blocked(
			"vllm/distributed/device_communicators/shm_broadcast.py(400): acquire_read", 9e6)},
			Want: []string{"rank 0: 13"},
			Says: map[string][]string{"report": {`shm_broadcast\.py.*acquire_read`, "9.00 s", "Python frames"}}},
		{Kind: "what the host did", Name: "a lock", Files: []File{blocked("threading.py(327): wait", 4e6)},
			Want: []string{"rank 0: 13"},
			Says: map[string][]string{"report": {`threading\.py.*wait`, "4.00 s"}}},
		{Kind: "what the host did", Name: "a queue", Files: []File{blocked("queue.py(154): get", 2e6)},
			Want: []string{"rank 0: 13"},
			Says: map[string][]string{"report": {`queue\.py.*get`, "2.00 s"}}},
		{Kind: "what the host did", Name: "a blocking copy", Files: []File{copies("hipMemcpyWithStream", 463000)},
			Want: []string{": 50"}, Says: map[string][]string{"report": {`hipMemcpyWithStream`, `463 ms`}}},
		{Kind: "what the host did", Name: "a synchronisation", Files: []File{copies("cudaStreamSynchronize", 120000)},
			Want: []string{": 50"}, Says: map[string][]string{"report": {`cudaStreamSynchronize`, `120 ms`}}},
		{Kind: "devices", Name: "two in turn", Files: []File{inTurn(2)}, Want: []string{": 36"},
			Says: map[string][]string{"report": {`2 devices, on average \d\d% busy`, "never two at once",
				"!device-bound"}}},
		{Kind: "devices", Name: "eight in turn", Files: []File{inTurn(8)}, Want: []string{": 132"},
			Says: map[string][]string{"report": {`8 devices, on average 1\d% busy`, "never two at once",
				"!device-bound"}}},
	}
}

// gapLoop is thirty iterations of which most is an operator before n launches.
func gapLoop(api, op string, gap float64, n int) File {
	h := newHost(api)
	for k := range 24 {
		at := 1000 + 1100*float64(k)
		h.op(op, at, gap)
		for j := range n {
			start := at + gap + 20 + 150*float64(j)
			h.run(fmt.Sprint("kernel_", j), at+gap+10+8*float64(j), start, 145)
		}
	}
	return h.file("loop.json")
}

// graphLoop replays a graph of three kernels and then samples on the host.
func graphLoop() File {
	h := newHost("cudaGraphLaunch")
	for k := range 16 {
		at := 1000 + 900*float64(k)
		h.call("cudaGraphLaunch", at, 12)
		for j, name := range []string{"attn", "mlp", "head"} {
			h.work("kernel", name, at+20+70*float64(j), 68)
		}
		h.op("aten::multinomial", at+260, 500)
	}
	return h.file("graphs.json")
}

// tail is four labelled steps of ten ms on the device and fifty of the host.
func tail(label, name string) File {
	h := newHost("cudaLaunchKernel")
	for k := range 4 {
		at := 60000 * float64(k)
		h.label(fmt.Sprintf(label, k+1), at, 60000)
		h.run("gemm", at+100, at+200, 10000)
		h.x("python_function", name, at+10500, 49000)
	}
	return h.file("tail.json")
}

// blocked is a worker that computes for five ms and then waits in a frame.
func blocked(frame string, us float64) File {
	h := newHost("cudaLaunchKernel")
	h.frame("worker.py(1): busy_loop", 0, us+10000)
	for k := range 5 {
		h.run("gemm", 1000*float64(k), 1000*float64(k)+50, 900)
	}
	h.frame("worker.py(9): next_request", 5500, us+100)
	h.frame(frame, 5550, us)
	return h.file("rank0.json")
}

// copies launches work, of which one call waits for long.
func copies(api string, us float64) File {
	h := newHost("hipModuleLaunchKernel")
	at := 1000.0
	for k := range 24 {
		h.run("gemm", at, at+20, 300)
		at += 400
		if k == 11 {
			h.call(api, at, us)
			at += us + 50
		} else if k == 12 {
			h.op("aten::item", at, 5)
			at += 10
		}
	}
	return h.file("copies.json")
}

// inTurn is a process that works on n devices, one after the other.
func inTurn(n int) File {
	h := newHost("cudaLaunchKernel")
	for s := range 4 {
		at := 1000 + 1000*float64(n)*float64(s)
		h.op("aten::embedding", at, 5)
		for d := range n {
			h.device = int64(d)
			for j := range 2 {
				from := at + 1000*float64(d) + 490*float64(j)
				h.run(fmt.Sprint("layer_", j), from+2, from+10, 480)
			}
		}
	}
	return h.file("map.json")
}
