package pipeline

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
)

// longRank is a rank of n decode steps of 22 slices each.
func longRank(rank int, n int64) *trace.Trace {
	const step = 100
	r := pipetest.NewRank(0, "thinker", 0, rank, 2, n*step)
	for i := range n {
		at := i * step
		r.Slice(trace.NameDecodeStep, at, step-2, pipetest.Args{trace.ArgRequests: "request-a,request-b",
			trace.ArgTokens: 2, trace.ArgBatch: 2, trace.ArgStep: i})
		for k := range int64(20) {
			if k%10 == 9 {
				r.AllReduce(at+4*k, 3, 4096, 2*i+k/10, 2)
				continue
			}
			r.Op("aten::mm", at+4*k, 3, 1_000_000)
		}
		r.Slice(trace.NameSchedule, at+step-2, 1, nil)
	}
	return r.T
}

func BenchmarkAnalyze(b *testing.B) {
	traces := []*trace.Trace{longRank(0, 5000), longRank(1, 5000)}
	slices := 0
	for _, t := range traces {
		slices += t.Slices.Len()
		t.Index() // is shared by all analyses
	}
	b.ReportAllocs()
	for b.Loop() {
		Analyze(traces, Options{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(slices), "ns/slice")
}
