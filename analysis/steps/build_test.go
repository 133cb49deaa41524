package steps

import (
	"github.com/kinetoscope/kinetoscope/trace"
)

// gpu builds the trace of a host thread and one stream. Times are in µs.
type gpu struct {
	t            *trace.Trace
	host, stream trace.TrackID
	corr         int64
	now          int64 // of the host
	free         int64 // when the stream is done
}

const us = 1000

func newGPU() *gpu {
	g := &gpu{t: trace.New()}
	g.host = g.t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	g.stream = g.t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	return g
}

// launch makes the host spend call µs on a launch of kernels of dur µs each, that run
// one after the other, at the earliest latency µs after the call.
func (g *gpu) launch(name string, call, dur int64, kernels ...string) int {
	const latency = 2
	g.corr++
	cat := trace.CatCUDARuntime
	at := g.t.AddSlice(trace.Slice{Start: g.now * us, Dur: call * us, Name: name, Cat: cat, Track: g.host,
		Corr: g.corr})
	g.now += call
	start := max(g.free, g.now+latency)
	for _, k := range kernels {
		g.t.AddSlice(trace.Slice{Start: start * us, Dur: dur * us, Name: k, Cat: trace.CatKernel, Track: g.stream,
			Corr: g.corr})
		start += dur
	}
	g.free = start
	return at
}

func (g *gpu) kernel(name string, call, dur int64) int {
	return g.launch("cudaLaunchKernel", call, dur, name)
}

// annotate puts a slice over what f does on the host.
func (g *gpu) annotate(name string, cat trace.Category, f func()) int {
	start := g.now
	f()
	return g.t.AddSlice(trace.Slice{Start: start * us, Dur: (g.now - start) * us, Name: name, Cat: cat, Track: g.host})
}

func (g *gpu) label(name string, f func()) int { return g.annotate(name, trace.CatUserAnnotation, f) }

// sync makes the host wait for the stream.
func (g *gpu) sync() { g.now = max(g.now, g.free) }

// layers launches a transformer: kernels once a step, and six a layer.
func (g *gpu) layers(n int, call, dur int64, attention string) {
	g.kernel("embedding", call, dur)
	for range n {
		for _, k := range []string{"rmsnorm", "gemm_qkv", "rope", attention, "gemm_o", "gemm_mlp"} {
			g.kernel(k, call, dur)
		}
	}
	g.kernel("rmsnorm_final", call, dur)
	g.kernel("gemm_head", call, dur)
	g.kernel("softmax", call, dur)
	g.kernel("argmax", call, dur)
}
