package badtraces

import (
	"fmt"
	"strings"
)

// wordings are what verbs once said wrongly of a sound trace.
func wordings() []Case {
	empty := Rank{PID: 3, Steps: 4, From: 10, Rank: 0, World: 2}.Text()
	with := func(last string) string { return strings.Replace(empty, "\n ]", ",\n"+last+"\n ]", 1) }
	return []Case{
		{Kind: "wording", Name: "the slowest of a few steps", Files: []File{uneven("ProfilerStep#%d")},
			Want: []string{": 120"},
			Says: map[string][]string{"steps": {"the slowest of 40 steps takes 9.00 ms", "!in a hundred",
				"!step step"}}},
		{Kind: "wording", Name: "the slowest of a few decode steps", Files: []File{uneven("step[DECODE bs=%d]")},
			Want: []string{": 120"},
			Says: map[string][]string{"steps": {"the slowest of 40 decode steps takes 9.00 ms", "!in a hundred",
				"!step step"}}},
		{Kind: "wording", Name: "one kernel that repeats", Files: []File{repeats(10, "gemm")}, Want: []string{": 10"},
			Says: map[string][]string{"steps": {"!nothing that repeats", "no sequence of two or more launches"}}},
		{Kind: "wording", Name: "one copy that repeats", Files: []File{repeats(12, "Memcpy HtoD (Pinned -> Device)")},
			Want: []string{": 12"},
			Says: map[string][]string{"steps": {"!nothing that repeats", "no sequence of two or more launches"}}},
		{Kind: "wording", Name: "an empty event at the end", Files: []File{{"rank0.json", with("{}")}},
			Want: []string{"rank 0: 20"}, Says: map[string][]string{"inspect": {"!truncated"},
				"report": {"!repaired"}}},
		{Kind: "wording", Name: "empty events at the end, packed", Files: []File{{"rank0.json.gz",
			Gzip(with("{ },\n{}"))}}, Want: []string{"rank 0: 20"},
			Says: map[string][]string{"inspect": {"!truncated"}, "report": {"!repaired"}}},
		{Kind: "wording", Name: "pickles", Files: []File{{"rank0.json", empty},
			{"weights.pickle", "\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e."},
			{"optimizer.pkl", "\x80\x02}q\x00X\x05\x00\x00\x00stateq\x01K\x01s."}},
			Want: []string{"rank 0: 20"}, Left: []string{"optimizer.pkl", "weights.pickle"},
			Says: map[string][]string{"report": {"weights.pickle.*: a pickle, and no memory snapshot",
				"!perhaps a memory snapshot"}}},
	}
}

// uneven is forty labelled steps, of which one takes nine times as long.
func uneven(label string) File {
	h := newHost("cudaLaunchKernel")
	at := 0.0
	for k := range 40 {
		took := 1000.0
		if k == 20 {
			took = 9000
		}
		h.label(fmt.Sprintf(label, k+1), at, took-10)
		h.run("gemm", at+5, at+10, took-40)
		at += took
	}
	return h.file("uneven.json")
}

// repeats is n slices of one name on a stream, and nothing else.
func repeats(n int, name string) File {
	h := newHost("")
	for k := range n {
		h.work("kernel", name, 40*float64(k), 30)
	}
	return h.file("alone.json")
}
