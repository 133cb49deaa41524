package steps

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/trace"
)

// loop draws a program's loop: what the host does before its launches, what it launches on
// which devices, what it does after. Times are in µs.
type loop struct {
	steps   int
	before  int64  // host work before the first launch
	kernels int    // a step
	dur     int64  // of a kernel
	after   int64  // host work after the last launch
	ops     string // name of the slices of that host work; "" leaves it unrecorded
	cat     trace.Category
	label   func(i int) string // "" for none; the label ends with the last launch
	whole   bool               // the label covers the host work as well
	devices int                // 0 is 1
	inTurn  bool               // the devices work one after the other, not at the same time
	ahead   bool               // the host does not wait for the device
	call    string             // of a launch; "" is cudaLaunchKernel
	older   int64              // device work that was launched before the first step
}

// draw makes the trace.
func (l loop) draw() *trace.Trace {
	g := newGPU()
	streams := []trace.TrackID{g.stream}
	for d := 1; d < l.devices; d++ {
		streams = append(streams, g.t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: int64(d), Stream: 7}))
	}
	free := make([]int64, len(streams))
	if l.call == "" {
		l.call = "cudaLaunchKernel"
	}
	launch := func(stream int, name string, dur, notBefore int64) {
		g.corr++
		g.t.AddSlice(trace.Slice{Start: g.now * us, Dur: 5 * us, Name: l.call, Cat: trace.CatCUDARuntime, Track: g.host,
			Corr: g.corr})
		g.now += 5
		start := max(free[stream], g.now+2, notBefore)
		g.t.AddSlice(trace.Slice{Start: start * us, Dur: dur * us, Name: name, Cat: trace.CatKernel,
			Track: streams[stream], Corr: g.corr})
		free[stream] = start + dur
	}
	host := func(dur int64) {
		if dur > 0 && l.ops != "" {
			g.t.AddSlice(trace.Slice{Start: g.now * us, Dur: dur * us, Name: l.ops, Cat: l.cat, Track: g.host})
		}
		g.now += dur
	}
	if l.older > 0 {
		launch(0, "older", l.older, 0)
	}
	for i := range l.steps {
		begin := g.now
		if !l.whole {
			host(l.before)
			begin = g.now
		} else {
			host(l.before)
		}
		for s := range streams {
			var turn int64
			if l.inTurn && s > 0 {
				turn = free[s-1]
			}
			for k := range l.kernels {
				launch(s, fmt.Sprintf("gemm_%d", k), l.dur, turn)
			}
		}
		end := g.now
		if !l.ahead {
			for _, f := range free {
				g.now = max(g.now, f)
			}
		}
		if l.whole {
			host(l.after)
			end = g.now
		}
		if l.label != nil {
			g.t.AddSlice(trace.Slice{Start: begin * us, Dur: (end - begin) * us, Name: l.label(i),
				Cat: trace.CatUserAnnotation, Track: g.host})
		}
		if !l.whole {
			host(l.after)
		}
	}
	return g.t
}
