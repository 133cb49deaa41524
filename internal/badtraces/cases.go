package badtraces

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Case is a directory of files with their expected content.
type Case struct {
	Kind, Name string
	Files      []File
	Want       []string // "stage 0 llm rank 1: 20": whose traces, and their slices
	Left       []string // names of the files that are left out
	Repairs    []string // kinds of repair that must be counted
	// Says are regular expressions by verb with its flags: what the verb must say of the files,
	// on standard output or beside it, or with "!" before it must not.
	Says map[string][]string
}

// ByTime is events of several ranks in the order of their times, as a merge writes them
// that sorts.
func ByTime(list ...[]any) []any {
	all := slices.Concat(list...)
	slices.SortStableFunc(all, func(a, b any) int { return cmp.Compare(number(a), number(b)) })
	return all
}

func number(e any) float64 {
	switch v := e.(event)["ts"].(type) {
	case float64:
		return v
	case int:
		return float64(v)
	}
	return 0
}

func want(ranks ...Rank) []string {
	var out []string
	for _, r := range ranks {
		out = append(out, fmt.Sprintf("rank %d: %d", r.Rank, r.Slices()))
	}
	return out
}

// Cases are the kinds of trouble, each in several forms.
func Cases() []Case {
	return slices.Concat(merged(), twice(), documents(), loose(), containers(), layouts(), others(), sources(),
		waiting(), doubtful(), labelsOfSteps(), worlds(), expertParallel(), engines(), wordings(), impossibleToo(),
		belongToo(), worldsToo(), paceToo(), variants(), graphs())
}

func merged() []Case {
	two := Job(2, 6)
	labels := func(ls ...string) []any {
		var out []any
		for i, l := range ls {
			r := two[i]
			r.Label = l
			out = append(out, r.Events()...)
		}
		return out
	}
	collide := Job(2, 6) // the same numbers in both ranks but for the process
	collide[1].Device = 0
	add := func(by int64) []any {
		other := collide[1]
		other.Offset, other.PID = by, collide[0].PID
		return slices.Concat(collide[0].Events(), other.Events())
	}
	behind := func(form string) (out []any) {
		for i, r := range two {
			for _, e := range r.Events() {
				row := e.(event)
				row["pid"] = fmt.Sprintf(form, row["pid"], i)
				out = append(out, row)
			}
		}
		return out
	}
	one := func(events []any) []File { return []File{{"merged.json", Document(two, events)}} }
	four := Job(4, 3)
	var fused [][]any
	for _, r := range four {
		fused = append(fused, r.Events())
	}
	return []Case{
		{Kind: "merged", Name: "labels", Files: one(labels("TP00-DP00-PP00-EP00", "TP01-DP00-PP00-EP00")),
			Want: want(two...)},
		{Kind: "merged", Name: "short labels", Files: one(labels("TP00", "TP01")), Want: want(two...)},
		{Kind: "merged", Name: "rank labels", Files: one(labels("rank 0", "rank 1")), Want: want(two...)},
		{Kind: "merged", Name: "labels behind", Files: one(behind("%d.r%d")), Want: want(two...)},
		{Kind: "merged", Name: "labels behind in brackets", Files: one(behind("%d (rank %d)")), Want: want(two...)},
		{Kind: "merged", Name: "on one device number, ids of their own", Files: one(sameCard(1000, 7)),
			Want: want(sameCards...), Says: map[string][]string{"report": {"!several ranks", "rank 1: "}}},
		{Kind: "merged", Name: "on one device number, ids that collide", Files: one(sameCard(0, 70)),
			Want: want(sameCards...), Says: map[string][]string{"report": {"!several ranks", "rank 1: "}}},
		{Kind: "merged", Name: "on one device number, nothing tells", Files: one(sameCard(0, 1)),
			Want: []string{"rank 0: 60"}, Says: map[string][]string{
				"report": {"In doubt: .*this file holds several ranks", "!host-bound", "!device-bound", "!was idle",
					"!activity buffers"},
				"steps": {"several ranks", "!host-bound", "!device-bound"}}},
		{Kind: "merged", Name: "pipeline labels", Files: one(labels("TP00-PP00", "TP00-PP01")), Want: want(two...)},
		{Kind: "merged", Name: "offset", Files: one(add(100000)), Want: want(two...)},
		{Kind: "merged", Name: "large offset", Files: one(add(10_000_000)), Want: want(two...)},
		{Kind: "merged", Name: "joined", Files: one(slices.Concat(two[0].Events(), two[1].Events())),
			Want: want(two...)},
		{Kind: "merged", Name: "in order of time", Files: one(ByTime(two[0].Events(), two[1].Events())),
			Want: want(two...)},
		{Kind: "merged", Name: "four by time", Files: one(ByTime(fused...)), Want: want(four...)},
		{Kind: "merged", Name: "beside its parts", Files: []File{
			{"id-TP-0.trace.json.gz", Gzip(two[0].Text())}, {"id-TP-1.trace.json.gz", Gzip(two[1].Text())},
			{"merged-id.trace.json.gz", Gzip(Document(two, labels("TP00", "TP01")))},
		}, Want: want(two...), Left: []string{"merged-id.trace.json.gz", "merged-id.trace.json.gz"}},
		{Kind: "one rank", Name: "with four devices", Files: []File{{"rank0.json", Document(two, fourDevices())}},
			Want: []string{"rank 0: 51"}},
		{Kind: "one rank", Name: "with four devices, by time, packed", Files: []File{{"rank0.json.zst",
			Zstd(Document(two, ByTime(fourDevices())))}}, Want: []string{"rank 0: 51"},
			Says: map[string][]string{"report": {"!several ranks"}, "idle": {` 3 7 `}}},
	}
}

// sameCards are ranks that each saw their card as device 0.
var sameCards = []Rank{{Rank: 0, World: 2, PID: 1000, Steps: 6, From: 1000},
	{Rank: 1, World: 2, PID: 1001, Steps: 6, From: 1000}}

// sameCard is both of them by time, the second later by some µs and with ids that differ by more.
func sameCard(more int, later float64) []any {
	second := sameCards[1]
	second.From += later
	rows := second.Events()
	for _, e := range rows {
		row := e.(event)
		if args, ok := row["args"].(event); ok && args["correlation"] != nil {
			args["correlation"] = args["correlation"].(int) + more
		}
		if id, ok := row["id"].(int); ok {
			row["id"] = id + more
		}
	}
	return ByTime(sameCards[0].Events(), rows)
}

// fourDevices is one process that works on four devices.
func fourDevices() []any {
	var out []any
	for d := range 4 {
		r := Rank{PID: 1000, Device: int64(d), Steps: 3, From: 1000 + 3000*float64(d)}
		for _, e := range r.Events() {
			if d == 0 || e.(event)["cat"] != "user_annotation" {
				if args, ok := e.(event)["args"].(event); ok && args["correlation"] != nil {
					args["correlation"] = args["correlation"].(int) + 1000*d
				}
				out = append(out, e)
			}
		}
	}
	return out
}

func twice() []Case {
	r, two := Job(2, 12)[0], Job(2, 12)
	text, packed := r.Text(), Gzip(r.Text())
	return []Case{
		{Kind: "twice", Name: "half packed", Files: []File{{"trace_rank0.json", text},
			{"trace_rank0.json.gz", packed[:len(packed)*2/3]}},
			Want: want(r), Left: []string{"trace_rank0.json.gz"}},
		{Kind: "twice", Name: "half plain", Files: []File{{"trace_rank0.json", text[:len(text)/2]},
			{"trace_rank0.json.gz", packed}},
			Want: want(r), Left: []string{"trace_rank0.json"}},
		{Kind: "twice", Name: "half plain that ends like a whole one", Files: []File{
			{"rank0.json", text[:strings.LastIndex(text[:len(text)*2/3], "},\n")+1]}, {"rank0.json.gz", packed}},
			Want: want(r), Left: []string{"rank0.json"}},
		{Kind: "twice", Name: "both whole", Files: []File{{"a.json", text}, {"a.json.zst", Zstd(text)}}, Want: want(r),
			Left: []string{"a.json.zst"}},
		{Kind: "twice", Name: "a copy elsewhere", Files: []File{{"rank0.json", text}, {"rank1.json", two[1].Text()},
			{"old/rank0 (1).json", text}},
			Want: want(two...), Left: []string{"old/rank0 (1).json"}},
	}
}

func documents() []Case {
	two := Job(2, 8)
	a, b := two[0].Text(), two[1].Text()
	nobody := []Rank{{PID: 5, Device: 0, Steps: 4, From: 10}, {PID: 5, Device: 0, Steps: 4, From: 900_000}}
	events := nobody[0].Events()
	return []Case{
		{Kind: "documents", Name: "two objects", Files: []File{{"x.json", a + b}}, Want: want(two...)},
		{Kind: "documents", Name: "without a line between",
			Files: []File{{"x.json", strings.TrimSpace(a) + strings.TrimSpace(b)}}, Want: want(two...)},
		{Kind: "documents", Name: "members of gzip", Files: []File{{"x.json.gz", Gzip(a) + Gzip(b)}},
			Want: want(two...)},
		{Kind: "documents", Name: "frames of zstd", Files: []File{{"x.json.zst", Zstd(a) + Zstd(b)}},
			Want: want(two...)},
		{Kind: "documents", Name: "arrays", Files: []File{{"x.json", Array(events[:12]) + "\n" + Array(events[12:])}},
			Want:    []string{": 20"},
			Repairs: []string{"further array of events in the file"}},
		{Kind: "documents", Name: "a hole of zero bytes in the middle", Files: []File{{"rank0.json",
			a[:2000] + strings.Repeat("\x00", 1500) + a[3500:]}}, Want: []string{"rank 0: 31"},
			Says: map[string][]string{"report": {`1\.\d+ KiB of .*not read`}, "inspect": {"event dropped: syntax 1",
				"hold nothing that could be read"}}},
		{Kind: "documents", Name: "an array twice", Files: []File{{"x.json", Array(events) + "\n" + Array(events[6:])}},
			Want: []string{": 20"}, Repairs: []string{"slice in the file twice"},
			Says: map[string][]string{"report": {"17 × slice in the file twice", "4 of 8 launches", "!overlap"}}},
		{Kind: "documents", Name: "the key twice, with the same events", Files: []File{{"rank0.json",
			strings.TrimSuffix(strings.TrimSpace(a), "}") + `, "traceEvents": ` + Array(two[0].Events()) + "}"}},
			Want: want(two[0]), Repairs: []string{"slice in the file twice"}},
		{Kind: "documents", Name: "arrays of two windows",
			Files: []File{{"x.json", Array(events) + Array(nobody[1].Events())}}, Want: []string{": 20", ": 20"}},
		{Kind: "documents", Name: "the key twice", Files: []File{{"x.json",
			`{"schemaVersion": 1, "traceEvents": ` + Array(events[:12]) + `, "traceEvents": ` + Array(events[12:]) +
				"}"}}, Want: []string{": 20"},
			Repairs: []string{"further array of events in the file"}},
		{Kind: "documents", Name: "text behind", Files: []File{{"x.json", a + "INFO: profiler done [ok] {1}\n"}},
			Want:    want(two[0]),
			Repairs: []string{"content after the end ignored"}},
		{Kind: "documents", Name: "cut, then whole", Files: []File{{"x.json", a[:len(a)*2/3] + b}},
			Want:    []string{"rank 0: 26", "rank 1: 40"},
			Repairs: []string{"cut by the next trace of the file"}},
		{Kind: "documents", Name: "a list of traces", Files: []File{{"x.json", "[" + a + ",\n" + b + "]\n"}},
			Want: want(two...), Says: map[string][]string{"inspect": {"!truncated", "!ignored"}}},
		{Kind: "documents", Name: "a list of one trace, an empty one before it, packed",
			Files: []File{{"x.json.gz", Gzip("[{}, " + pretty(a) + "]")}}, Want: want(two[0]),
			Says: map[string][]string{"inspect": {"repairs +none"}}},
		{Kind: "documents", Name: "a list of arrays", Files: []File{{"x.json",
			"[" + Array(events) + ", " + Array(nobody[1].Events()) + "]"}}, Want: []string{": 20", ": 20"},
			Says: map[string][]string{"inspect": {"!truncated", "!ignored"}}},
		{Kind: "documents", Name: "a list of traces, cut", Files: []File{{"x.json", "[" + a + ", " + b[:len(b)*2/3]}},
			Want: []string{"rank 0: 40", "rank 1: 26"}, Says: map[string][]string{"inspect": {"1 truncated file 1"}}},
		{Kind: "documents", Name: "empty event last",
			Files: []File{{"x.json", strings.Replace(a, "\n ]", ",\n{}\n ]", 1)}}, Want: want(two[0])},
	}
}

// loose are events and traces that stand in a file as programs leave them which were no profilers:
// behind log lines, one a line, in an array that nobody closed.
func loose() []Case {
	r := Job(2, 8)[0]
	doc := r.Text()
	events := Rank{PID: 5, Device: 0, Steps: 4, From: 10}.Events()
	array := strings.TrimSuffix(Array(events), "\n ]")
	plain := make([]string, len(events))
	for i, line := range strings.Split(strings.TrimPrefix(array, "[\n"), ",\n") {
		plain[i] = strings.TrimSpace(line)
	}
	lines := strings.Join(plain, "\n") + "\n"
	before := []string{"text before the trace ignored"}
	torch := map[string][]string{"inspect": {`torch\.profiler \(Kineto\)`, "!truncated"}}
	return []Case{
		{Kind: "loose", Name: "log lines before an object", Files: []File{{"rank0.json",
			"INFO 11-29 10:00:00 start {not json}\n[rank0]: W1129 warming up\n" + doc}}, Want: want(r),
			Repairs: before},
		{Kind: "loose", Name: "a line with JSON before an object", Files: []File{{"rank0.json.gz",
			Gzip(`{"level": "info", "msg": "profile"}` + "\n" + doc)}}, Want: want(r), Repairs: before},
		{Kind: "loose", Name: "a call round an object", Files: []File{{"rank0.json", "show(" + doc + ");\n"}},
			Want: want(r), Repairs: append(before, "content after the end ignored")},
		{Kind: "loose", Name: "log lines before an array", Files: []File{{"x.json",
			"[worker 3] profile follows\n" + Array(events)}}, Want: []string{": 20"}, Repairs: before},
		{Kind: "loose", Name: "one event a line", Files: []File{{"x.jsonl", lines}}, Want: []string{": 20"},
			Says: torch},
		{Kind: "loose", Name: "one event a line behind a log line, packed", Files: []File{{"x.json.zst",
			Zstd("profile:\n" + lines)}}, Want: []string{": 20"}, Repairs: before},
		{Kind: "loose", Name: "an array nobody closed", Files: []File{{"x.json", array}}, Want: []string{": 20"},
			Says: torch},
		{Kind: "loose", Name: "an array nobody closed, with a comma", Files: []File{{"x.json.gz",
			Gzip(array + ",\n")}}, Want: []string{": 20"}, Says: torch},
		{Kind: "loose", Name: "an array cut in an event", Files: []File{{"x.json", array[:len(array)-9]}},
			Want: []string{": 20"}, Repairs: []string{"truncated file"}},
		{Kind: "loose", Name: "a bare array of torch's", Files: []File{{"x.json", Array(events)}},
			Want: []string{": 20"}, Says: torch},
		{Kind: "loose", Name: "processes that are no ranks", Files: []File{{"x.json", Array([]any{
			event{"ph": "X", "name": "paint", "pid": 11, "tid": 1, "ts": 5, "dur": 9},
			event{"ph": "X", "name": "parse", "pid": 12, "tid": 1, "ts": 6, "dur": 9},
		})}}, Want: []string{": 2"}},
	}
}

func containers() []Case {
	two := Job(2, 8)
	a, b := two[0].Text(), two[1].Text()
	files := []File{{"t/rank0.json", a}, {"t/rank1.json.gz", Gzip(b)}, {"t/notes.txt", "hello"}}
	left := func(name string) []string { return []string{name + "/t/notes.txt"} }
	return []Case{
		{Kind: "container", Name: "tar", Files: []File{{"x.tar", Tar(files...)}}, Want: want(two...),
			Left: left("x.tar")},
		{Kind: "container", Name: "tar.gz", Files: []File{{"x.tar.gz", Gzip(Tar(files...))}}, Want: want(two...),
			Left: left("x.tar.gz")},
		{Kind: "container", Name: "tgz that is zstd", Files: []File{{"x.tgz", Zstd(Tar(files...))}}, Want: want(two...),
			Left: left("x.tgz")},
		{Kind: "container", Name: "zip", Files: []File{{"x.zip", Zip(files...)}}, Want: want(two...),
			Left: left("x.zip")},
		{Kind: "container", Name: "xz", Files: []File{{"rank0.json.xz", XZ(a)}}, Want: want(two[0])},
		{Kind: "container", Name: "gzip twice", Files: []File{{"rank0.json.gz", Gzip(Gzip(a))}}, Want: want(two[0])},
		{Kind: "container", Name: "zip in gzip", Files: []File{{"x.zip.gz", Gzip(Zip(files...))}}, Want: want(two...),
			Left: left("x.zip.gz")},
		{Kind: "container", Name: "tar in zip", Files: []File{{"hosts.zip", Zip(File{"a/t.tar", Tar(files[0])},
			File{"b/t.tar.gz", Gzip(Tar(files[1:]...))})}}, Want: want(two...),
			Left: []string{"hosts.zip/b/t.tar.gz/t/notes.txt"}},
		{Kind: "container", Name: "zip in tar.zst", Files: []File{{"all.tar.zst", Zstd(Tar(File{"n1/rank0.zip",
			Zip(files[0])}, File{"n2/rank1.json", b}))}}, Want: want(two...)},
		{Kind: "container", Name: "archives in archives", Files: []File{{"rank0.json", a},
			{"x.zip", Zip(File{"1.zip", Zip(File{"2.tar", Tar(File{"3.zip", Zip(File{"4.tar", Tar(files...)})})})})}},
			Want: want(two[0]), Left: []string{"x.zip"}},
		{Kind: "container", Name: "lz4", Files: []File{{"rank0.json.lz4", LZ4(a)}, {"rank1.json", LZ4(b[:900]) +
			LZ4(b[900:])}}, Want: want(two...)},
		{Kind: "container", Name: "xz of two documents", Files: []File{{"x.json.xz", XZ(a) + XZ(b)}},
			Want: want(two...)},
		{Kind: "behind", Name: "a signature behind gzip", Files: []File{{"rank0.json.gz",
			Gzip(a) + "-----BEGIN SIGNATURE-----\nabc\n"}}, Want: want(two[0]),
			Repairs: []string{"content after the end ignored"},
			Says:    map[string][]string{"inspect": {"!truncated", "not read 30 B"}, "report": {"!truncated"}}},
		{Kind: "behind", Name: "log lines behind zstd", Files: []File{{"rank0.json.zst",
			Zstd(a) + "INFO profiler done\n"}}, Want: want(two[0]),
			Repairs: []string{"content after the end ignored"},
			Says:    map[string][]string{"inspect": {"!truncated", "not read 19 B"}}},
		{Kind: "behind", Name: "zeros behind gzip", Files: []File{{"rank0.json.gz", Gzip(a) + strings.Repeat("\x00",
			512)}}, Want: want(two[0]), Says: map[string][]string{"inspect": {"repairs none"}}},
		{Kind: "container", Name: "others beside", Files: []File{{"rank0.json", a},
			{"x.7z", "7z\xbc\xaf\x27\x1c\x00\x04 and more"}, {"y.rar", "Rar!\x1a\x07\x01\x00 and more"}},
			Want: want(two[0]), Left: []string{"x.7z", "y.rar"},
			Says: map[string][]string{"kernels": {"x.7z: a 7-Zip archive: unpack it first", "y.rar: a RAR archive"}}},
		{Kind: "container", Name: "UTF-16", Files: []File{{"rank0.json", UTF16(a, false)},
			{"rank1.json", UTF16(b, true)}}, Want: want(two...)},
	}
}

// layouts are directories as engines leave them; the ranks say nothing of themselves.
func layouts() []Case {
	n := 0.0
	text := func() string { // every one another trace
		n += 13
		return Rank{PID: 7, Steps: 2, From: 1000 + n}.Text()
	}
	return []Case{
		{Kind: "layout", Name: "vLLM-Omni", Files: []File{
			{"20270101-101500_stage_0_llm_1801/trace_rank0.json", text()},
			{"20270101-101500_stage_0_llm_1801/trace_rank1.json", text()},
			{"20270101-101500_stage_0_llm_1801/memory_snapshot_rank0.pickle", "\x80\x04}."},
			{"20270101-101501_stage_2_diffusion_1801/trace_rank0.json.gz", Gzip(text())},
		}, Want: []string{"stage 0 llm rank 0: 10", "stage 0 llm rank 1: 10", "stage 2 diffusion rank 0: 10"},
			Left: []string{"20270101-101500_stage_0_llm_1801/memory_snapshot_rank0.pickle"}},
		{Kind: "layout", Name: "vLLM-Omni, older", Files: []File{{"stage_0_llm_99/trace_rank0.json", text()},
			{"stage_1_diffusion_99_rank0.json", text()}},
			Want: []string{"stage 0 llm rank 0: 10", "stage 1 diffusion rank 0: 10"}},
		{Kind: "layout", Name: "vLLM", Files: []File{
			{"dp0_pp0_tp0_dcp0_ep0_rank0.1801000000000000001.pt.trace.json.gz", Gzip(text())},
			{"dp0_pp0_tp1_dcp0_ep1_rank1.1801000000000000002.pt.trace.json.gz", Gzip(text())},
			{"h_88.async_llm.1801000000000000003.pt.trace.json.gz", Gzip(text())}, {"profiler_out_0.txt", "table"},
		}, Want: []string{"rank 0: 10", "rank 1: 10", "front end: 10"}, Left: []string{"profiler_out_0.txt"}},
		{Kind: "layout", Name: "SGLang by stage", Files: []File{
			{"p-1801-TP-0-EXTEND.trace.json.gz", Gzip(text())}, {"p-1801-TP-0-DECODE.trace.json.gz", Gzip(text())},
			{"p-1801-TP-1-EXTEND.trace.json.gz", Gzip(text())}, {"p-1801-TP-1-DECODE.trace.json.gz", Gzip(text())},
		}, Want: []string{"rank 0 decode: 10", "rank 0 extend: 10", "rank 1 decode: 10", "rank 1 extend: 10"}},
		{Kind: "layout", Name: "SGLang on pipelines", Files: []File{
			{"p-TP-0-PP-0.trace.json", text()}, {"p-TP-1-PP-0.trace.json", text()}, {"p-TP-0-PP-1.trace.json", text()},
			{"p-TP-1-PP-1.trace.json", text()},
		}, Want: []string{"rank 0: 10", "rank 1: 10", "rank 2: 10", "rank 3: 10"}},
		{Kind: "layout", Name: "replicas", Files: []File{
			{"dp0_pp0_tp0_dcp0_ep0_rank0.1.pt.trace.json", text()},
			{"dp1_pp0_tp0_dcp0_ep0_rank0.1.pt.trace.json", text()},
		}, Want: []string{"rank 0: 10", "replica 1 rank 0: 10"}},
		{Kind: "layout", Name: "torchtitan", Files: []File{
			{"profile_traces/iteration_10/rank0_trace.json", text()},
			{"profile_traces/iteration_10/rank1_trace.json", text()},
		}, Want: []string{"rank 0: 10", "rank 1: 10"}},
		{Kind: "layout", Name: "brackets", Files: []File{{"trace/rank[0].json", text()},
			{"trace/rank[1].json", text()}}, Want: []string{"rank 0: 10", "rank 1: 10"}},
	}
}

func others() []Case {
	r := Rank{Rank: 0, World: 2, PID: 3, Steps: 2, From: 10}
	return []Case{
		{Kind: "left out", Name: "what engines leave", Files: []File{
			{"rank0.json", r.Text()}, {"execution_trace_rank0.json", `{"schema": "1.1.1", "nodes": []}`},
			{"table.csv", "a,b"}, {"empty.json", ""}, {"ops_rank0.xlsx", "PK\x03\x04cut"},
			{"model.pt", Zip(File{"a", "b"})},
			{"x.json.tmp", "{"}, {"list.json", "[1, 2]"}, {"page.html", "<html></html>"},
		}, Want: want(r), Left: []string{"empty.json", "execution_trace_rank0.json", "list.json", "model.pt",
			"ops_rank0.xlsx", "page.html",
			"table.csv", "x.json.tmp"}},
		{Kind: "left out", Name: "what was made of a trace", Files: []File{
			{"rank0.json", r.Text()}, {"rank0.arrow", "ARROW1\x00\x00\xff\xff\xff\xff"},
			{"slices.parquet", "PAR1\x15\x04"},
			{"rank0.speedscope.json", `{"$schema":"https://www.speedscope.app/file-format-schema.json","profiles":[]}`},
			{"rank0.folded", "main;step;aten::mm 17\nmain;step 4\n"},
		}, Want: want(r), Left: []string{"rank0.arrow", "rank0.folded", "rank0.speedscope.json", "slices.parquet"},
			Says: map[string][]string{"report": {"columns for other programs", "a speedscope profile"}}},
	}
}
