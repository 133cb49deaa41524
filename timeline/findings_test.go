package timeline

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestLostRankIsTheFirstFinding: that a rank of the run was lost is said first, whether it left a
// trace to look at or none, and the verdict says what it does not rest on.
func TestLostRankIsTheFirstFinding(t *testing.T) {
	all := pipetest.Omni()
	for _, left := range []bool{true, false} {
		var src []Source
		for i, tr := range all {
			if left || i > 0 {
				src = append(src, Source{Trace: tr})
			}
		}
		m := &all[0].Meta
		tl, err := New(src, Options{Outcomes: []pipeline.Outcome{{StageID: m.StageID, Stage: m.Stage,
			Replica: m.Replica, Rank: m.Rank, State: "lost", Reason: "killed by signal 9"}}})
		if err != nil {
			t.Fatal(err)
		}
		first := tl.Findings()[0]
		if first.Code != string(finding.RankLost) || !first.Doubt || first.Severity != "critical" ||
			!strings.Contains(first.Text, "killed by signal 9") {
			t.Errorf("left %v: the first finding is %+v", left, first)
		}
		if left != (first.EndNs > first.StartNs) {
			t.Errorf("left %v: it is at %d to %d ns", left, first.StartNs, first.EndNs)
		}
		if b := tl.Report().Bottleneck; b == nil || b.Missing == "" {
			t.Errorf("left %v: the verdict hides it: %+v", left, b)
		}
	}
}

// TestNoFindingIsSaidTwice: a doubt about a trace, which every analysis of it has, is told once.
func TestNoFindingIsSaidTwice(t *testing.T) {
	tr := trace.New()
	tr.Meta.Format = "kineto"
	host := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	for i := range int64(50) {
		tr.AddSlice(trace.Slice{Start: i * 1000, Dur: 10, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
			Track: host})
		tr.AddSlice(trace.Slice{Start: i*1000 + 20, Name: "kernel", Cat: trace.CatKernel, Track: gpu})
	}
	tr.Window()
	tl, err := New([]Source{{Trace: tr}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	said, doubts := map[string]bool{}, 0
	for _, f := range tl.Findings() {
		if said[f.Text] {
			t.Errorf("said twice: %s", f.Text)
		}
		said[f.Text] = true
		if f.Doubt {
			doubts++
		}
	}
	if doubts == 0 {
		t.Fatalf("kernels that take no time are not doubted: %+v", tl.Findings())
	}
}
