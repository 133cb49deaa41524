package trace_test

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Builds a trace of a step that launches a kernel, and looks at how its slices nest.
func Example() {
	t := trace.New()
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 42, TID: 1, Device: -1, Stream: -1})
	stream := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	for _, s := range []trace.Slice{
		{Name: "decode_step", Cat: trace.CatUserAnnotation, Track: host, Start: 0, Dur: 100_000},
		{Name: "aten::mm", Cat: trace.CatCPUOp, Track: host, Start: 10_000, Dur: 40_000,
			Args: []byte(`{"Sequence number": 3}`)},
		{Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime, Track: host, Start: 20_000, Dur: 5_000, Corr: 9},
		{Name: "gemm", Cat: trace.CatKernel, Track: stream, Start: 30_000, Dur: 60_000, Corr: 9},
	} {
		t.AddSlice(s)
	}
	x, s := t.Index(), &t.Slices
	for _, i := range x.Track(host) {
		in := "nothing"
		if p := x.Parent[i]; p != trace.NoParent {
			in = t.String(s.Name[p])
		}
		fmt.Printf("%s in %s: %d ns, %d of its own\n", t.String(s.Name[i]), in, s.Dur[i], x.Self[i])
	}
	number, ok := t.RefArgInt(s.Args[1], "Sequence number")
	fmt.Println(number, ok)
	fmt.Println(t.Validate())
	// Output:
	// decode_step in nothing: 100000 ns, 60000 of its own
	// aten::mm in decode_step: 40000 ns, 35000 of its own
	// cudaLaunchKernel in aten::mm: 5000 ns, 5000 of its own
	// 3 true
	// <nil>
}
