package coll

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// The meanings of words as regular expressions, which are slower and easier to read.
var patterns = map[meaning]*regexp.Regexp{
	meansLibrary: regexp.MustCompile(`(?:^|[^A-Za-z0-9_])(?:` +
		`nccl\w*|rccl\w*|oneccl\w*|xccl|ccl|mscclpp|msccl|nvshmem\w*|rocshmem\w*|ishmem\w*|` +
		`deep_ep|deepep|pplx(?:_kernels)?|mori|uccl|quickreduce|moe_comm|moe_alltoall|flashinfer::comm|` +
		`userbuffers|symm_mem|lamport` +
		`)::|` +
		`(?:^|[^A-Za-z0-9_])ep::\w|` +
		`(?:^|[^A-Za-z0-9_])(?:internode|intranode)(?:_ll|_v\d+)?::\w|` +
		`\bEp(?:Dispatch|Combine)|` +
		`(?i:moe_?(?:distribute_?)(?:dispatch|combine))|` +
		`(?i:moe_?a2a|\ba2a_(?:dispatch|combine)|low_latency_(?:dispatch|combine))|` +
		`(?:^|[^A-Za-z0-9])(?i:notify_dispatch|cached_notify)`),
	meansSpelled:  regexp.MustCompile(`(?i)(?:all_?reduce|all_?gather|reduce_?scatter|all_?to_?all)`),
	meansFused:    regexp.MustCompile(`^triton_|(?i:gemm|matmul)`),
	meansDispatch: regexp.MustCompile(`(?i)dispatch`),
	meansCombine:  regexp.MustCompile(`(?i)combine`),
	meansDoubt: regexp.MustCompile(`(?i)(?:dispatch|combine|exchange|shmem|rdma|ibgda|nvlink|a2a|p2p|peer|remote|` +
		`put_?signal|wait_?signal|barrier|all2all|sync_?ranks|multi_?gpu|communicat)`),
}

// pieces are what names are drawn from.
var pieces = strings.Fields(
	`nccl rccl ccl msccl mscclpp nvshmem ishmem deep_ep ep Ep pplx pplx_kernels mori uccl moe_comm flashinfer::comm
	internode intranode _ll _v2 _v :: : _ dispatch Dispatch combine Combine EpDispatch moe Moe _distribute a2a moea2a low_latency_ notify_
	cached_notify all reduce All Reduce gather scatter to triton_ gemm GEMM matmul put signal wait barrier p2p peer x 7 Z multi gpu . < > ( )
	communicat sync ranks exchange lamport symm_mem userbuffers quickreduce`)

// TestWords: the one pass finds what regular expressions find, in names drawn from their words.
func TestWords(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of names, one after the other: make unit reads them")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	found := map[meaning]int{}
	for range 30_000 {
		var b strings.Builder
		for range 1 + rnd.IntN(6) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		name := b.String()
		got := heads.in([]byte(name))
		for m, p := range patterns {
			if want := p.MatchString(name); want != (got&m != 0) {
				t.Fatalf("%q: meaning %b is %v, want %v", name, m, !want, want)
			} else if want {
				found[m]++
			}
		}
	}
	for m := range patterns {
		if found[m] < 50 {
			t.Errorf("meaning %b in %d names only", m, found[m])
		}
	}
}

// TestNamesAllocate: a kernel's name is read without a copy of it, so that a trace in which
// every name is another one costs what any trace costs.
func TestNamesAllocate(t *testing.T) {
	for _, name := range []string{"gemm_7",
		"void foo_71::kernel<float, (anonymous namespace)::F<71>>(int, float const*)", strings.Repeat("a<b>::", 60)} {
		if n := testing.AllocsPerRun(100, func() { sink = Kernel(0, name) || Doubtful(name) }); n > 0 {
			t.Errorf("%.40s: %.0f allocations", name, n)
		}
	}
}

var sink bool
