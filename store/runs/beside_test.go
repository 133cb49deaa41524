package runs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/trace/open"
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
		if tr.Slices.Len() == 0 ||
			tr.Repairs.Count[repairPhase] > 0 {
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

// The traces of a rank's phases, which an engine records each by itself, are read as one, whichever is read
// first; what is no phase's stays beside.
func TestPhasesOfARankAreOneTrace(t *testing.T) {
	dir := t.TempDir()
	const day = int64(2e18)
	write := func(name string, at int64) {
		t.Helper()
		tr := trace.New()
		tr.Meta.WallClock = true
		tr.Meta.WindowStart, tr.Meta.WindowEnd = at, at+10
		track := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 7, TID: 8, Device: -1, Stream: -1})
		tr.AddSlice(trace.Slice{Start: at + 1, Dur: 5, Name: name, Track: track, Corr: trace.NoCorrelation})
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chrome.Write(f, tr, chrome.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write("trace_decode_rank0.json", day+100)
	write("trace_extend_rank0.json", day)
	write("frontend_rank0.json", day)
	list := []protocol.Artifact{{Name: "frontend_rank0.json", Kind: protocol.KindTrace},
		{Name: "trace_decode_rank0.json", Kind: protocol.KindTrace},
		{Name: "trace_extend_rank0.json", Kind: protocol.KindTrace}}
	for _, first := range []int{1, 2} {
		in := Input{Rank: &protocol.RankStatus{}, Phases: Phases(dir, list, list[first])}
		all, err := open.Files(t.Context(), []string{filepath.Join(dir, list[first].Name)}, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tr := all[0]
		in.Complete(t.Context(), tr)
		work := map[trace.TrackID]int{}
		for i, name := range tr.Slices.Name {
			if strings.HasPrefix(tr.String(name), "trace_") {
				work[tr.Slices.Track[i]]++
			}
		}
		if len(work) != 1 || tr.Meta.WindowStart > day+1 || tr.Meta.WindowEnd < day+106 ||
			tr.Repairs.Count[repairPhase] > 0 {
			t.Errorf("%s: %v on tracks, %+v, %v", list[first].Name, work, tr.Meta, tr.Repairs.Count)
		}
		for _, n := range work {
			if n != 2 {
				t.Errorf("%s: %d slices", list[first].Name, n)
			}
		}
	}
	if got := Phases(dir, list, list[0]); got != nil {
		t.Errorf("a front end has phases %v", got)
	}
}

// A rank that is read without the one whose files have its server's metrics has them all the same.
func TestServerOfAReplica(t *testing.T) {
	rank := func(replica, rank int, kinds ...protocol.ArtifactKind) protocol.RankStatus {
		r := protocol.RankStatus{}
		r.Replica, r.Rank = replica, rank
		for _, k := range kinds {
			r.Artifacts = append(r.Artifacts, protocol.Artifact{Name: string(k), Kind: k})
		}
		return r
	}
	ranks := []protocol.RankStatus{rank(0, 0, protocol.KindMetrics), rank(0, 1), rank(1, 0), rank(1, 1)}
	for i, want := range []int{0, 1, 0, 0} {
		got := serverOf("d", ranks, &ranks[i])
		if len(got.Paths) != want || got.Rank != 0 {
			t.Errorf("rank %d of replica %d: %+v", ranks[i].Rank, ranks[i].Replica, got)
		}
	}
	in := Input{Server: Server{0, []string{"m"}}}
	if in.WithServer(); len(in.Beside) != 1 {
		t.Errorf("%+v", in)
	}
}
