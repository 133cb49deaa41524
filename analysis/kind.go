package analysis

import (
	"regexp"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Kind is what a slice of device work does.
type Kind uint8

// The kinds of device work.
const (
	KindOther Kind = iota
	KindCompute
	KindCommunication
	KindMemory
	numKinds
)

var kindNames = enum.Of[Kind]("kind", "other", "compute", "communication", "memory")

// String returns the kind's name.
func (k Kind) String() string { return kindNames.Text(k) }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return kindNames.Marshal(k) }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(b []byte) error { return kindNames.Unmarshal(k, b) }

// The three patterns by which HTA types a kernel, matched at the start of the name.
var (
	htaComm    = regexp.MustCompile(`^(?:(?:^nccl.*)|(?:^hip)|(?:^hccl)|(?:.*ncclKernel.*))`)
	htaMemory  = regexp.MustCompile(`^(?:(?:(?:hip)?Memcpy)|(?:(?:hip)?Memset)|(?:dma))`)
	htaNotComp = regexp.MustCompile(`^(?:(?:nccl)|(?:.*Memcpy)|(?:.*Memset)|(?:.*dma)|(?:.*Sync)|(?:Stream Wait Event)|` +
		`(?:cuda.*LaunchKernel)|(?:runFunction)|(?:hip)|(?:job_exe)|(?:packet)|(?:pe_exe)|(?:cpum_exe_subgraph)|(?:hccl)|(?:collective_subgraph_execution))`)
)

// htaKind types a kernel name as HTA does; the first match wins.
func htaKind(name string) Kind {
	switch {
	case htaComm.MatchString(name):
		return KindCommunication
	case htaMemory.MatchString(name):
		return KindMemory
	case !htaNotComp.MatchString(name):
		return KindCompute
	}
	return KindOther
}

// commPrefixes start the names of kernels of communication libraries.
var commPrefixes = []string{"nccl", "hccl", "rccl", "oneccl", "xccl", "mscclpp", "nvshmem", "hcom_", "collective_subgraph_execution"}

// commParts occur in the names of custom collectives of vLLM, SGLang, TensorRT-LLM and
// torch's symmetric memory, always with a namespace or a template in front.
var commParts = []string{
	"ncclKernel", "ncclDevKernel", "cross_device_reduce", "quick_all_reduce", "quickreduce",
	"one_shot_all_reduce", "two_shot_all_reduce", "multimem_all_reduce", "multimem_one_shot",
	"allreduce_fusion", "allreduce_kernel", "oneShotAllReduce", "twoShotAllReduce", "all_reduce_kernel",
	"all_gather_kernel", "reduce_scatter_kernel", "deep_ep::",
}

// mtiaWrapper starts the names of MTIA rows that enclose others.
var mtiaWrapper = []string{"job_exe", "packet", "pe_exe", "cpum_exe_subgraph", "runFunction"}

// kindOf types device work by its category and name: unlike HTA's patterns, a kernel
// whose name merely contains "Sync", "dma" or starts with "hip" stays compute.
func kindOf(cat trace.Category, name string) Kind {
	switch cat {
	case trace.CatGPUMemcpy, trace.CatGPUMemset:
		return KindMemory
	case trace.CatCollectiveComm:
		return KindCommunication
	}
	for _, p := range commPrefixes {
		if strings.HasPrefix(name, p) {
			return KindCommunication
		}
	}
	for _, p := range commParts {
		if strings.Contains(name, p) {
			return KindCommunication
		}
	}
	if cat == trace.CatMTIACCP {
		if strings.HasPrefix(name, "dma") {
			return KindMemory
		}
		for _, p := range mtiaWrapper {
			if strings.HasPrefix(name, p) {
				return KindOther
			}
		}
	}
	return KindCompute
}

// KindOf types device work by its category and name, as the analyses do without
// Options.HTA.
func KindOf(cat trace.Category, name string) Kind { return kindOf(cat, name) }
