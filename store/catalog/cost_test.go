package catalog

import (
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A session costs what the past ones took, until the first of its bounds.
func TestEstimate(t *testing.T) {
	stop := noon.Add(10 * time.Second)
	past := []*session.Status{{ID: "P", StartedAt: noon, FinishedAt: stop.Add(4 * time.Second),
		Artifacts: []protocol.Artifact{{Name: "timeline.pftrace", Size: 1000}},
		Stages: []session.StageStatus{{Name: "thinker", Ranks: []protocol.RankStatus{
			{State: protocol.StateComplete, StartedAtNs: noon.UnixNano(), StoppedAtNs: stop.UnixNano(), Bytes: 500,
				Iterations: 100},
			{State: protocol.StateComplete, StartedAtNs: noon.UnixNano(), StoppedAtNs: stop.UnixNano(), Bytes: 1500,
				Iterations: 100},
			{State: protocol.StateLost, StartedAtNs: noon.UnixNano(), StoppedAtNs: stop.UnixNano(), Bytes: 9e9},
		}}}}}
	two := StageAsk{Name: "thinker", Ranks: 2}
	for name, tt := range map[string]struct {
		ask           Ask
		bytes, run    int64
		record, after float64
		unknown       int
	}{
		"by time":       {Ask{Stages: []StageAsk{two}, Duration: 5 * time.Second}, 1000, 500, 5, 2, 0},
		"by iterations": {Ask{Stages: []StageAsk{{"thinker", 2, 10}}, Duration: time.Hour}, 200, 100, 1, .4, 0},
		"by bytes":      {Ask{Stages: []StageAsk{two}, Duration: 5 * time.Second, MaxBytes: 100}, 200, 100, 1, .4, 0},
		"one unknown": {Ask{Stages: []StageAsk{two, {"talker", 1, 0}}, Duration: 5 * time.Second}, 1000, 500, 5, 2,
			1},
	} {
		c := estimate(past, tt.ask)
		if c.RecordedBytes != tt.bytes || c.RunBytes != tt.run || !near(c.RecordS, tt.record) ||
			!near(c.FinishS, tt.after) || len(c.Unknown) != tt.unknown || len(c.Runs) != 1 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c := estimate(nil, Ask{Stages: []StageAsk{two}, Duration: time.Hour}); c.RecordedBytes != 0 ||
		len(c.Unknown) != 1 || len(c.Runs) != 0 {
		t.Errorf("of nothing: %+v", c)
	}
}

// The more the past ones differ, the further the sum may be off, and it says so.
func TestEstimateSpread(t *testing.T) {
	run := func(id string, seconds int, bytes uint64) *session.Status {
		stop := noon.Add(time.Duration(seconds) * time.Second)
		return &session.Status{ID: id, StartedAt: noon, FinishedAt: stop, Stages: []session.StageStatus{{Name: "dit",
			Ranks: []protocol.RankStatus{{State: protocol.StateComplete, StartedAtNs: noon.UnixNano(),
				StoppedAtNs: stop.UnixNano(), Bytes: bytes}}}}}
	}
	ask := Ask{Stages: []StageAsk{{Name: "dit", Ranks: 3}}, Duration: 100 * time.Second}
	two := estimate([]*session.Status{run("A", 10, 1000), run("B", 30, 9000)}, ask)
	if two.RecordedBytes != 75000 || two.LowBytes != 30000 || two.HighBytes != 90000 || !near(two.LongestS, 30) {
		t.Errorf("of two: %+v", two)
	}
	one := estimate([]*session.Status{run("A", 10, 1000)}, ask)
	if one.LowBytes != one.RecordedBytes || one.HighBytes != one.RecordedBytes || !near(one.LongestS, 10) {
		t.Errorf("of one: %+v", one)
	}
	if none := estimate(nil, ask); none.LowBytes != 0 || none.HighBytes != 0 {
		t.Errorf("of none: %+v", none)
	}
}

func near(a, b float64) bool { return a > b-1e-9 && a < b+1e-9 }
