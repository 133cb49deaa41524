package analysis

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// syntheticTrace makes a host thread of steps and operators that launch kernels on two
// streams, with collectives, copies and allocations, of about n slices.
func syntheticTrace(n int) *trace.Trace {
	tr := trace.New()
	tr.Meta.Rank = 0
	host := tr.AddTrack(trace.Track{PID: 100, TID: 100, Device: -1, Stream: -1})
	comp := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7})
	comm := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 20, Device: 0, Stream: 20})
	dims := []byte(`{"Input Dims": [[64, 128], [128, 256]], "Input type": ["float", "float"]}`)
	coll := []byte(`{"Collective name": "allreduce", "In msg nelems": 65536, "Out msg nelems": 65536, "dtype": "Float", "Group size": 2, "Process Group Name": "0"}`)
	copied := []byte(`{"bytes": 4096, "memory bandwidth (GB/s)": 2.0}`)
	t, dev, corr := int64(1_000_000), int64(1_010_000), int64(1)
	kernel := func(name string, cat trace.Category, track trace.TrackID, dur int64, args []byte) {
		tr.AddSlice(trace.Slice{Start: t + 2000, Dur: 4000, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
			Track: host, Corr: corr})
		dev = max(dev+1500, t+9000)
		tr.AddSlice(trace.Slice{Start: dev, Dur: dur, Name: name, Cat: cat, Track: track, Corr: corr, Args: args})
		dev += dur
		corr++
	}
	for k := 0; tr.Slices.Len() < n; k++ {
		if k%100 == 0 {
			tr.AddSlice(trace.Slice{Start: t, Dur: 100 * 10_000, Name: "ProfilerStep#" + string(rune('0'+k/100%10)),
				Cat: trace.CatUserAnnotation, Track: host})
		}
		tr.AddSlice(trace.Slice{Start: t + 500, Dur: 8000, Name: "aten::linear", Cat: trace.CatCPUOp, Track: host})
		tr.AddSlice(trace.Slice{Start: t + 1000, Dur: 7000, Name: "aten::mm", Cat: trace.CatCPUOp, Track: host,
			Args: dims})
		switch k % 10 {
		case 3:
			kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL", trace.CatKernel, comm, 9000, coll)
		case 7:
			kernel("Memcpy DtoD (Device -> Device)", trace.CatGPUMemcpy, comp, 2000, copied)
		default:
			kernel("gemm_"+string(rune('a'+k%7)), trace.CatKernel, comp, 5000+int64(k%13)*100, nil)
		}
		t += 10_000
	}
	return tr
}

// BenchmarkAnalyses reports the cost of each analysis as ns a slice of the trace, the
// frame included only in "frame".
func BenchmarkAnalyses(b *testing.B) {
	tr := syntheticTrace(200_000)
	f := newFrame(tr, Options{})
	each := []struct {
		name string
		run  func()
	}{
		{"frame", func() { newFrame(tr, Options{}) }},
		{"temporal", func() { f.temporal() }},
		{"kernels", func() { f.kernels() }},
		{"overlap", func() { f.overlap() }},
		{"idle", func() { f.idle() }},
		{"launches", func() { f.launches(LaunchOptions{}) }},
		{"queue", func() { f.queue() }},
		{"bandwidth", func() { f.bandwidth() }},
		{"annotations", func() { f.annotations() }},
		{"sequences", func() { f.sequences("aten::linear", 1) }},
		{"ops", func() { f.ops(OpOptions{}) }},
		{"ops by shape", func() { f.ops(OpOptions{ByShape: true}) }},
		{"roofline", func() { f.roofline(nil) }},
		{"comms", func() { f.comms() }},
		{"critical", func() {
			if _, err := f.critical(CriticalOptions{}); err != nil {
				b.Fatal(err)
			}
		}},
		{"diff", func() { Diff(tr, tr, Options{}, DiffOptions{}) }},
		{"all", func() { All([]*trace.Trace{tr}, Options{}) }},
	}
	for _, e := range each {
		b.Run(e.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(tr.Slices.Len()), "ns/slice")
		})
	}
}
