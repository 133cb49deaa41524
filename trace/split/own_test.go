package split

import (
	"fmt"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Files of many ranks that we write ourselves come apart by stage, replica and rank again.
func TestOwnFiles(t *testing.T) {
	tr := trace.New()
	tr.Meta.Format, tr.Meta.Rank, tr.Meta.StageID = "perfetto", -1, -1
	for i, name := range []string{"stage0 thinker rank 0", "stage0 thinker rank 1", "stage1 talker replica 1 rank 0",
		"stage1 talker rank 0"} {
		k := tr.AddTrack(trace.Track{PID: int64(i + 1), Process: name, Device: -1, Stream: -1})
		tr.AddSlice(trace.Slice{Start: int64(i), Dur: 5, Name: name, Track: k})
	}
	got := map[string]string{}
	for _, r := range Ranks(tr) {
		got[r.String(r.Slices.Name[0])] = fmt.Sprintf("%d %s %d %d", r.Meta.StageID, r.Meta.Stage, r.Meta.Replica,
			r.Meta.Rank)
	}
	for name, want := range map[string]string{
		"stage0 thinker rank 0": "0 thinker 0 0", "stage0 thinker rank 1": "0 thinker 0 1",
		"stage1 talker replica 1 rank 0": "1 talker 1 0", "stage1 talker rank 0": "1 talker 0 0",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// TestManyProcesses: as many processes as a file has room for are not tried on each other; it
// is said that they are not parted.
func TestManyProcesses(t *testing.T) {
	for _, c := range []struct{ ranks, want int }{{8, 8}, {maxRanks + 1, 1}, {4000, 1}} {
		tr := trace.New()
		tr.Meta.Format, tr.Meta.Rank = "kineto", -1
		for k := range int64(c.ranks) {
			host := tr.AddTrack(trace.Track{PID: 1000 + k, TID: 1, Device: -1, Stream: -1})
			dev := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: k, TID: 7, Device: 0, Stream: 7})
			for n := range int64(3) {
				at, corr := k*10+n*1000, 1+k*100+n
				tr.AddSlice(trace.Slice{Start: at, Dur: 5, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
					Track: host, Corr: corr})
				tr.AddSlice(trace.Slice{Start: at + 6, Dur: 5, Name: "gemm", Cat: trace.CatKernel, Track: dev,
					Corr: corr})
			}
		}
		got := Ranks(tr)
		if said := got[0].Repairs.Count[trace.RepairMerged] > 0; len(got) != c.want || said != (c.want == 1) {
			t.Errorf("%d ranks: %d traces, said %v", c.ranks, len(got), said)
		}
	}
}
