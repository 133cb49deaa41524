package plausible

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/trace"
)

const us = 1000

// epoch is when the drawn traces begin, ns: files of epoch times.
const epoch = int64(1_615_207_264_504_000_000)

// vendor is how a device's runtime calls things.
type vendor struct {
	launch, graph string
	cat           trace.Category
}

var vendors = []vendor{
	{"cudaLaunchKernel", "cudaGraphLaunch", trace.CatCUDARuntime},
	{"cuLaunchKernelEx", "cuGraphLaunch", trace.CatCUDADriver},
	{"hipExtModuleLaunchKernel", "hipGraphLaunch", trace.CatCUDARuntime},
	{"urEnqueueKernelLaunchWithArgsExp", "urCommandBufferEnqueueGraphLaunch", trace.CatXPURuntime},
	{"aclrtLaunchKernelWithConfig", "aclmdlRIGraphLaunchAsync", trace.CatPrivateRuntime},
}

// program is a thread that launches kernels on some devices, one after the other, 100 µs
// apart.
type program struct {
	t       *trace.Trace
	vendor  vendor
	host    trace.TrackID
	streams []trace.TrackID
	corr    int64
	now     int64 // µs
}

func newProgram(v vendor, devices int) *program {
	p := &program{t: trace.New(), vendor: v}
	p.host = p.t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 7, TID: 7, Device: -1, Stream: -1})
	for d := range devices {
		p.streams = append(p.streams, p.t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: int64(d),
			Stream: int64(7 + d)}))
	}
	return p
}

// call adds a launch call without work.
func (p *program) call(name string) {
	p.corr++
	p.t.AddSlice(trace.Slice{Start: epoch + p.now*us, Dur: 5 * us, Name: name, Cat: p.vendor.cat, Track: p.host,
		Corr: p.corr})
	p.now += 100
}

// work adds what the last call launched: it begins after µs later than the call and lasts
// dur µs.
func (p *program) work(stream int, name string, after, dur int64) int {
	return p.t.AddSlice(trace.Slice{Start: epoch + (p.now-100+after)*us, Dur: dur*us + 1, Name: name,
		Cat: trace.CatKernel, Track: p.streams[stream], Corr: p.corr})
}

// kernels launches n kernels of 50 µs.
func (p *program) kernels(n int) {
	for k := range n {
		p.call(p.vendor.launch)
		p.work(k%len(p.streams), fmt.Sprintf("gemm_%d", k%3), 10, 50)
	}
}

// graph replays a graph of four kernels of 10 µs, or none if the trace lost them.
func (p *program) graph(lost bool) {
	p.call(p.vendor.graph)
	for k := range int64(4) {
		if !lost {
			p.work(0, fmt.Sprintf("node_%d", k), 10+k*12, 10)
		}
	}
}
