package runs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
)

// A rank's trace has the counters of its server; a file that cannot be read is said, and takes nothing
// from what can.
func TestCompleteHasWhatLiesBeside(t *testing.T) {
	dir := t.TempDir()
	told := trace.New()
	told.Meta.WallClock = true
	told.Meta.WindowStart, told.Meta.WindowEnd = 2e18, 2e18+10
	told.AddCounter(2e18+5, "requests waiting", "requests waiting", told.AddTrack(trace.Track{Kind: trace.TrackOther,
		PID: 7, Name: trace.TrackServer, Device: -1, Stream: -1}), 12)
	out, err := os.Create(filepath.Join(dir, "metrics.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chrome.Write(out, told, chrome.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "events.jsonl"), []byte("no events"), 0o644); err != nil {
		t.Fatal(err)
	}
	list := []protocol.Artifact{{Name: "trace.json", Kind: protocol.KindTrace},
		{Name: "metrics.json", Kind: protocol.KindMetrics}, {Name: "events.jsonl", Kind: protocol.KindEvents}}
	in := Input{Rank: &protocol.RankStatus{StageName: "thinker"}, Beside: Beside(dir, list)}
	tr := trace.New()
	tr.Meta.WallClock = true
	in.Complete(t.Context(), tr)
	if tr.Slices.Len() > 0 {
		t.Errorf("%d slices", tr.Slices.Len())
	}
	if c := tr.Counters; len(c.Time) != 1 || c.Time[0] != 2e18+5 || c.Value[0] != 12 ||
		tr.Tracks[c.Track[0]].Name != trace.TrackServer || tr.Meta.Stage != "thinker" {
		t.Errorf("%+v %+v", c, tr.Meta)
	}
	if tr.Repairs.Count[repairBeside] != 1 {
		t.Errorf("%v", tr.Repairs.Count)
	}
	// A trace that has no time of day has no place for them, and says so.
	other := trace.New()
	in.Complete(t.Context(), other)
	if len(other.Counters.Time) != 0 || other.Repairs.Count[repairNoClock] != 1 {
		t.Errorf("%+v %v", other.Counters, other.Repairs.Count)
	}
}

// The events of an sglang-omni server are in the traces of its stages: its requests with their way
// through the stages, and the arrows of hand-offs from one trace to the other.
func TestCompleteHasTheEventsOfStages(t *testing.T) {
	var traces []*trace.Trace
	sent, taken := map[uint64]bool{}, map[uint64]bool{}
	for i, name := range []string{"thinker_100", "talker_200"} {
		at, err := filepath.Abs("../../trace/sglangomni/testdata/events_" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		tr := trace.New()
		tr.Meta.WallClock = true
		in := Input{Rank: &protocol.RankStatus{RankID: protocol.RankID{Stage: i}, StageName: name},
			Beside: []string{at}}
		in.Complete(t.Context(), tr)
		if tr.Slices.Len() == 0 || len(tr.Repairs.Count) > 0 {
			t.Fatalf("%s: %d slices, %v", name, tr.Slices.Len(), tr.Repairs.Count)
		}
		for k, id := range tr.Flows.ID {
			if tr.Flows.Start[k] {
				sent[id] = true
			} else {
				taken[id] = true
			}
		}
		tr.Window()
		traces = append(traces, tr)
	}
	both := 0
	for id := range sent {
		if taken[id] {
			both++
		}
	}
	if both == 0 {
		t.Errorf("no hand-off has both ends: %d are sent, %d taken", len(sent), len(taken))
	}
	if r := pipeline.Analyze(traces, pipeline.Options{}); r.RequestCount == 0 {
		t.Error("the report has no request")
	}
}
