package badtraces

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// belongToo are more ranks that do or do not belong together.
func belongToo() []Case {
	two := Job(2, 9)
	text := two[0].Text()
	return []Case{
		{Kind: "merged", Name: "hosts before the ids",
			Files: []File{{"all.json.gz", Gzip(Document(two, relabel(two, "node%d-%v")))}},
			Want:  want(two...)},
		{Kind: "merged", Name: "ranks before the ids, colon",
			Files: []File{{"all.json", Document(two, relabel(two, "rank%d:%v"))}},
			Want:  want(two...)},
		{Kind: "merged", Name: "by names of processes",
			Files: []File{{"all.json", Document(two, named(two, "python [rank %d]"))}},
			Want:  want(two...)},
		{Kind: "merged", Name: "at once on streams of their own",
			Files: []File{{"all.json", Document(two, atOnce(2, 7, true))}},
			Want:  []string{"rank 0: 60"},
			Says: map[string][]string{"report": {"In doubt: .*this file holds several ranks", "!Steps", "!Launches",
				"!-bound"}, "idle": {"several ranks", "!Launches", "!waits for host 100%"}}},
		{Kind: "merged", Name: "at once on the same stream",
			Files: []File{{"all.json", Document(two, atOnce(2, 0, true))}},
			Want:  []string{"rank 0: 60"},
			Says: map[string][]string{"report": {"In doubt: .*this file holds several ranks", "!Steps", "!Launches",
				"!-bound"}, "steps": {"several ranks", "!step 12"}}},
		{Kind: "merged", Name: "at once on streams of their own, together",
			Files: []File{{"all.json", Document(two, atOnce(3, 7, false))}},
			Want:  []string{"rank 0: 30", "rank 1: 30", "rank 2: 30"},
			Says:  map[string][]string{"report": {"!several ranks"}}},
		{Kind: "merged", Name: "rows of nobody", Files: []File{{"all.json", Document(two, ofNobody())}},
			Want:    []string{"rank 0: 50", "rank 1: 50"},
			Repairs: []string{"device row of an unknown rank given to the first"},
			Says:    map[string][]string{"report": {"1 × device row of an unknown rank given to the first"}}},
		{Kind: "twice", Name: "printed anew", Files: []File{{"rank0.json", text}, {"rank0.pretty.json", pretty(text)},
			{"rank1.json", two[1].Text()}},
			Want: want(two...), Left: []string{"rank0.pretty.json"}},
		{Kind: "twice", Name: "in another order, with other keys first, packed", Files: []File{
			{"rank0.json", text}, {"rank1.json", two[1].Text()}, {"x/rank0.json.zst", Zstd(turned(two[0]))}},
			Want: want(two...), Left: []string{"x/rank0.json.zst"},
			Says: map[string][]string{"report": {"x/rank0.json.zst: the same trace as in"}}},
		{Kind: "twice", Name: "written anew under a name without a rank", Files: []File{
			{"rank0.json", Rank{PID: 9, Steps: 9, From: 44}.Text()},
			{"sorted.json", Document([]Rank{{}}, ByTime(Rank{PID: 9, Steps: 9, From: 44}.Events()))}},
			Want: []string{"rank 0: 45"}, Left: []string{"sorted.json"}},
		{Kind: "twice", Name: "half in xz", Files: []File{{"p/t_rank0.json", text},
			{"p/t_rank0.json.xz", XZ(text)[:700]}},
			Want: want(two[0]), Left: []string{"p/t_rank0.json.xz"}},
		{Kind: "twice", Name: "in an archive beside", Files: []File{{"rank0.json", text}, {"rank1.json", two[1].Text()},
			{"all.zip", Zip(File{"x/rank0.json", text}, File{"x/rank1.json", two[1].Text()})}},
			Want: want(two...), Left: []string{"rank0.json", "rank1.json"}},
		{Kind: "twice", Name: "no copies: one job before and after a change", Files: []File{{"before.json", text},
			{"after.json", strings.Replace(text, `"dur":200`, `"dur":230`, 1)}},
			Want: want(two[0], two[0])},
		{Kind: "twice", Name: "cut, in another directory", Files: []File{{"a/rank0.json", text},
			{"b/rank0.json", text[:len(text)*3/5]}},
			Want: want(two[0]), Left: []string{"b/rank0.json"}},
		{Kind: "twice", Name: "one rank of two jobs' hosts", Files: []File{{"hostA/rank0.json", text},
			{"hostB/rank0.json", Rank{Rank: 0, World: 2, PID: 3000, Steps: 9, From: 1044}.Text()}},
			Want: []string{"rank 0: 45", "rank 0: 45"},
			Says: map[string][]string{"report": {"In doubt: 0 hostA: 9 of 18", "In doubt: 0 hostB: 9 of 18",
				"!rank 0: "}}},
	}
}

// worldsToo are more ranks whose names are those of others.
func worldsToo() []Case {
	join := slices.Concat[[]File]
	def := member{group: "0", desc: "default_pg", ranks: "[0, 1]", world: 2, seq: true}
	none := member{group: "tp", world: 4, seq: true}
	return []Case{
		{Kind: "worlds", Name: "stages in file names", Files: join(
			group([]string{"thinker_rank0.json", "thinker_rank1.json"}, def, times(9, 0), times(9, 120)),
			group([]string{"talker_rank0.json.gz", "talker_rank1.json.gz"}, def, times(9, 10), times(9, 0))),
			Want: []string{"talker rank 0: 36", "talker rank 1: 36", "thinker rank 0: 36", "thinker rank 1: 36"},
			Says: map[string][]string{"comms": {`thinker 1 9 1\.08 ms`, `talker 0 9 90\.0 µs`},
				"report": {"thinker rank 1: the other ranks waited 1.08 ms for it, in 9 of 9"}}},
		{Kind: "worlds", Name: "two jobs on two hosts", Files: join(
			group([]string{"hostA/rank0.json", "hostA/rank1.json"}, def, times(9, 0), times(9, 120)),
			group([]string{"hostB/rank0.json", "hostB/rank1.json"}, def, times(9, 10), times(9, 0))),
			Want: []string{"rank 0: 36", "rank 0: 36", "rank 1: 36", "rank 1: 36"},
			Says: map[string][]string{"comms": {`1 hostA 9 1\.08 ms`, `0 hostB 9 90\.0 µs`},
				"report": {"1 hostA: the other ranks waited 1.08 ms for it, in 9 of 9"}}},
		{Kind: "worlds", Name: "jobs of two sizes", Files: join(
			group([]string{"a_rank0.json", "a_rank1.json"}, def, times(9, 0), times(9, 120)),
			group([]string{"b_rank0.json", "b_rank1.json", "b_rank2.json"},
				member{group: "0", desc: "default_pg", ranks: "[0, 1, 2]", world: 3, seq: true}, times(9, 10),
				times(9, 0), times(9, 40))),
			Want: []string{"rank 0: 36", "rank 0: 36", "rank 1: 36", "rank 1: 36", "rank 2: 36"},
			Says: map[string][]string{"comms": {`1 a_rank1 9 1\.08 ms`, " 2 9 315 µs"}}},
		{Kind: "groups", Name: "of the header", Files: join(
			configured(group([]string{"r0.json", "r1.json"}, with(none, 0, ""), times(9, 0), times(9, 60)), 0, 1),
			configured(group([]string{"r2.json", "r3.json"}, with(none, 2, ""), times(9, 20), times(9, 0)), 2, 3)),
			Want: []string{"rank 0: 36", "rank 1: 36", "rank 2: 36", "rank 3: 36"},
			Says: map[string][]string{"comms": {" 1 9 540 µs", " 2 9 180 µs"}}},
		{Kind: "windows", Name: "the middle rank began later", Files: shiftedOfThree(),
			Want: []string{"rank 0: 44", "rank 1: 32", "rank 2: 44"},
			Says: map[string][]string{"comms": {" 1 8 480 µs", ` 2 3 60\.0 µs`}}},
		{Kind: "windows", Name: "on another host without a clock", Files: shiftedUnclocked(),
			Want: []string{"rank 0: 48", "rank 1: 40"}, Says: map[string][]string{"comms": {" 1 10 500 µs"}}},
	}
}

// turned is a rank's trace as a script may write it anew: events from the last to the first, keys in reverse order,
// blanks elsewhere, the header behind.
func turned(r Rank) string {
	var rows []string
	for _, e := range r.Events() {
		var keys []string
		for k, v := range e.(event) {
			raw, err := json.Marshal(v)
			if err != nil {
				panic(err) // numbers and texts only
			}
			keys = append(keys, fmt.Sprintf("%q : %s", k, raw))
		}
		slices.Sort(keys)
		slices.Reverse(keys)
		rows = append(rows, "{ "+strings.Join(keys, " , ")+" }")
	}
	slices.Reverse(rows)
	return fmt.Sprintf(`{"traceEvents":[%s],"baseTimeNanoseconds":1700000000000000000,`+
		`"distributedInfo":{"world_size":%d,"rank":%d}}`, strings.Join(rows, ","), r.World, r.Rank)
}

// relabel writes every process id with its rank.
func relabel(list []Rank, format string) (out []any) {
	for i, r := range list {
		for _, e := range r.Events() {
			row := e.(event)
			row["pid"] = fmt.Sprintf(format, i, row["pid"])
			out = append(out, row)
		}
	}
	return ByTime(out)
}

// named gives every process a name that says its rank, and ids that do not collide.
func named(list []Rank, format string) (out []any) {
	for i, r := range list {
		for _, e := range r.Events() {
			row := e.(event)
			if row["name"] == "process_name" {
				row["args"] = event{"name": fmt.Sprintf(format, i)}
			}
			out = append(out, row)
		}
	}
	return ByTime(out)
}

// atOnce is n ranks that each saw its card as device 0 and launch at the same time with the same
// ids, their work on streams that differ by apart.
func atOnce(n, apart int, sorted bool) (out []any) {
	var parts [][]any
	for i := range n {
		r := Rank{Rank: i, World: n, PID: int64(1000 + i), Steps: 6, From: 1000 + float64(i), Late: float64(11 * i)}
		rows := r.Events()
		for _, e := range rows {
			row := e.(event)
			if row["tid"] == 7 {
				row["tid"] = 7 + apart*i
			}
			if a, ok := row["args"].(event); ok && a["stream"] != nil {
				a["stream"] = 7 + apart*i
			}
		}
		parts = append(parts, rows)
	}
	if sorted {
		return ByTime(parts...)
	}
	return slices.Concat(parts...)
}

// ofNobody is two ranks on one device number, and a few rows whose launch is in neither.
func ofNobody() []any {
	rows := sameCard(1000, 7)
	n := 0
	for _, e := range rows {
		row := e.(event)
		if row["cat"] != "kernel" {
			continue
		}
		if n++; n == 5 {
			row["args"].(event)["correlation"] = 99999
		}
	}
	for k := range 20 { // enough others for one to be few
		s := sameCards[k%2]
		at := 20000 + 500*float64(k)
		rows = append(rows, event{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": s.PID,
			"tid": s.PID, "ts": at, "dur": 5, "args": event{"correlation": 50000 + k}},
			event{"ph": "X", "cat": "kernel", "name": "tail", "pid": 0, "tid": 7, "ts": at + 20, "dur": 100,
				"args": event{"device": 0, "stream": 7, "correlation": 50000 + k}})
	}
	return rows
}

func pretty(text string) string {
	var v any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		panic("our own text")
	}
	raw, _ := json.MarshalIndent(v, "", "    ")
	return string(raw)
}

// configured writes the members of the group tp into the headers, as torch does.
func configured(files []File, ranks ...int) []File {
	raw, _ := json.Marshal(ranks)
	for i := range files {
		files[i].Data = strings.Replace(files[i].Data, `"world_size": 4}`, fmt.Sprintf(
			`"world_size": 4, "pg_count": 1, "pg_config": [{"pg_name": "tp", "pg_desc": "undefined", "backend_config": "cuda:nccl", "pg_size": %d, "ranks": %s}]}`, len(ranks), raw), 1)
	}
	return files
}

func shiftedOfThree() []File {
	m := member{group: "dp", desc: "dp", ranks: "[0, 1, 2]", world: 3,
		bytes: func(k int) int { return 1024 << (k % 5) }}
	names := []string{"rank0.json", "rank1.json", "rank2.json"}
	late := [][]float64{times(11, 0), times(11, 70), times(11, 20)}
	files := group(names, m, late...)
	all := make([]*member, 3)
	for i := range all {
		x := m
		x.file, x.rank, x.late, x.size = names[i], i, late[i], 3
		x.kernel = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
		if i == 1 {
			x.skip = 3
		}
		all[i] = &x
	}
	files[1] = all[1].text(all)
	return files
}

func shiftedUnclocked() []File {
	files := shifted(2, 12)
	for i := range files {
		files[i].Data = strings.Replace(files[i].Data, `"baseTimeNanoseconds": 1750000000000000000, `, "", 1)
	}
	return files
}

// paceToo are more hosts and devices that set the pace.
func paceToo() []Case {
	return []Case{
		{Kind: "host sets the pace", Name: "between labels of the forward alone", Files: []File{betweenLabels()},
			Want: []string{"rank 0: 160"},
			Says: map[string][]string{"report": {"host-bound", "scheduler.py: process_batch_result, 66.0 ms",
				"!device-bound"}, "steps": {`decode 20 4\.83 ms`}}},
		{Kind: "host sets the pace", Name: "unlabelled loader", Files: []File{unlabelledLoader()},
			Want: []string{": 240"}, Says: map[string][]string{"report": {"host-bound",
				"dataloader.py: __next__, 360 ms", "!device-bound"}, "steps": {`step 15 28\.3 ms 30\.0 ms`}}},
		{Kind: "host sets the pace", Name: "Python between graphs, HIP", Files: []File{graphsAndPython()},
			Want: []string{"rank 0: 126"},
			Says: map[string][]string{"report": {"host-bound", "detokenizer.py: update, 52.2 ms", "!device-bound"}}},
		{Kind: "device sets the pace", Name: "first step waits for older work", Files: []File{olderWork()},
			Want: []string{"rank 3: 32"},
			Says: map[string][]string{"report": {"device-bound", "!host-bound", "!waits for most"},
				"steps": {`step 10 8\.00 ms`}}},
		{Kind: "device sets the pace", Name: "older work of a HIP program, labels of an engine",
			Files: []File{olderDecode()}, Want: []string{": 38"},
			Says: map[string][]string{"report": {"device-bound", "!host-bound", "!waits for most"},
				"steps": {`decode 12 3\.00 ms`}}},
		{Kind: "devices", Name: "three in turn, packed", Files: []File{threeInTurn()},
			Want: []string{": 96"}, Says: map[string][]string{"report": {"3 devices, on average 32% busy",
				"never two at once", "!device-bound"}, "idle": {` 2 7 7\.18 ms 0 0% .* 7\.14 ms 99%`}}},
		{Kind: "devices", Name: "two of four at once", Files: []File{twoAtOnce()},
			Want: []string{": 64"}, Says: map[string][]string{"report": {"4 devices, on average 4[78]% busy",
				"two or more at once for 100%", "!device-bound", "!outside of steps"}, "steps": {"step 8 "}}},
		{Kind: "devices", Name: "one works, one rests", Files: []File{oneRests()},
			Want: []string{": 48"},
			Says: map[string][]string{"report": {"device-bound by device 0: 2 devices .*device 0 most with 98%",
				"!wait for each other"}}},
		{Kind: "what the host did", Name: "receives from a socket",
			Files: []File{blockedFrames(3e6, "server/loop.py(40): recv_requests",
				"zmq/sugar/socket.py(800): recv_pyobj",
				"<built-in method recv of Socket object at 0x7f3a11>")},
			Want: []string{"rank 5: 24"},
			Says: map[string][]string{"report": {`3\.00 s of it the host was in loop\.py: recv_requests \(waits on a socket\)`, "Python frames"}}},
		{Kind: "what the host did", Name: "sleeps",
			Files: []File{blockedFrames(1.5e6, "engine/scheduler.py(88): wait_for_work", "<built-in function sleep>")},
			Want:  []string{"rank 5: 23"},
			Says:  map[string][]string{"report": {`for 1\.50 s of it the host was in scheduler\.py: wait_for_work \(waits on a timer\)`}}},
		{Kind: "what the host did", Name: "allocates", Files: []File{blockedCall("hipMalloc", 250000)},
			Want: []string{": 42"},
			Says: map[string][]string{"report": {`for 250 ms of it the host was in hipMalloc in pool\.py: grow`}}},
		{Kind: "what the host did", Name: "waits for an event",
			Files: []File{blockedCall("cudaEventSynchronize", 90000)},
			Want:  []string{": 42"},
			Says:  map[string][]string{"report": {`for 90\.0 ms of it the host was in cudaEventSynchronize in pool\.py: grow \(waits on the device\)`}}},
		{Kind: "what the host did", Name: "only frames", Files: []File{framesOnly()},
			Want: []string{"front end: 81"},
			Says: map[string][]string{"report": {"No device work", `tokenizer\.py: decode 40 1\.60 s`}}},
		{Kind: "what the host did", Name: "in another thread", Files: []File{otherThread()},
			Want: []string{": 60"},
			Says: map[string][]string{"report": {`worker\.py: wait_ready \(waits on a lock\)`}}},
	}
}

func betweenLabels() File {
	h := newHost("cudaLaunchKernel")
	for k := range 20 {
		at := 5000 * float64(k)
		h.label("step[DECODE bs=16]", at, 1500)
		for j := range 3 {
			h.run(fmt.Sprint("attn_", j), at+50+400*float64(j), at+60+400*float64(j), 380)
		}
		h.frame("srt/managers/scheduler.py(900): process_batch_result", at+1600, 3300)
	}
	f := h.file("1801-TP-0.trace.json.gz")
	f.Data = Gzip(f.Data)
	return f
}

func unlabelledLoader() File {
	h := newHost("hipLaunchKernel")
	h.head = "-"
	for k := range 15 {
		at := epochUs + 30000*float64(k)
		h.frame("torch/utils/data/dataloader.py(733): __next__", at, 24000)
		for j := range 5 {
			h.op("aten::conv2d", at+24100+1000*float64(j), 50)
			h.run(fmt.Sprint("miopen_", j), at+24110+1000*float64(j), at+24140+1000*float64(j), 950)
		}
	}
	return h.file("train.json")
}

func graphsAndPython() File {
	h := newHost("hipGraphLaunch")
	for k := range 18 {
		at := 4000 * float64(k)
		h.label(fmt.Sprintf("execute_context_0(0)_generation_%d(%d)", 8, 8), at, 900)
		h.call("hipGraphLaunch", at+20, 30)
		for j := range 4 {
			h.work("kernel", fmt.Sprint("node", j), at+60+200*float64(j), 195)
		}
		h.frame("vllm/v1/engine/detokenizer.py(77): update", at+950, 2900)
	}
	return h.file("dp0_pp0_tp0_dcp0_ep0_rank0.1.pt.trace.json")
}

func olderWork() File {
	h := newHost("cudaLaunchKernel")
	h.run("warmup_gemm", 0, 20, 50000)
	for k := range 10 {
		at := 500 + 100*float64(k)
		h.label(fmt.Sprintf("ProfilerStep#%d", k), at, 90)
		h.run("train_gemm", at+10, 50021+8000*float64(k), 7990)
	}
	return h.file("rank3.json")
}

// olderDecode is decode steps, the first of which waits for a prompt that was launched before the labels.
func olderDecode() File {
	h := newHost("hipModuleLaunchKernel")
	h.run("prompt_gemm", epochUs, epochUs+20, 20_000)
	for k := range 12 {
		at := epochUs + 200 + 60*float64(k)
		h.label("step[DECODE bs=8 toks=8]", at, 50)
		h.run("decode_gemm", at+5, epochUs+20_021+3000*float64(k), 2990)
	}
	return h.file("worker.json")
}

func threeInTurn() File {
	h := newHost("hipModuleLaunchKernel")
	h.head = "-"
	for s := range 8 {
		for d := range 3 {
			h.device = int64(2 * d)
			at := epochUs + 1500*float64(s) + 500*float64(d)
			h.run("block_a", at, at+10, 240)
			h.run("block_b", at+20, at+255, 235)
		}
	}
	f := h.file("auto.json.zst")
	f.Data = Zstd(f.Data)
	return f
}

func twoAtOnce() File {
	h := newHost("cudaLaunchKernel")
	for s := range 8 {
		for d := range 4 {
			h.device = int64(d)
			at := 2000*float64(s) + 1000*float64(d/2)
			h.run("layer", at+float64(d), at+20, 960)
		}
	}
	return h.file("pipe.json")
}

func oneRests() File {
	h := newHost("cudaLaunchKernel")
	for s := range 12 {
		at := 1000 * float64(s)
		h.device = 0
		h.run("gemm", at, at+10, 980)
		h.device = 1
		h.run("embed", at+20, at+30, 40)
	}
	return h.file("two.json")
}

func blockedFrames(us float64, frames ...string) File {
	h := newHost("hipModuleLaunchKernel")
	h.rank, h.world = 5, 8
	h.frame("main.py(1): <module>", 0, us+12000)
	for k := range 6 {
		h.run("gemm", 100+1000*float64(k), 150+1000*float64(k), 900)
	}
	for k, f := range frames {
		h.frame(f, 6200+float64(k), us-2*float64(k))
	}
	for k := range 4 {
		at := us + 6400 + 1000*float64(k)
		h.run("gemm", at, at+50, 900)
	}
	return h.file("w5.json")
}

func blockedCall(api string, us float64) File {
	h := newHost("cuLaunchKernel")
	at := 100.0
	for k := range 20 {
		h.run("gemm", at, at+20, 500)
		at += 530
		if k == 9 {
			h.frame("cache/pool.py(12): grow", at, us+40)
			h.call(api, at+10, us)
			at += us + 50
		}
	}
	return h.file("c.json")
}

func framesOnly() File {
	h := newHost("")
	h.frame("api_server.py(1): main", 0, 5e6)
	for k := range 40 {
		at := 1000 + 100000*float64(k)
		h.frame("openai/serving_chat.py(300): stream", at, 60000)
		h.frame("tokenizer.py(20): decode", at+100, 40000)
	}
	return h.file("async_llm.json")
}

func otherThread() File {
	h := newHost("cudaLaunchKernel")
	for k := range 12 {
		at := 10000 * float64(k)
		h.tid = 4000
		h.frame("worker.py(9): wait_ready", at, 8000)
		h.frame("threading.py(355): wait", at+10, 7900)
		h.run("gemm", at+8100, at+8120, 1500)
		h.tid = 4001
		h.frame("prepare.py(5): build_batch", at+5, 7800)
	}
	return h.file("threads.json")
}
