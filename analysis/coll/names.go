package coll

import (
	"regexp"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// exactOps maps the names of operations, without "_", "-" and case, to one name each.
var exactOps = map[string]string{
	"allreducecoalesced": "allreduce", "allreducesparse": "allreduce",
	"alltoallsingle": "alltoall", "alltoallv": "alltoall", "alltoallvc": "alltoall", "alltoallbase": "alltoall",
	"reduceoop": "reduce", "broadcastoop": "broadcast", "bcast": "broadcast",
	"pointtopoint": "sendrecv", "batchsendrecv": "sendrecv", "isend": "send", "irecv": "recv", "recvanysource": "recv",
	"monitoredbarrier": "barrier", "allreducebarrier": "barrier",
	"waittensor": "wait", "waitall": "wait", "startcoalescing": "wait", "endcoalescing": "wait",
}

// stems are operations as they occur within longer names, the more telling first: a
// "reduce_scatter_tensor_coalesced" is no reduce and no scatter.
var stems = []struct{ text, op string }{
	{"reducescatter", "reducescatter"}, {"allreduce", "allreduce"}, {"allgather", "allgather"},
	{"alltoall", "alltoall"}, {"broadcast", "broadcast"}, {"barrier", "barrier"}, {"sendrecv", "sendrecv"},
}

// plainOps are names that mean an operation only if nothing else stands beside them.
var plainOps = map[string]bool{
	"reduce": true, "gather": true, "scatter": true, "send": true, "recv": true, "wait": true, "init": true,
}

var squeeze = strings.NewReplacer("_", "", "-", "", " ", "")

// operators are the namespaces of torch's operators, backends the prefixes of the labels
// that backends put round their work on the host.
var (
	operators = []string{"c10d::", "_c10d_functional::", "c10d_functional::", "_c10d_functional_autograd::"}
	backends  = []string{
		"nccl:", "gloo:", "rccl:", "hccl:", "mpi:", "xccl:", "ccl:", "oneccl:", "ucc:", "lccl:", "eccl:", "mccl:", "cncl:",
	}
)

// Normal returns one name for each operation: "allreduce" for "c10d::allreduce_",
// "nccl:all_reduce" and "AllReduce". A name that is none of the known ones comes back
// without its namespace.
func Normal(name string) string {
	if op, ok := known(name); ok {
		return op
	}
	return strings.Trim(bare(name), "_")
}

// bare takes namespace or backend off a name, and the ranks off "send 0->1".
func bare(name string) string {
	for _, p := range operators {
		if s, ok := strings.CutPrefix(name, p); ok {
			return s
		}
	}
	for _, p := range backends {
		if s, ok := strings.CutPrefix(name, p); ok {
			s, _, _ = strings.Cut(strings.TrimSpace(s), " ")
			return s
		}
	}
	return name
}

// known is Normal for names that are certainly operations.
func known(name string) (string, bool) {
	key := strings.ToLower(squeeze.Replace(bare(name)))
	if op, ok := exactOps[key]; ok {
		return op, true
	}
	if plainOps[key] {
		return key, true
	}
	for _, s := range stems {
		if strings.Contains(key, s.text) {
			return s.op, true
		}
	}
	return "", false
}

// Unknown is the operation of a kernel that communicates without saying what.
const Unknown = "unknown"

// moves reports whether an operation moves data or holds ranks up.
func moves(op string) bool { return op != "wait" && op != "init" && op != "" }

// HostLabel reports whether a host slice of this name belongs to a collective: torch's
// record of its arguments, its operators, the labels of backends.
func HostLabel(name string) bool {
	return name == "record_param_comms" || isOperator(name) || isBackend(name)
}

func isOperator(name string) bool {
	for _, p := range operators {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func isBackend(name string) bool {
	for _, p := range backends {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// libraryPrefixes start the names of kernels of communication libraries: NCCL and RCCL,
// HCCL, oneCCL and XCCL, MSCCL++, NVSHMEM and ROC_SHMEM, the NPU's collectives, MTIA's.
var libraryPrefixes = []string{
	"nccl", "hccl", "rccl", "oneccl", "xccl", "mscclpp", "mscclKernel", "nvshmem", "rocshmem", "ishmem", "hcom_",
	"aclshmem",
	"collective_subgraph_execution",
}

// libraries are the namespaces of communication libraries; a kernel in one communicates,
// however its template and result type are written.
var libraries = regexp.MustCompile(`(?:^|[^A-Za-z0-9_])(?:` +
	`nccl\w*|rccl\w*|oneccl\w*|xccl|ccl|mscclpp|msccl|nvshmem\w*|rocshmem\w*|ishmem\w*|` +
	`deep_ep|deepep|pplx(?:_kernels)?|mori|uccl|quickreduce|moe_comm|moe_alltoall|flashinfer::comm|` +
	`userbuffers|symm_mem|lamport` +
	`)::`)

// expertParallel are the kernels of expert parallelism that stand in a namespace of an
// engine's own: …::ep::internode::dispatch, …::intranode::combine.
var expertParallel = regexp.MustCompile(`(?:` +
	`(?:^|[^A-Za-z0-9_])ep::\w|` +
	`(?:^|[^A-Za-z0-9_])(?:internode|intranode)(?:_ll|_v\d+)?::\w|` +
	`\bEp(?:Dispatch|Combine)|` +
	`[Mm]oe_?(?:[Dd]istribute_?)(?:[Dd]ispatch|[Cc]ombine)|` +
	`[Mm]oe_?A2A|moe_?a2a|\ba2a_(?:dispatch|combine)|low_latency_(?:dispatch|combine)|` +
	`(?:^|[^A-Za-z0-9])(?:notify_dispatch|cached_notify)` +
	`)`)

// ofDispatch tells the two halves of an exchange between experts.
var ofDispatch = regexp.MustCompile(`(?i)dispatch`)
var ofCombine = regexp.MustCompile(`(?i)combine`)

// commParts occur in the names of custom collectives of vLLM, SGLang, TensorRT-LLM, Transformer
// Engine and torch's symmetric memory.
var commParts = []string{
	"ncclKernel", "ncclDevKernel", "ncclSymk", "cross_device_reduce", "quick_all_reduce", "quickreduce", "quick_reduce",
	"multimem_one_shot", "multimem_all_gather", "multimem_all_reduce", "userbuffers_", "mnnvl_", "nvshmemx_",
	"nvshmemi_", "exchangeSplitAndOffset",
	"collective_permute",
}

// spelled finds operations within the names of kernels whose library nobody registered:
// all_to_all_kernel, oneShotAllReduceKernel, aiv_all_gather_910b.
var spelled = regexp.MustCompile(`(?i)(?:all_?reduce|all_?gather|reduce_?scatter|all_?to_?all)`)

// fused begin or mark the names of compute that an operation stands in only for what it
// is fused with: inductor's kernels are named after the nodes of their graph.
var fused = regexp.MustCompile(`^triton_|(?i:gemm|matmul)`)

// Kernel reports whether device work of this category and name communicates. Copies
// between devices do not count: they are memory.
func Kernel(cat trace.Category, name string) bool {
	if cat == trace.CatGPUMemcpy || cat == trace.CatGPUMemset {
		return false
	}
	if cat == trace.CatCollectiveComm {
		return true
	}
	for _, p := range libraryPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	for _, p := range commParts {
		if strings.Contains(name, p) {
			return true
		}
	}
	head := withoutArguments(name)
	if libraries.MatchString(head) || expertParallel.MatchString(head) {
		return true
	}
	return spelled.MatchString(head) && !fused.MatchString(head)
}

// withoutArguments cuts what stands between the parentheses and brackets of a kernel's
// signature: a gemm that takes an nccl type as an argument is a gemm.
func withoutArguments(name string) string {
	if !strings.ContainsAny(name, "<(") {
		return name
	}
	var b strings.Builder
	depth := 0
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '<', '(':
			if strings.HasPrefix(name[i:], "(anonymous namespace)") {
				i += len("(anonymous namespace)") - 1
				continue
			}
			depth++
		case '>', ')':
			depth = max(0, depth-1)
		default:
			if depth == 0 {
				b.WriteByte(name[i])
			}
		}
	}
	return b.String()
}

// KernelOp names the operation of a kernel that communicates: as Normal does, "dispatch"
// and "combine" for the exchange between experts, "" if the name does not tell.
func KernelOp(name string) string {
	head := withoutArguments(name)
	switch {
	case ofDispatch.MatchString(head):
		return "dispatch"
	case ofCombine.MatchString(head):
		return "combine"
	}
	if op, ok := known(head); ok {
		return op
	}
	key := strings.ToLower(squeeze.Replace(head))
	if strings.Contains(key, "crossdevicereduce") || strings.Contains(key, "quickreduce") {
		return "allreduce"
	}
	for _, op := range []string{"reduce", "send", "recv", "gather", "scatter"} {
		if strings.HasPrefix(key, "nccl") && strings.Contains(key, "kernel"+op) {
			return op
		}
	}
	return ""
}

// doubtful are words that the names of kernels have which send or wait for data of other
// devices, and that some kernels have which do not.
var doubtful = regexp.MustCompile(`(?i)(?:dispatch|combine|exchange|shmem|rdma|ibgda|nvlink|a2a|p2p|peer|remote|` +
	`put_?signal|wait_?signal|` +
	`barrier|all2all|sync_?ranks|multi_?gpu|communicat)`)

// Doubtful reports whether a kernel that Kernel does not take for communication has a name
// that would suit it. Whoever counts it as compute should say so.
func Doubtful(name string) bool {
	head := withoutArguments(name)
	return doubtful.MatchString(head) && !strings.HasPrefix(head, "at::native") && !strings.Contains(head, "at::native::")
}
