package coll

import (
	"bytes"
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

// stems are operations as parts of longer names, the more specific first:
// "reduce_scatter_tensor_coalesced" is neither a reduce nor a scatter.
var stems = []struct{ text, op string }{
	{"reducescatter", "reducescatter"}, {"allreduce", "allreduce"}, {"allgather", "allgather"},
	{"alltoall", "alltoall"}, {"broadcast", "broadcast"}, {"barrier", "barrier"}, {"sendrecv", "sendrecv"},
}

// plainOps are names that mean an operation only if they stand alone.
var plainOps = map[string]bool{
	"reduce": true, "gather": true, "scatter": true, "send": true, "recv": true, "wait": true, "init": true,
}

var squeeze = strings.NewReplacer("_", "", "-", "", " ", "")

// operators are the namespaces of torch's operators, backends the prefixes of the labels
// that backends put round their work on the host.
var (
	operators = []string{"c10d::", "_c10d_functional::", "c10d_functional::", "_c10d_functional_autograd::"}
	backends  = []string{
		"nccl:", "gloo:", "rccl:", "hccl:", "mpi:", "xccl:", "ccl:", "oneccl:", "ucc:", "lccl:", "eccl:", "mccl:",
		"cncl:",
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

// bare removes the namespace or backend from a name, and the ranks from "send 0->1".
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

// Unknown is the operation of a kernel that communicates and does not say how.
const Unknown = "unknown"

// moves reports whether an operation moves data or blocks ranks.
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

// namespaces are those of communication libraries; a kernel in one communicates,
// however its template and result type are written. An ending in * stands for any letters.
var namespaces = []string{
	"nccl*", "rccl*", "oneccl*", "xccl", "ccl", "mscclpp", "msccl", "nvshmem*", "rocshmem*", "ishmem*", "nixl*",
	"deep_ep", "deepep", "hybrid_ep", "pplx", "pplx_kernels", "mori", "uccl", "quickreduce", "moe_comm", "moe_alltoall",
	"flashinfer::comm",
	"userbuffers", "symm_mem", "lamport",
}

// commParts occur in the names of custom collectives of vLLM, SGLang, TensorRT-LLM, Transformer
// Engine and torch's symmetric memory, in their arguments too.
var commParts = []string{
	"ncclKernel", "ncclDevKernel", "ncclSymk", "cross_device_reduce", "quick_all_reduce", "quickreduce", "quick_reduce",
	"multimem_one_shot", "multimem_all_gather", "multimem_all_reduce", "userbuffers_", "mnnvl_", "nvshmemx_",
	"nvshmemi_", "exchangeSplitAndOffset",
	"collective_permute",
}

// experts are the kernels of expert parallelism that stand in a namespace of an engine's
// own: …::ep::internode::dispatch, …::intranode::combine.
var experts = []word{
	{text: "ep", exact: "ep", before: noWord, after: member},
	{text: "internode", exact: "internode", before: noWord, after: version},
	{text: "intranode", exact: "intranode", before: noWord, after: version},
	{text: "epdispatch", exact: "EpDispatch", before: noWord}, {text: "epcombine", exact: "EpCombine", before: noWord},
	{text: "moedistributedispatch"}, {text: "moe_distributedispatch"}, {text: "moedistribute_dispatch"},
	{text: "moe_distribute_dispatch"},
	{text: "moedistributecombine"}, {text: "moe_distributecombine"}, {text: "moedistribute_combine"},
	{text: "moe_distribute_combine"},
	{text: "moea2a"}, {text: "moe_a2a"}, {text: "a2a_dispatch", before: noLetter},
	{text: "a2a_combine", before: noLetter}, {text: "deepep_", before: noLetter},
	{text: "low_latency_dispatch"}, {text: "low_latency_combine"},
	{text: "notify_dispatch", before: noLetter}, {text: "cached_notify", before: noLetter},
}

// spelled are operations that may be parts of the names of kernels of unknown libraries:
// all_to_all_kernel, oneShotAllReduceKernel, aiv_all_gather_910b.
var spelled = []string{
	"allreduce", "all_reduce", "allgather", "all_gather", "reducescatter", "reduce_scatter",
	"alltoall", "all_toall", "allto_all", "all_to_all",
}

// fused are words of kernels that compute. If their names contain an operation too they do both at once, as
// triton_all_gather_matmul, GemmAllReduce and MatmulReduceScatter do, and count as compute: the
// communication in them hides behind their own compute and leaves no time that could be told from it.
// They are Doubtful.
var fused = []word{{text: "triton_", exact: "triton_", before: nothing}, {text: "gemm"}, {text: "matmul"}}

// compiled marks kernels that inductor named after the nodes of their graph, as triton_red_fused_all_reduce_add_0:
// the operation is a kernel of its own, whose result they read.
var compiled = []word{{text: "_fused_"}}

// doubtful are words in the names of kernels that send data to other devices or wait for it, and
// also of some kernels that do not.
var doubtful = []string{
	"dispatch", "combine", "exchange", "shmem", "rdma", "ibgda", "nvlink", "a2a", "p2p", "peer", "remote",
	"putsignal", "put_signal", "waitsignal", "wait_signal", "barrier", "all2all", "syncranks", "sync_ranks",
	"multigpu", "multi_gpu", "communicat",
}

// attention are words of kernels that combine the parts of an attention, on one device.
var attention = []string{"attention", "attn", "flash", "splitk", "split_k", "mla_"}

// parts finds commParts, heads finds all other words, which count only outside of arguments.
var parts, heads = finders()

func finders() (parts, heads *finder) {
	var inAll, inHead []word
	for _, s := range commParts {
		inAll = append(inAll, word{text: strings.ToLower(s), exact: s, means: meansLibrary})
	}
	for _, s := range namespaces {
		w := word{before: noWord, after: scope, means: meansLibrary}
		var open bool
		if w.text, open = strings.CutSuffix(s, "*"); open {
			w.after = scopeLater
		}
		w.exact = w.text
		inHead = append(inHead, w)
	}
	add := func(m meaning, list ...word) {
		for _, w := range list {
			w.means = m
			inHead = append(inHead, w)
		}
	}
	add(meansLibrary, experts...)
	add(meansFused, fused...)
	add(meansCompiled, compiled...)
	for _, s := range spelled {
		add(meansSpelled, word{text: s})
	}
	for _, s := range doubtful {
		add(meansDoubt, word{text: s})
	}
	for _, s := range attention {
		add(meansAttention, word{text: s})
	}
	add(meansDispatch, word{text: "dispatch"})
	add(meansCombine, word{text: "combine"})
	return newFinder(inAll), newFinder(inHead)
}

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
	var buf [nameBytes]byte
	text := append(buf[:0], name...)
	if parts.in(text) != 0 {
		return true
	}
	m := heads.in(withoutArguments(text))
	return m&meansLibrary != 0 || m&(meansSpelled|meansFused) == meansSpelled
}

// nameBytes is the length in bytes up to which a name is examined without an allocation. Nearly all
// kernels have shorter names.
const nameBytes = 1024

// anonymous stands in names for a namespace and begins no arguments.
const anonymous = "(anonymous namespace)"

// withoutArguments removes the text between the parentheses and brackets of a kernel's signature: a
// gemm that takes an nccl type as an argument is a gemm. The result overwrites name.
func withoutArguments(name []byte) []byte {
	if bytes.IndexByte(name, '<') < 0 && bytes.IndexByte(name, '(') < 0 {
		return name
	}
	out := name[:0]
	depth := 0
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '<', '(':
			if len(name)-i >= len(anonymous) && string(name[i:i+len(anonymous)]) == anonymous {
				i += len(anonymous) - 1
				continue
			}
			depth++
		case '>', ')':
			depth = max(0, depth-1)
		default:
			if depth == 0 {
				out = append(out, name[i])
			}
		}
	}
	return out
}

// KernelOp names the operation of a kernel that communicates: as Normal does, "dispatch"
// and "combine" for the exchange between experts, "" if the name does not tell.
func KernelOp(name string) string {
	text := withoutArguments([]byte(name))
	switch m := heads.in(text); {
	case m&meansDispatch != 0:
		return "dispatch"
	case m&meansCombine != 0:
		return "combine"
	}
	head := string(text)
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

var native = []byte("at::native::")

// Doubtful reports whether a kernel that Kernel does not take for communication has a name that may
// mean communication, or that it communicates and computes at once. An analysis that counts it as
// compute should say so.
func Doubtful(name string) bool {
	var buf [nameBytes]byte
	head := withoutArguments(append(buf[:0], name...))
	m := heads.in(head)
	return (m&(meansDoubt|meansAttention) == meansDoubt || atOnce(m)) &&
		!bytes.HasPrefix(head, native[:len(native)-2]) && !bytes.Contains(head, native)
}

// Fused reports whether a kernel's name says that it communicates and computes at once.
func Fused(name string) bool {
	var buf [nameBytes]byte
	return atOnce(heads.in(withoutArguments(append(buf[:0], name...))))
}

func atOnce(m meaning) bool {
	return m&(meansFused|meansSpelled) == meansFused|meansSpelled && m&(meansLibrary|meansCompiled) == 0
}
