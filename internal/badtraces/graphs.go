package badtraces

import (
	"fmt"
	"slices"
	"strings"
)

// graphs are replays of graphs of which the device's recording lost a part of the kernels, some of which it
// lost none though they have fewer, and streams of which very many slices reach over later ones.
func graphs() []Case {
	all := func(int) (int, int) { return 0, 8 }
	return []Case{
		{Kind: "lost work", Name: "of graphs, whole and in part", Files: []File{partGraphs("cudaGraphLaunch", 0,
			func(k int) (int, int) {
				switch {
				case k < 9:
					return 0, 8
				case k < 14:
					return 0, 3
				}
				return 0, 0
			})}, Want: []string{": 107"},
			Says: map[string][]string{"report": {"6 of 20 graph launches have no device work in the trace, 6 at the end",
				"and 5 more graph launches only a part, 3 of 8 kernels", "!device-bound"}}},
		{Kind: "lost work", Name: "of graphs, the beginnings of a few", Files: []File{partGraphs("hipGraphLaunch", 0,
			func(k int) (int, int) {
				if k == 4 || k == 11 || k == 12 {
					return k / 2, 8
				}
				return 0, 8
			})}, Want: []string{": 167"},
			Says: map[string][]string{"report": {"In doubt: 3 of 20 graph launches have only a part of their device work",
				"2 to 6 of 8 kernels that others of the same graph have"}, "steps": {"device work of 2 of 17 steps is missing",
				"20 replays of one graph,", `part of 6 kernels \(hipGraphLaunch\)`}}},
		{Kind: "impossible", Name: "every second slice over the next", Files: []File{overlapping(2, 250)},
			Want: []string{": 120"}, Says: map[string][]string{"report": {
				"In doubt: .* overlap for 30% .* busy for 100% of its time, 69% if each slice ended"}}},
		{Kind: "impossible", Name: "every third slice over the next two", Files: []File{overlapping(3, 290)},
			Want: []string{": 120"}, Says: map[string][]string{"report": {
				"In doubt: .* overlap for .* if each slice ended where the next begins"}}},
		{Kind: "impossible", Name: "every second slice for seconds", Files: []File{overlapping(2, 3e6)},
			Want: []string{": 120"}, Says: map[string][]string{"report": {
				`In doubt: .* lasts 3\.00 s, .*29 more such slices`, "!device-bound"}}},
		{Kind: "graphs", Name: "small ones beside large ones", Files: []File{partGraphs("cudaGraphLaunch", 2, all)},
			Want: []string{": 340"}, Says: map[string][]string{"report": {"!only a part", "!In doubt"}}},
		{Kind: "graphs", Name: "a model in pieces", Files: []File{pieces("cudaGraphLaunch", nil)},
			Want: []string{": 2496"}, Says: map[string][]string{"report": {"!only a part", "!In doubt",
				"device-bound|host-bound|sets the pace alone"}, "steps": {"!missing"}}},
		{Kind: "graphs", Name: "a model in pieces, a few of them cut", Files: []File{pieces("hipGraphLaunch",
			[]int{50, 51, 120, 150, 171})}, Want: []string{": 2471"}, Says: map[string][]string{"report": {
			"In doubt: 5 of 232 graph launches have only a part of their device work in the trace, 3 of 8 kernels"}}},
		{Kind: "graphs", Name: "a draft behind each target, the last one lost", Files: []File{drafted()},
			Want: []string{": 276"}, Says: map[string][]string{"report": {
				"In doubt: 1 of 40 graph launches have no device work", "!only a part"},
				"steps": {"!does not show"}}},
		{Kind: "graphs", Name: "one small one beside a large one", Files: []File{partGraphs("hipGraphLaunch", 1, all)},
			Want: []string{": 260"}, Says: map[string][]string{"report": {"!only a part", "!In doubt"}}},
	}
}

// partGraphs is twenty replays of a graph of eight kernels, of which the trace has those from the first to
// before the last that kept says, each with smaller replays behind it of three of its kernels, as drafts are.
func partGraphs(api string, drafts int, kept func(k int) (first, last int)) File {
	h := newHost(api)
	for k := range 20 {
		at := 1000 + 2000*float64(k)
		h.call(api, at, 10)
		first, last := kept(k)
		for j := first; j < last; j++ {
			h.work("kernel", fmt.Sprint("node_", j), at+20+60*float64(j), 55)
		}
		for d := range drafts {
			at := at + 600 + 300*float64(d)
			h.call(api, at, 10)
			for j := range 3 {
				h.work("kernel", fmt.Sprint("node_", 2*j), at+20+60*float64(j), 55)
			}
		}
	}
	return h.file("graphs.json")
}

// pieces is eight steps of a model of 28 layers whose attention runs between replays of graphs: the first and the
// last graph have a part of the kernels of those between. Of the replays numbered in cut the device's recording
// has three kernels.
func pieces(api string, cut []int) File {
	h := newHost(strings.Replace(api, "GraphLaunch", "LaunchKernel", 1))
	layer := []string{"o_gemm", "rms", "gate_gemm", "silu", "down_gemm", "rms", "qkv_gemm", "rope"}
	n := 0
	for step := range 8 {
		at := 1000 + 5000*float64(step)
		on := at + 100
		h.label("execute_context_0(0)_generation_4(4)", at, 4900)
		for l := range 29 {
			kernels := layer
			switch l {
			case 0:
				kernels = []string{"embed", "rms", "qkv_gemm", "rope"}
			case 28:
				kernels = layer[:6]
			}
			if n++; slices.Contains(cut, n) {
				kernels = kernels[:3]
			}
			h.call(api, at+20+100*float64(l), 20)
			for _, name := range kernels {
				h.work("kernel", name, on, 10)
				on += 11
			}
			if l < 28 {
				h.run("flash_attn", at+60+100*float64(l), on, 30)
				on += 31
			}
		}
	}
	return h.file("pieces.json")
}

// drafted is twenty replays of a target's graph, each with one of its draft's behind it, of which the window
// ended before the last.
func drafted() File {
	h := newHost("cudaGraphLaunch")
	for k := range 20 {
		at := 1000 + 2000*float64(k)
		h.call("cudaGraphLaunch", at, 10)
		for j := range 8 {
			h.work("kernel", fmt.Sprint("node_", j), at+20+60*float64(j), 55)
		}
		h.call("cudaGraphLaunch", at+600, 10)
		for j := 0; j < 4 && k < 19; j++ {
			h.work("kernel", fmt.Sprint("node_", 2*j), at+620+60*float64(j), 55)
		}
	}
	return h.file("drafted.json")
}

// overlapping is sixty kernels 100 µs apart, of which every n-th lasts long and the others 40 µs.
func overlapping(n int, long float64) File {
	h := newHost("hipLaunchKernel")
	for k := range 60 {
		at, dur := 1000+100*float64(k), 40.0
		if k%n == 0 {
			dur = long
		}
		h.run([]string{"gemm", "add"}[k%2], at-20, at, dur)
	}
	return h.file("lane.json")
}
