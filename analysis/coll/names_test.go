package coll

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestNormal(t *testing.T) {
	for in, want := range map[string]string{
		"allreduce": "allreduce", "c10d::allreduce_": "allreduce", "nccl:all_reduce": "allreduce",
		"AllReduce":           "allreduce",
		"allreduce_coalesced": "allreduce", "_allgather_base": "allgather", "c10d::_allgather_base_": "allgather",
		"gloo:all_gather": "allgather", "_c10d_functional::all_gather_into_tensor": "allgather",
		"c10d::_reduce_scatter_base_": "reducescatter", "reduce_scatter_tensor_coalesced": "reducescatter",
		"all_to_allv": "alltoall", "all_to_all_single": "alltoall", "c10d::alltoall_base_": "alltoall",
		"hcom_alltoallvc_": "alltoall",
		"nccl:send 0->1":   "send", "nccl:recv 1<-0": "recv", "nccl:broadcast": "broadcast", "c10d::reduce_": "reduce",
		"gather":        "gather",
		"c10d::barrier": "barrier", "wait": "wait", "_c10d_functional::wait_tensor": "wait", "pointToPoint": "sendrecv",
		"my_op": "my_op", "c10d::my_op_": "my_op",
	} {
		if got := Normal(in); got != want {
			t.Errorf("Normal(%q) = %q, want %q", in, got, want)
		}
	}
}

// Kernels of libraries and engines, and what looks like them and computes.
var kernelNames = []struct {
	name string
	comm bool
	op   string
}{
	{"ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", true, "allreduce"},
	{"ncclKernel_AllGather_RING_LL_Sum_int8_t(ncclDevComm*)", true, "allgather"},
	{"ncclDevKernel_ReduceScatter_Sum_f32_RING_SIMPLE", true, "reducescatter"},
	{"ncclDevKernel_SendRecv", true, "sendrecv"}, {"ncclDevKernel_Reduce_Sum_f32_RING_LL", true, "reduce"},
	{"ncclDevKernel_Broadcast_RING_LL", true, "broadcast"}, {"ncclDevKernel_Generic_1(ncclDevKernelArgsStorage)", true,
		""},
	{"ncclSymkDevKernel_AllReduce_AGxLL_R_sum_bf16", true, "allreduce"}, {"mscclKernel_Sum_half_LL", true, ""},
	{"hcom_allReduce__123_0_1", true, "allreduce"}, {"hcom_reduceScatter__123_2_1", true, "reducescatter"},
	{"oneccl_allreduce_small_kernel", true, "allreduce"}, {"void ccl::ll_ring<float>(float*)", true, ""},
	{"void vllm::cross_device_reduce_1stage<__nv_bfloat16, 4>(vllm::RankData*)", true, "allreduce"},
	{"void quickreduce::allreduce_prototype_twoshot<x>()", true, "allreduce"},
	{"void dpsk::ep::internode::dispatch<false, 8, false, 8>(int4*, float*)", true, "dispatch"},
	{"void deep_ep::intranode::combine<__nv_bfloat16, 4, 768>(__nv_bfloat16*)", true, "combine"},
	{"void deep_ep::internode_ll::dispatch<true, 3, 10, 7168>(void*, float*)", true, "dispatch"},
	{"void deep_ep::internode::notify_dispatch<false, 8>(int const*)", true, "dispatch"},
	{"uccl::ep::internode::combine<8>", true, "combine"}, {"void internode_v2::dispatch(int4*)", true, "dispatch"},
	{"void nixl_ep::ep_kernels::combine<1>(int*)", true, "combine"},
	{"mori::moe::EpDispatchIntraNodeKernel<hip_bfloat16>", true, "dispatch"},
	{"EpCombineInterNodeKernel", true, "combine"},
	{"void pplx::dispatchKernel<true>(int)", true, "dispatch"},
	{"void tensorrt_llm::kernels::moe_comm::moeAllToAllKernel<4>(x)", true, "alltoall"},
	{"moeA2ADispatchKernel", true, "dispatch"},
	{"MoeDistributeDispatchV2", true, "dispatch"}, {"aclnnMoeDistributeCombine_MoeDistributeCombine", true, "combine"},
	{"void nvshmemi_transfer_put<1>(x)", true, ""}, {"nvshmem_barrier_all_kernel", true, "barrier"},
	{"void mscclpp::allreduce<int>(int*)", true, "allreduce"},
	{"void (anonymous namespace)::all_to_all_kernel<int>(int*)", true, "alltoall"},
	{"all_to_all_single_2d", true, "alltoall"}, {"aiv_all_gather_910b_bigdata", true, "allgather"},
	{"flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<x>", true, "allreduce"},
	{"userbuffers_fp16_sum_inplace_gpu_rr_rs_oop", true, ""},
	{"void hybrid_ep::dispatch_kernel<8>(x)", true, "dispatch"}, {"deepep_ll_combine", true, "combine"},
	{"fused_a2a_dispatch", true, "dispatch"},

	{"void cutlass::device_kernel<gemm>", false, ""}, {"ampere_bf16_s16816gemm_128x64", false, ""},
	{"void at::native::reduce_kernel<512, 1>(x)", false, ""},
	{"void at::native::_scatter_gather_elementwise_kernel<x>()", false, ""},
	{"triton_red_fused_all_reduce_wait_tensor_0", false, ""}, {"void moe_align_block_size_kernel<int>(int*)", false,
		""},
	{"void fused_gemm<nccl::Comm, mscclpp::Channel>(nccl::Comm*)", false, ""}, {"cutlass_gemm_allreduce", false, ""},
	{"hipblaslt_gemm", false, ""}, {"void step::forward(int)", false, ""},
	{"void deep_gemm::fp8_gemm<1>(x)", false, ""},
	{"vllm::moe::topkGating<8>", false, ""}, {"Memcpy PtoP (Device -> Device)", false, ""},
}

func TestKernel(t *testing.T) {
	for _, k := range kernelNames {
		cat := trace.CatKernel
		if k.name[:4] == "Memc" {
			cat = trace.CatGPUMemcpy
		}
		got := Kernel(cat, k.name)
		if got != k.comm {
			t.Errorf("Kernel(%q) = %v", k.name, got)
		}
		if op := KernelOp(k.name); got && op != k.op {
			t.Errorf("KernelOp(%q) = %q, want %q", k.name, op, k.op)
		}
	}
	if !Kernel(trace.CatCollectiveComm, "anything") {
		t.Error("a collective_comm row does not communicate")
	}
	for name, want := range map[string]bool{
		"my_moe_dispatch_tokens": true, "ibgda_write": true, "exchange_halo": true, "remote_copy_kernel": true,
		"ampere_bf16_s16816gemm": false, "void at::native::dispatch_helper<int>": false, "flash_fwd_kernel": false,
		"void flash::flash_fwd_splitkv_combine_kernel<x>": false, "kernel_unified_attention_combine": false,
		"triton_all_gather_matmul": true, "cutlass_gemm_allreduce": true, "aclnnMatmulReduceScatter": true,
		"triton_red_fused_all_reduce_wait_tensor_0": false, "triton_poi_fused_add_0": false,
	} {
		if got := Doubtful(name); got != want {
			t.Errorf("Doubtful(%q) = %v", name, got)
		}
	}
}

func TestDTypeSize(t *testing.T) {
	for in, want := range map[string]int64{
		"Float": 4, "c10::BFloat16": 2, "BFloat16": 2, "torch.int64": 8, "Byte": 1, "c10::complex<float>": 8,
		"ComplexDouble": 16,
		"Float8_e4m3fn": 1, "FP16": 2, "long int": 8, "what": 0, "": 0,
	} {
		if got := DTypeSize(in); got != want {
			t.Errorf("DTypeSize(%q) = %d, want %d", in, got, want)
		}
	}
}
