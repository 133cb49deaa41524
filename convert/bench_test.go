package convert

import (
	"context"
	"fmt"
	"io"
	"path"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// load is a rank's trace of n slices as a decoder's step has them: shapes, requests,
// collectives, memory.
func load(n int, offset int64) *trace.Trace {
	t := trace.New()
	t.Meta = trace.Meta{Format: "native", WallClock: true, Rank: 0, StageID: 0, Stage: "thinker"}
	cpu := t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1, Name: "scheduler"})
	ns := int64(1_790_900_000_000_000_000) + offset
	for t.Slices.Len() < n {
		seq := t.Slices.Len() / 20
		t.AddSlice(trace.Slice{Start: ns, Dur: 20_000, Name: trace.NameDecodeStep, Cat: trace.CatUserAnnotation,
			Track: cpu,
			Args:  fmt.Appendf(nil, `{"step": %d, "requests": "r-%d,r-%d"}`, seq, seq, seq+1)})
		for i := range int64(18) {
			t.AddSlice(trace.Slice{Start: ns + 100 + i*1000, Dur: 900, Name: fmt.Sprint("aten::op", i),
				Cat: trace.CatCPUOp, Track: cpu,
				Args: fmt.Appendf(nil, `{"Input Dims": [[8,%d],[%d,64]], "Input type": ["float","float"], "flops": %d}`,
					64+i, 64+i, 8192*i)})
		}
		t.AddSlice(trace.Slice{Start: ns + 19_000, Dur: 900, Name: trace.NameAllReduce, Cat: trace.CatCPUOp, Track: cpu,
			Args: fmt.Appendf(nil, `{"Process Group Name": "tp", "Group size": 2, "Seq": %d, "bytes": 4096}`, seq)})
		t.AddInstant(ns+50, "[memory]", trace.CatCPUInstant, cpu, fmt.Appendf(nil,
			`{"Device Type": 0, "Device Id": -1, "Addr": %d, "Bytes": 4096, "Total Allocated": %d, "Total Reserved": 0, "Pool": "kv"}`, ns, seq*4096))
		ns += 25_000
	}
	t.Meta.WindowStart, t.Meta.WindowEnd = t.Slices.Start[0], ns
	return t
}

// discard is a sink that keeps nothing.
type discard struct{}

func (discard) Write(name string, kind protocol.ArtifactKind, src io.Reader) (protocol.Artifact, error) {
	n, err := io.Copy(io.Discard, src)
	return protocol.Artifact{Name: name, Kind: kind, Size: n, SHA256: "-"}, err
}

func BenchmarkArtifacts(b *testing.B) {
	const n = 100_000
	tr := load(n, 0)
	cfg := protocol.DefaultProfilerConfig()
	cfg.RecordShapes, cfg.WithMemory = true, true
	for _, a := range rankArtifacts {
		b.Run(path.Base(a.name(Options{Config: &cfg}.job(tr))), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := a.write(io.Discard, Options{Config: &cfg}.job(tr)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/slice")
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	const n = 100_000
	ranks := []RankInput{{Trace: load(n, 0)}, {Trace: load(n, 300), Rank: protocol.RankID{Rank: 1}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Merge(context.Background(), ranks, discard{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*n), "ns/slice")
}
