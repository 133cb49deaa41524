package hta

import (
	"regexp"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Type is HTA's type of a kernel.
type Type uint8

// The types of kernels, in the order of analysis.Kind.
const (
	Other Type = iota
	Compute
	Communication
	Memory
)

// The three patterns by which HTA types a kernel, matched at the start of the name.
var (
	commPattern    = regexp.MustCompile(`^(?:(?:^nccl.*)|(?:^hip)|(?:^hccl)|(?:.*ncclKernel.*))`)
	memoryPattern  = regexp.MustCompile(`^(?:(?:(?:hip)?Memcpy)|(?:(?:hip)?Memset)|(?:dma))`)
	notCompPattern = regexp.MustCompile(
		`^(?:(?:nccl)|(?:.*Memcpy)|(?:.*Memset)|(?:.*dma)|(?:.*Sync)|(?:Stream Wait Event)|` +
			`(?:cuda.*LaunchKernel)|(?:runFunction)|(?:hip)|(?:job_exe)|(?:packet)|(?:pe_exe)|(?:cpum_exe_subgraph)|(?:hccl)|` +
			`(?:collective_subgraph_execution))`)
)

// TypeOf types a kernel by its name; the first pattern that matches wins.
func TypeOf(name string) Type {
	switch {
	case commPattern.MatchString(name):
		return Communication
	case memoryPattern.MatchString(name):
		return Memory
	case !notCompPattern.MatchString(name):
		return Compute
	}
	return Other
}

// enqueuing are the calls that add to a queue's length.
var enqueuing = map[string]bool{
	"cudaLaunchKernel": true, "cudaLaunchKernelExC": true, "cudaMemcpyAsync": true, "cudaMemsetAsync": true,
	"cuLaunchKernel": true, "cuLaunchKernelEx": true, "hipLaunchKernel": true, "hipExtModuleLaunchKernel": true,
	"hipMemsetAsync": true, "hipMemcpyAsync": true, "hipMemcpyWithStream": true,
}

// Enqueues reports whether a call of this name adds to a queue's length.
func Enqueues(name string) bool { return enqueuing[name] || strings.HasPrefix(name, "runFunction") }

// launching are the calls that HTA's launch statistics count; copying are those of them that can be
// left out.
var (
	launching = map[string]bool{"cudaLaunchKernel": true, "cudaLaunchKernelExC": true,
		"runFunction - job_prep_and_submit_for_execution": true}
	copying = map[string]bool{"cudaMemcpyAsync": true, "cudaMemsetAsync": true}
)

// LaunchCall reports whether HTA's launch statistics count a call of this name. noMemory leaves out
// copies and fills.
func LaunchCall(name string, noMemory bool) bool {
	return launching[name] || strings.HasPrefix(name, "runFunction") || !noMemory && copying[name]
}

// IdleRow reports whether a row of this category ends idle time.
func IdleRow(c trace.Category) bool {
	return c == trace.CatKernel || c == trace.CatGPUMemcpy || c == trace.CatGPUMemset || c == trace.CatMTIACCP
}

// StreamWait is the name of the rows that WaitEventsOnPath is about.
const StreamWait = "Stream Wait Event"
