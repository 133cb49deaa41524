package identity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// who writes what hints say as "stage 0 llm replica 1 rank 2 …", leaving out what is
// unknown.
func who(h identity.Hints) string {
	var p []string
	add := func(is bool, format string, args ...any) {
		if is {
			p = append(p, fmt.Sprintf(format, args...))
		}
	}
	add(h.StageID >= 0, "stage %d", h.StageID)
	add(h.Stage != "", "%s", h.Stage)
	add(h.Replica >= 0, "replica %d", h.Replica)
	add(h.Rank >= 0, "rank %d", h.Rank)
	add(h.Role != "", "role %s", h.Role)
	add(h.Phase != "", "phase %s", h.Phase)
	add(h.Host != "", "host %s", h.Host)
	add(h.PID != 0, "pid %d", h.PID)
	add(h.Part >= 0, "part %d", h.Part)
	add(h.Merged, "merged")
	places := identity.Places(&trace.Meta{Identity: h.Identity})
	add(places != "", "(%s)", places)
	return strings.Join(p, " ")
}

func TestFromPath(t *testing.T) {
	for path, want := range map[string]string{
		// This project.
		"runs/01J/stage0_thinker/trace_rank0.json.gz":             "stage 0 thinker rank 0",
		"runs/01J/stage2_code2wav/recording_replica2_rank1.ksrec": "stage 2 code2wav replica 2 rank 1",
		"spool/01J/stage2_replica0_rank3.ksrec":                   "stage 2 replica 0 rank 3",
		"runs/01J/stage1_text_encoder/trace_rank12.json":          "stage 1 text_encoder rank 12",
		"a/b/stage3_vae/x/y/trace.json":                           "stage 3 vae",
		"stage3_vae/1/2/3/4/trace.json":                           "",
		// vLLM-Omni.
		"in/20260320-101500_stage_0_llm_1773709679/trace_rank0.json":               "stage 0 llm rank 0",
		"in/20260320-101502_stage_2_diffusion_1773709679/trace_rank1.json.gz":      "stage 2 diffusion rank 1",
		"in/stage_1_llm_1773709679/trace_rank3.json":                               "stage 1 llm rank 3",
		"in/stage_1_llm_ab12cd34ef/trace_rank3.json":                               "stage 1 llm rank 3",
		"in/stage_0_diffusion_1773709679_rank0.json":                               "stage 0 diffusion rank 0",
		"in/20260320-101500_stage1_rank2_1773709679/trace_rank2.json":              "stage 1 rank 2",
		"in/20260320-101500_diffusion_rank1_1773709679/trace_rank1.json":           "diffusion rank 1",
		"in/20260320-101500_diffusion_1773709679/trace_rank1.json":                 "diffusion rank 1",
		"in/stage1_rank0/host_88_20260320101500123_ascend_pt":                      "stage 1 rank 0 host host pid 88",
		"in/thinker/trace_rank1.json":                                              "thinker rank 1",
		"in/talker_rank1.json":                                                     "talker rank 1",
		`D:\prof\20260320-101500_stage_2_diffusion_1773709679\trace_rank1.json.gz`: "stage 2 diffusion rank 1",
		`x.zip/20260320-101500_stage_10_llm_17/trace_rank11.json`:                  "stage 10 llm rank 11",
		"in/20260320-101500_STAGE_2_DIFFUSION_1773709679/TRACE_RANK1.JSON.GZ":      "stage 2 diffusion rank 1",
		"in/20260320-101500_stage_0_replica_1_llm_1773709679/trace_rank0.json":     "stage 0 llm replica 1 rank 0",
		"in/20260320-101500_stage_0_llm_replica1_1773709679/trace_rank0.json":      "stage 0 llm replica 1 rank 0",
		"in/20260320-101500_stage0_replica2_rank5_17/trace_rank1.json":             "stage 0 replica 2 rank 5",
		"in/20260320-101500_stage_1_llm_rank9_17/trace_rank1.json":                 "stage 1 llm rank 9",
		// Workers of servers that part prefill from decode, stages of SGLang-Omni that we know by no name.
		"prefill_worker_0/rank1.json":                        "replica 0 rank 1 role prefill",
		"pd/decode-engine-2/1760-TP-1.trace.json.gz":         "replica 2 rank 1 role decode (tp 1)",
		"prefill-1760000000-TP-1.trace.json.gz":              "rank 1 role prefill (tp 1)",
		"decode_worker1_rank0.json":                          "replica 1 rank 0 role decode",
		"decode_step_trace.json":                             "",
		"run_20270101_vision_adapter_pid88_rank1.trace.json": "vision_adapter rank 1",
		"bench_aggregator_pid88_rank0.trace.json":            "aggregator rank 0",
		"7f3e-talker_ar_pid41_rank12.trace.json":             "talker_ar rank 12",
		"bench_talker_mtp_pid41_rank0.trace.json.gz":         "talker_mtp rank 0",
		"1773709679_pid41_rank0.trace.json":                  "rank 0",
		"default_pid41_rank0.trace.json":                     "rank 0",
		// vLLM.
		"dp0_pp0_tp1_dcp0_ep1_rank3.1760000000123456789.pt.trace.json.gz":          "rank 3 (dp 0, pp 0, tp 1, dcp 0, ep 1)",
		"evening_dp1_pp0_tp1_dcp0_ep1_rank3.1760000000123456789.pt.trace.json.gz":  "rank 3 (dp 1, pp 0, tp 1, dcp 0, ep 1)",
		"evening_rank2.1760000000123456789.pt.trace.json.gz":                       "rank 2",
		"9f3a-rank-3.1760000000123456789.pt.trace.json.gz":                         "rank 3",
		"max4_vm_26277.async_llm.1795910569599746071.pt.trace.json.gz":             "role front end host max4_vm pid 26277",
		"vm_26277.1795910569599746071.pt.trace.json.gz":                            "host vm pid 26277",
		"capture_traces/graph_capture_rank_0.1760000000123456789.pt.trace.json.gz": "rank 0 phase graph capture",
		"capture_traces/tp1_rank1.1760000000123456789.pt.trace.json.gz":            "rank 1 phase graph capture (tp 1)",
		"DP1_PP0_TP2_DCP0_EP2_RANK2.1760000000123456789.pt.trace.json.gz":          "rank 2 (dp 1, pp 0, tp 2, dcp 0, ep 2)",
		// SGLang.
		"graph_capture_profile/cuda_graph_capture-Eager-TP-1.json.gz": "rank 1 phase graph capture (tp 1)",
		"cuda_graph_capture-Eager-TP-3.json.gz":                       "rank 3 phase graph capture (tp 3)",
		"1760000000.25-TP-2.trace.json.gz":                            "rank 2 (tp 2)",
		"1760000000-TP-2-DP-1-EXTEND.trace.json.gz":                   "rank 2 phase extend (dp 1, tp 2)",
		"bystage-kid7-TP-0-DECODE.trace.json.gz":                      "rank 0 phase decode (tp 0)",
		"pre-id-TP-1-DP-0-PP-1-EP-1-DECODE.trace.json.gz":             "rank 1 phase decode (dp 0, pp 1, tp 1, ep 1)",
		"id-TP-1.part3.trace.json.gz":                                 "rank 1 part 3 (tp 1)",
		"merged-1760000000.1.trace.json.gz":                           "merged",
		// torchtitan, Megatron, DeepSpeed, HTA, tensorboard and others.
		"outputs/profile_traces/iteration_10/rank0_trace.json": "rank 0",
		"torch_profile/rank-7.json.gz":                         "rank 7",
		"x/rank[0].json":                                       "rank 0",
		"x/trace_rank[12]_step4.json":                          "rank 12",
		"x/rank=5/trace.json":                                  "rank 5",
		"x/ds_trace_rank_4.json":                               "rank 4",
		"x/rank-34.Jul_15_10_52_41.1074.pt.trace.json.gz":      "rank 34",
		"x/inference_rank_0.json":                              "rank 0",
		"host_1074.1712196748123.pt.trace.json":                "host host pid 1074",
		"worker0.1623143089861.pt.trace.json":                  "rank 0",
		"node2/gpu_5/trace.json":                               "rank 5 host node2",
		"run7/worker-12/host.trace.json.gz":                    "rank 12",
		"x/profile_rank:3.json":                                "rank 3",
		"node1/trace_rank9.json":                               "rank 9 host node1",
		"node1/local_rank3_rank11.json":                        "rank 11 host node1",
		"node1/local_rank3.json":                               "rank 3 host node1",
		"prefill/rank0.json":                                   "rank 0 role prefill",
		"decode-1/rank0.json":                                  "replica 1 rank 0 role decode",
		// NPU.
		"dp0_pp0_tp1_dcp0_ep0_rank1_4711_20260320101500123_ascend_pt":                "rank 1 pid 4711 (dp 0, pp 0, tp 1, dcp 0, ep 0)",
		"n1_4711_20260320101500123_ascend_pt/ASCEND_PROFILER_OUTPUT/trace_view.json": "host n1 pid 4711",
		// Nothing.
		"frankly5.json":                 "",
		"rank99999999999999999999.json": "",
		"edit.json":                     "",
		"trace.json":                    "",
		"-":                             "",
		"":                              "",
	} {
		if got := who(identity.FromPath(path)); got != want {
			t.Errorf("%s:\n got %q\nwant %q", path, got, want)
		}
	}
}

func TestLearn(t *testing.T) {
	m := trace.Meta{Rank: 2, StageID: -1, Host: "a"}
	identity.Learn(&m, identity.FromPath("20260320-101500_stage_1_llm_177/trace_rank0.json"))
	if m.Rank != 2 || m.StageID != 1 || m.Learnt[trace.FieldRank] != trace.FromContent ||
		m.Learnt[trace.FieldStage] != trace.FromDir {
		t.Errorf("rank %d stage %d learnt %v", m.Rank, m.StageID, m.Learnt)
	}
	identity.Learn(&m, identity.FromPath("stage_2_diffusion_1_rank7.json"))
	if m.Rank != 2 || m.StageID != 2 || m.Stage != "diffusion" || m.Learnt[trace.FieldStage] != trace.FromFile {
		t.Errorf("learnt again: rank %d stage %d %s learnt %v", m.Rank, m.StageID, m.Stage, m.Learnt)
	}
}

// rank is the Meta of a trace at path, with a window in ms after an instant.
func rank(path string, from, to int64) *trace.Meta {
	const epoch = int64(1_760_000_000_000_000_000)
	m := &trace.Meta{Rank: -1, StageID: -1, File: path, WallClock: true, WindowStart: epoch + from*1e6,
		WindowEnd: epoch + to*1e6}
	identity.Learn(m, identity.FromPath(path))
	return m
}

// undated is the same without a wall clock.
func undated(path string) *trace.Meta {
	m := rank(path, 0, 10)
	m.WallClock, m.WindowStart, m.WindowEnd = false, 0, 10e6
	return m
}

// said is m where the content says the rank.
func said(rank int, m *trace.Meta) *trace.Meta {
	m.Rank = rank
	return m
}

func job(size int, m *trace.Meta) *trace.Meta {
	m.WorldSize = size
	return m
}

func TestWorlds(t *testing.T) {
	for name, c := range map[string]struct {
		in   []*trace.Meta
		want string
	}{
		"one rank":  {[]*trace.Meta{rank("a/rank0.json", 0, 10)}, "[0]"},
		"two ranks": {[]*trace.Meta{rank("a/rank1.json", 0, 10), rank("a/rank0.json", 5, 15)}, "[1 0]"},
		"two stages": {[]*trace.Meta{
			rank("stage0_thinker/rank0.json", 0, 10), rank("stage0_thinker/rank1.json", 0, 10),
			rank("stage1_talker/rank0.json", 0, 10), rank("stage1_talker/rank1.json", 0, 10),
		}, "thinker[0 1] talker[2 3]"},
		"one directory a rank": {[]*trace.Meta{
			rank("20260320-101500_stage0_rank0_177/trace_rank0.json", 0, 10),
			rank("20260320-101501_stage0_rank1_178/trace_rank1.json", 0, 10),
		}, "[0 1]"},
		"two captures in time": {[]*trace.Meta{
			rank("rank0.1760000000000000001.pt.trace.json", 0, 10),
			rank("rank0.1760000000000000002.pt.trace.json", 20, 30),
			rank("rank1.1760000000000000003.pt.trace.json", 1, 11),
			rank("rank1.1760000000000000004.pt.trace.json", 21, 31),
		}, "capture 1[0 2] capture 2[1 3]"},
		"two hosts at once": {[]*trace.Meta{
			said(0, rank("hosta_10.1760000000000000001.pt.trace.json", 0, 10)),
			said(1, rank("hosta_11.1760000000000000002.pt.trace.json", 1, 11)),
			said(0, rank("hostb_10.1760000000000000003.pt.trace.json", 0, 10)),
			said(1, rank("hostb_11.1760000000000000004.pt.trace.json", 1, 11)),
		}, "hosta[0 1] hostb[2 3]"},
		"two captures by directory": {[]*trace.Meta{
			undated("iteration_10/rank0_trace.json"), undated("iteration_10/rank1_trace.json"),
			undated("iteration_20/rank0_trace.json"), undated("iteration_20/rank1_trace.json"),
		}, "iteration_10[0 1] iteration_20[2 3]"},
		"two captures by name": {[]*trace.Meta{
			undated("a-TP-0.trace.json"), undated("a-TP-1.trace.json"), undated("b-TP-0.trace.json"),
			undated("b-TP-1.trace.json"),
		}, "a[0 1] b[2 3]"},
		"far apart": {[]*trace.Meta{rank("rank0.json", 0, 10), rank("rank1.json", 3_600_000, 3_600_010)},
			"capture 1[0] capture 2[1]"},
		"seconds apart": {[]*trace.Meta{rank("rank0.json", 0, 10), rank("rank1.json", 900, 910)}, "[0 1]"},
		"front end": {[]*trace.Meta{
			rank("rank0.1760000000000000001.pt.trace.json", 0, 10),
			rank("vm_7.async_llm.1760000000000000001.pt.trace.json", 0, 10),
		}, "ranks[0] front end[1]"},
		"phases": {[]*trace.Meta{
			rank("x-TP-0-DECODE.trace.json", 0, 10), rank("x-TP-0-EXTEND.trace.json", 0, 10),
			rank("x-TP-1-DECODE.trace.json", 0, 10), rank("x-TP-1-EXTEND.trace.json", 0, 10),
		}, "decode[0 2] extend[1 3]"},
		"jobs of two sizes": {[]*trace.Meta{
			job(2, rank("a/rank0.json", 0, 10)), job(2, rank("a/rank1.json", 0, 10)),
			job(8, rank("b/rank7.json", 0, 10)), rank("a/rank3.json", 0, 10),
		}, "of 2 ranks[0 1 3] of 8 ranks[2]"},
		"replicas": {[]*trace.Meta{
			rank("s/stage0_replica0_rank0.ksrec", 0, 10), rank("s/stage0_replica1_rank0.ksrec", 0, 10),
		}, "stage 0 replica 0[0] stage 0 replica 1[1]"},
		"skewed turns": {[]*trace.Meta{
			undated("x/rank0.json"), undated("x/rank0 (1).json"), undated("x/rank1.json"), undated("x/rank1 (1).json"),
		}, "ranks[0 2] (1)[1 3]"},
	} {
		var got []string
		seen := map[int]bool{}
		for _, w := range identity.Worlds(c.in) {
			got = append(got, w.Name+fmt.Sprint(w.Traces))
			for _, i := range w.Traces {
				if seen[i] {
					t.Errorf("%s: trace %d is in two worlds", name, i)
				}
				seen[i] = true
			}
		}
		if len(seen) != len(c.in) {
			t.Errorf("%s: %d of %d traces are in a world", name, len(seen), len(c.in))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %s, want %s", name, s, c.want)
		}
	}
}

func TestLabels(t *testing.T) {
	for name, c := range map[string]struct {
		in   []*trace.Meta
		want []string
	}{
		"ranks": {[]*trace.Meta{rank("rank0.json", 0, 1), rank("rank1.json", 0, 1)}, []string{"0", "1"}},
		"stages": {[]*trace.Meta{rank("stage_0_llm_17/trace_rank0.json", 0, 1),
			rank("stage_1_llm_17/trace_rank0.json", 0, 1)}, []string{"stage 0 llm 0", "stage 1 llm 0"}},
		"named": {[]*trace.Meta{rank("stage0_thinker/rank0.json", 0, 1), rank("stage1_talker/rank0.json", 0, 1)},
			[]string{"thinker 0", "talker 0"}},
		"twice": {[]*trace.Meta{rank("a/rank0.json", 0, 1), rank("b/rank0.json", 0, 1), rank("b/rank1.json", 0, 1)},
			[]string{"0 a", "0 b", "1 b"}},
		"files": {[]*trace.Meta{rank("a/x.json", 0, 1), rank("a/y.json.gz", 0, 1)}, []string{"x", "y"}},
		"phases": {[]*trace.Meta{rank("k-TP-0-EXTEND.trace.json", 0, 1), rank("k-TP-0-DECODE.trace.json", 0, 1)},
			[]string{"0 extend", "0 decode"}},
	} {
		var files []string
		for _, m := range c.in {
			files = append(files, m.File)
		}
		if got := identity.Labels(c.in, files); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func FuzzFromPath(f *testing.F) {
	f.Add("in/20260320-101500_stage_0_llm_1773709679/trace_rank0.json")
	f.Add("dp0_pp0_tp1_dcp0_ep1_rank3.1760000000123456789.pt.trace.json.gz")
	f.Add("rank[[[(((0/")
	f.Fuzz(func(t *testing.T, path string) {
		h := identity.FromPath(path)
		if h.Rank > 999_999 || h.StageID > 9999 {
			t.Errorf("%q: rank %d stage %d", path, h.Rank, h.StageID)
		}
		m := &trace.Meta{Rank: -1, StageID: -1, File: path}
		identity.Learn(m, h)
		if w := identity.Worlds([]*trace.Meta{m, m}); len(w) == 0 {
			t.Error("no world")
		}
		identity.Labels([]*trace.Meta{m, m}, []string{path, path})
	})
}

// TestCopies: a trace is there once however it was written anew, cut or put in another order; another window,
// another rank's trace and one of which nothing but names is equal are others.
func TestCopies(t *testing.T) {
	type row struct {
		start, dur int64
		name       string
	}
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]row, 3000)
	for i := range rows {
		rows[i] = row{1.7e18 + int64(i)*31_337, 1000 + r.Int64N(40_000), fmt.Sprint("k", r.IntN(40))}
	}
	changed := func(f func(i int, x row) row) []row {
		out := slices.Clone(rows)
		for i := range out {
			out[i] = f(i, out[i])
		}
		return out
	}
	shuffled := slices.Clone(rows)
	r.Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
	part := func(rows []row) []row {
		out := slices.Clone(rows)
		r.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
		return out
	}
	some := slices.DeleteFunc(slices.Clone(rows), func(x row) bool { return x.dur%3 == 0 })
	rounded := changed(func(_ int, x row) row { return row{(x.start + 125) / 250 * 250, x.dur, x.name} })
	for name, c := range map[string]struct {
		other []row
		rank  int // of the other one; the first is of rank 0
		want  []int
	}{
		"in another order":                  {shuffled, 0, []int{-1, 0}},
		"rounded":                           {rounded, 0, []int{-1, 0}},
		"a third":                           {rows[:1000], 0, []int{-1, 0}},
		"the first half in another order":   {part(rows[:1500]), 0, []int{-1, 0}},
		"half from the middle, and rounded": {part(rounded[700:2200]), 0, []int{-1, 0}},
		"two in three in another order":     {part(some), 0, []int{-1, 0}},
		"half, and half of another window": {append(part(rows[:1500]), changed(func(_ int, x row) row {
			return row{x.start + 2e9, x.dur, x.name}
		})[:1500]...), 0, []int{-1, -1}},
		"without a few": {slices.Concat(shuffled[:100], shuffled[101:]), -1, []int{-1, 0}},
		"more":          {append(slices.Clone(rows), row{1.8e18, 5, "x"}), -1, []int{1, -1}},
		"one step later": {changed(func(i int, x row) row {
			return row{x.start + 31_337, rows[(i+1)%3000].dur, rows[(i+1)%3000].name}
		}), 0, []int{-1, -1}},
		"of another rank": {shuffled, 1, []int{-1, -1}},
		"too little":      {rows[:3], 0, []int{-1, -1}},
		"another window": {changed(func(_ int, x row) row { return row{x.start + 1e9, x.dur, x.name} }), 0,
			[]int{-1, -1}},
		"in step, with device work of its own": {changed(func(i int, x row) row {
			return row{x.start, x.dur + int64(i%3/2)*37_000, x.name}
		}), -1, []int{-1, -1}},
		"begins alike, and one slice in ten is longer": {changed(func(i int, x row) row {
			return row{x.start, x.dur + int64(min(i, 100)/100*(1-min(1, i%10)))*9000, x.name}
		}), 0, []int{-1, -1}},
		"one slice is longer": {changed(func(i int, x row) row {
			return row{x.start, x.dur + int64(i/2900*(1-min(1, i%2900)))*9000, x.name}
		}), -1, []int{-1, -1}},
		"other work at the same time": {changed(func(_ int, x row) row {
			return row{x.start, x.dur + 7000, x.name}
		}), 0, []int{-1, -1}},
	} {
		var list []*trace.Meta
		var sizes []int
		for k, of := range [][]row{rows, c.other} {
			tr := trace.New()
			tr.Meta.Rank = k * c.rank
			track := tr.AddTrack(trace.Track{Device: -1, Stream: -1})
			for _, x := range of {
				tr.AddSlice(trace.Slice{Start: x.start, Dur: x.dur, Name: x.name, Track: track})
			}
			tr.Window()
			tr.Meta.Print = identity.Print(tr)
			tr.Meta.Sketch, tr.Meta.Content = identity.Sketch(tr)
			list, sizes = append(list, &tr.Meta), append(sizes, tr.Slices.Len())
		}
		if got := identity.Copies(list, sizes); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestCopiesInAnyFile: a rank that was written into a file of all ranks, whose window is that of its slices, is the
// trace of the rank's own file, which counts; so is one whose window is longer.
func TestCopiesInAnyFile(t *testing.T) {
	read := func(partOf int, longer int64) (*trace.Meta, int) {
		tr := trace.New()
		tr.Meta.Rank, tr.Meta.Part = 0, partOf
		track := tr.AddTrack(trace.Track{Device: -1, Stream: -1})
		for i := range int64(500) {
			if partOf > 0 {
				i = 499 - i
			}
			tr.AddSlice(trace.Slice{Start: 1.7e18 + i*31_337, Dur: 1000 + i%7, Name: fmt.Sprint("k", i%9),
				Track: track})
		}
		tr.Window()
		tr.Meta.WindowStart, tr.Meta.WindowEnd = tr.Meta.WindowStart-longer, tr.Meta.WindowEnd+longer
		tr.Meta.Print = identity.Print(tr)
		tr.Meta.Sketch, tr.Meta.Content = identity.Sketch(tr)
		return &tr.Meta, tr.Slices.Len()
	}
	merged, n := read(1, 0)
	own, m := read(0, 30_000_000)
	if got := identity.Copies([]*trace.Meta{merged, own}, []int{n, m}); !slices.Equal(got, []int{1, -1}) {
		t.Errorf("%v", got)
	}
}

// TestNames: traces that are written into one file have names of their own that a reader takes for ranks.
func TestNames(t *testing.T) {
	meta := func(rank, stageID int, stage, role, host string) *trace.Meta {
		m := trace.New().Meta
		m.Rank, m.StageID, m.Stage, m.Role, m.Host = rank, stageID, stage, role, host
		return &m
	}
	for _, c := range []struct {
		name  string
		list  []*trace.Meta
		files []string
		want  string
	}{
		{"ranks of one server", []*trace.Meta{meta(0, -1, "", "", "a"), meta(1, -1, "", "", "a")},
			[]string{"r0.json", "r1.json"}, "rank 0, rank 1"},
		{"of two servers", []*trace.Meta{meta(0, -1, "", "", ""), meta(1, -1, "", "", ""), meta(0, -1, "", "", ""),
			meta(1, -1, "", "", "")}, []string{"s1/r0.json", "s1/r1.json", "s2/r0.json", "s2/r1.json"},
			"s1 rank 0, s1 rank 1, s2 rank 0, s2 rank 1"},
		{"of two hosts", []*trace.Meta{meta(0, -1, "", "", "node-1"), meta(0, -1, "", "", "node-2")},
			[]string{"r0.json", "r0.json"}, "node-1 rank 0, node-2 rank 0"},
		{"of two days", []*trace.Meta{meta(0, -1, "", "", ""), meta(0, -1, "", "", "")},
			[]string{"2026 01/r0.json", "2026 02/r0.json"}, "in.2026.01 rank 0, in.2026.02 rank 0"},
		{"stages", []*trace.Meta{meta(0, 1, "talker", "", ""), meta(0, 1, "talker", "", "")},
			[]string{"s1/r0.json", "s2/r0.json"}, "talker.s1 rank 0, talker.s2 rank 0"},
		{"roles", []*trace.Meta{meta(0, -1, "", "decode", ""), meta(0, -1, "", "decode", "")},
			[]string{"s1/r0.json", "s2/r0.json"}, "decode.s1 rank 0, decode.s2 rank 0"},
		{"one file twice", []*trace.Meta{meta(0, -1, "", "", ""), meta(0, -1, "", "", "")},
			[]string{"r0.json", "r0.json"}, "in.1 rank 0, in.2 rank 0"},
	} {
		if got := strings.Join(identity.Names(c.list, c.files), ", "); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
