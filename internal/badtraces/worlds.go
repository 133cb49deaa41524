package badtraces

import (
	"strings"
)

// member is a rank that takes part in collectives of a group.
type member struct {
	file        string
	rank, world int // of the header
	group, desc string
	ranks       string // of the group's members, as the arguments have them
	size        int
	late        []float64 // µs by which it enters each collective
	skip        int       // collectives that its window misses at the begin
	seq         bool
	bytes       func(k int) int
	kernel      string
	base        float64 // µs after the others
}

// text is the member's trace: a collective each ms, which ends with the latest rank of all.
func (m *member) text(all []*member) File {
	h := newHost("cudaLaunchKernel")
	h.rank, h.world, h.pid = m.rank, m.world, 4000+int64(m.rank)
	for k := m.skip; k < len(m.late); k++ {
		at := 1000*float64(k) + m.base
		last := 0.0
		for _, o := range all {
			last = max(last, o.late[k])
		}
		h.run("gemm", at, at+10, 90+m.late[k])
		n := 1 << 20
		if m.bytes != nil {
			n = m.bytes(k)
		}
		args := []any{"Collective name", "allreduce", "In msg nelems", n, "Out msg nelems", n, "dtype", "BFloat16",
			"Group size", m.size, "Process Group Name", m.group, "Process Group Description", m.desc}
		if m.ranks != "" {
			args = append(args, "Process Group Ranks", m.ranks)
		}
		if m.seq {
			args = append(args, "Seq", k)
		}
		h.run(m.kernel, at+10, at+110+m.late[k], last-m.late[k]+200, args...)
	}
	return h.file(m.file)
}

// group makes the members of one group: late is by rank and collective.
func group(files []string, m member, late ...[]float64) []File {
	all := make([]*member, len(late))
	for i := range late {
		x := m
		x.file, x.rank, x.late, x.size = files[i], m.rank+i, late[i], len(late)
		x.kernel = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
		all[i] = &x
	}
	var out []File
	for _, x := range all {
		out = append(out, x.text(all))
	}
	return out
}

func times(n int, us float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = us
	}
	return out
}

// worlds are ranks that do not belong together and look as if they did.
func worlds() []Case {
	join := func(lists ...[]File) (out []File) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	def := member{group: "0", desc: "default_pg", ranks: "[0, 1]", world: 2, seq: true}
	far := def
	far.base = 900e6
	moe := member{group: "ep", desc: "undefined", world: 4}
	return []Case{
		{Kind: "worlds", Name: "prefill and decode servers", Files: join(
			group([]string{"prefill/rank0.json", "prefill/rank1.json"}, def, times(8, 0), times(8, 80)),
			group([]string{"decode/rank0.json", "decode/rank1.json"}, def, times(8, 0), times(8, 0))),
			Want: []string{"prefill rank 0: 32", "prefill rank 1: 32", "decode rank 0: 32", "decode rank 1: 32"},
			Says: map[string][]string{"comms": {`prefill 1 8 640 µs`, `decode 0 0 0 0`}}},
		{Kind: "worlds", Name: "two windows of the same ranks", Files: join(
			group([]string{"iteration_100/rank0_trace.json", "iteration_100/rank1_trace.json"}, def, times(6, 50),
				times(6, 0)),
			group([]string{"iteration_200/rank0_trace.json", "iteration_200/rank1_trace.json"}, far, times(6, 0),
				times(6, 0))),
			Want: []string{"rank 0: 24", "rank 0: 24", "rank 1: 24", "rank 1: 24"},
			Says: map[string][]string{"comms": {`0 iteration_100 6 300 µs`},
				"report": {"iteration_100", "iteration_200"}}},
		{Kind: "worlds", Name: "replicas", Files: join(
			group([]string{"dp0_pp0_tp0_dcp0_ep0_rank0.11.pt.trace.json",
				"dp0_pp0_tp1_dcp0_ep1_rank1.12.pt.trace.json"}, def,
				times(5, 30), times(5, 0)),
			group([]string{"dp1_pp0_tp0_dcp0_ep0_rank0.13.pt.trace.json",
				"dp1_pp0_tp1_dcp0_ep1_rank1.14.pt.trace.json"}, def,
				times(5, 0), times(5, 0))),
			Want: []string{"rank 0: 20", "rank 1: 20", "replica 1 rank 0: 20", "replica 1 rank 1: 20"},
			Says: map[string][]string{"comms": {`0\.0 5 150 µs`}}},
		{Kind: "groups", Name: "of one name", Files: join(
			group([]string{"r0.json", "r1.json"}, with(moe, 0, "[0, 1]"), times(7, 0), times(7, 60)),
			group([]string{"r2.json", "r3.json"}, with(moe, 2, "[2, 3]"), times(7, 20), times(7, 0))),
			Want: []string{"rank 0: 28", "rank 1: 28", "rank 2: 28", "rank 3: 28"},
			Says: map[string][]string{"comms": {`1 7 420 µs`, `2 7 140 µs`}}},
		{Kind: "groups", Name: "of one name, told apart by their messages", Files: join(
			group([]string{"r0.json", "r1.json"}, sized(with(moe, 0, ""), 1<<16), times(7, 0), times(7, 60)),
			group([]string{"r2.json", "r3.json"}, sized(with(moe, 2, ""), 1<<18), times(7, 20), times(7, 0))),
			Want: []string{"rank 0: 28", "rank 1: 28", "rank 2: 28", "rank 3: 28"},
			Says: map[string][]string{"comms": {`1 7 420 µs`, `2 7 140 µs`}}},
		{Kind: "groups", Name: "of one name in lockstep", Files: join(
			group([]string{"r0.json", "r1.json"}, with(moe, 0, ""), times(7, 0), times(7, 0)),
			group([]string{"r2.json", "r3.json"}, with(moe, 2, ""), times(7, 0), times(7, 0))),
			Want: []string{"rank 0: 28", "rank 1: 28", "rank 2: 28", "rank 3: 28"},
			Says: map[string][]string{"comms": {"28 collectives of group ep on 4 ranks were not compared",
				"!came last"}}},
		{Kind: "windows", Name: "one began two collectives later", Files: shifted(2, 9),
			Want: []string{"rank 0: 36", "rank 1: 28"},
			Says: map[string][]string{"comms": {`1 7 350 µs`}}},
		{Kind: "windows", Name: "one began a collective later", Files: shifted(1, 5),
			Want: []string{"rank 0: 20", "rank 1: 16"},
			Says: map[string][]string{"comms": {`1 4 200 µs`}}},
	}
}

// expertParallel are exchanges between experts, and what looks like one.
func expertParallel() []Case {
	return []Case{
		{Kind: "expert parallel", Name: "deep_ep", Files: []File{experts("void deep_ep::intranode::dispatch<8>(int4*)",
			"deep_ep::intranode::combine")}, Want: []string{": 30"},
			Says: map[string][]string{"kernels": {"exposed comm", `2\.25 ms`}}},
		{Kind: "expert parallel", Name: "NPU's operators", Files: []File{experts("MoeDistributeDispatchV2",
			"aclnnMoeDistributeCombineV2_MoeDistributeCombineV2")}, Want: []string{": 30"},
			Says: map[string][]string{"kernels": {"exposed comm", `2\.25 ms`}}},
		{Kind: "expert parallel", Name: "attention in parts, which is none", Files: []File{experts(
			"void flash::flash_fwd_splitkv_kernel<x>", "void flash::flash_fwd_splitkv_combine_kernel<x>")},
			Want: []string{": 30"}, Says: map[string][]string{"kernels": {`exposed comm % .* 0 0%`},
				"report": {"!taken for compute", "!communication without"}}},
		{Kind: "expert parallel", Name: "fused with a matmul", Files: []File{experts("triton_all_gather_matmul",
			"void cutlass::gemm_reduce_scatter<x>(x)")}, Want: []string{": 30"},
			Says: map[string][]string{"kernels": {`exposed comm % .* 0 0%`}, "report": {
				"kernels that by their names communicate and compute at once were counted as compute",
				`triton_all_gather_matmul`}}},
		{Kind: "expert parallel", Name: "a compiler's names, which are compute", Files: []File{experts(
			"triton_red_fused_all_reduce_add_0", "triton_poi_fused_wait_tensor_1")}, Want: []string{": 30"},
			Says: map[string][]string{"report": {"!by their names"}}},
		{Kind: "expert parallel", Name: "nvshmem", Files: []File{experts("nvshmemi_alltoall_kernel",
			"void flashinfer::trtllm_alltoall::moeAllToAllKernel<4>(x)")}, Want: []string{": 30"},
			Says: map[string][]string{"kernels": {"exposed comm", `2\.25 ms`}}},
	}
}

func with(m member, rank int, ranks string) member {
	m.rank, m.ranks = rank, ranks
	return m
}

func sized(m member, n int) member {
	m.bytes = func(k int) int { return n << (k % 3) }
	return m
}

// shifted are two ranks without numbers of collectives, the second of which began later and
// enters late.
func shifted(skip, n int) []File {
	m := member{group: "tp", desc: "tp", ranks: "[0, 1]", world: 2, bytes: func(k int) int { return 4096 << (k % 4) }}
	files := group([]string{"a_rank0.json", "a_rank1.json"}, m, times(n, 0), times(n, 50))
	late := m
	late.rank, late.skip, late.file, late.late, late.size = 1, skip, "a_rank1.json", times(n, 50), 2
	late.kernel = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
	files[1] = late.text([]*member{&late})
	return files
}

// experts is five layers: a gemm, a dispatch of which half is behind it, and a combine that is
// behind nothing.
func experts(dispatch, combine string) File {
	h := newHost("cudaLaunchKernel")
	for k := range 5 {
		at := 2000 * float64(k)
		h.run("gemm", at, at+20, 400)
		h.call(h.api, at+20, 5)
		h.work("kernel", dispatch, at+220, 400)
		last := h.rows[len(h.rows)-1].(event)
		last["tid"] = 20
		last["args"].(event)["stream"] = 20
		h.run(combine, at+650, at+680, 250)
	}
	return h.file("ep.json")
}

// engines are directories as engines and trainers name them, whose files say nothing of
// themselves.
func engines() []Case {
	n := 0.0
	text := func() string {
		n += 17
		return Rank{PID: 9, Steps: 2, From: 2000 + n}.Text()
	}
	lay := func(name string, want []string, files ...string) Case {
		c := Case{Kind: "layout", Name: name, Want: want}
		for _, f := range files {
			t := text()
			switch {
			case strings.HasSuffix(f, "trace_view.json"):
				t = npu(2, true)
			case strings.HasSuffix(f, ".gz"):
				t = Gzip(t)
			}
			c.Files = append(c.Files, File{f, t})
		}
		return c
	}
	two := []string{"rank 0: 10", "rank 1: 10"}
	return []Case{
		lay("DeepSpeed", two, "ds_profile/host1_rank0_step5.pt.trace.json",
			"ds_profile/host1_rank1_step5.pt.trace.json"),
		lay("Megatron", two, "torch_profile/rank-0.json.gz", "torch_profile/rank-1.json.gz"),
		lay("HTA", two, "rank-0.Feb_03_04_05_06.1001.pt.trace.json.gz", "rank-1.Feb_03_04_05_06.1002.pt.trace.json.gz"),
		lay("torchtitan, two iterations", []string{"rank 0: 10", "rank 0: 10", "rank 1: 10", "rank 1: 10"},
			"traces/iteration_50/rank0_trace.json", "traces/iteration_50/rank1_trace.json",
			"traces/iteration_100/rank0_trace.json", "traces/iteration_100/rank1_trace.json"),
		lay("tensorboard", []string{": 10", ": 10"}, "log/node7_4101.1762000000001.pt.trace.json",
			"log/node7_4102.1762000000002.pt.trace.json"),
		lay("NPU", two,
			"dp0_pp0_tp0_dcp0_ep0_rank0_901_20270101010101001_ascend_pt/ASCEND_PROFILER_OUTPUT/trace_view.json",
			"dp0_pp0_tp1_dcp0_ep1_rank1_902_20270101010101001_ascend_pt/ASCEND_PROFILER_OUTPUT/trace_view.json"),
		lay("vLLM-Omni on an NPU", []string{"stage 0 rank 0: 10", "stage 1 rank 0: 10"},
			"stage0_rank0_17/a_1_20270101010101001_ascend_pt/ASCEND_PROFILER_OUTPUT/trace_view.json",
			"stage1_rank0_18/a_2_20270101010101001_ascend_pt/ASCEND_PROFILER_OUTPUT/trace_view.json"),
		lay("vLLM-Omni by rank", []string{"stage 0 rank 0: 10", "stage 0 rank 1: 10", "stage 1 diffusion rank 0: 10"},
			"20270304-050607_stage0_rank0_99/trace_rank0.json", "20270304-050607_stage0_rank1_99/trace_rank0.json",
			"20270304-050608_stage_1_diffusion_99/trace_rank0.json.gz"),
		lay("SGLang with data parallel ranks", []string{"rank 0: 10", "rank 1: 10", "replica 1 rank 0: 10",
			"replica 1 rank 1: 10"},
			"eve-77-TP-0-DP-0.trace.json.gz", "eve-77-TP-1-DP-0.trace.json.gz", "eve-77-TP-0-DP-1.trace.json.gz",
			"eve-77-TP-1-DP-1.trace.json.gz"),
		lay("SGLang's parts", []string{"rank 0 decode: 10", "rank 0 prefill: 10"},
			"b-3-TP-0-decode.trace.json.gz", "b-3-TP-0-prefill.trace.json.gz"),
		lay("SGLang diffusion", two, "logs/7-5_steps-global-rank0.trace.json.gz",
			"logs/7-5_steps-global-rank1.trace.json.gz"),
		lay("SGLang-Omni", []string{"thinker rank 0: 10", "talker rank 0: 10"},
			"run1_thinker_pid41_rank0.trace.json", "run1_talker_pid42_rank0.trace.json"),
		lay("brackets and words", two, "profile/rank[0]/trace.json", "profile/rank[1]/trace.json"),
	}
}
