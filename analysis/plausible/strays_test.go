package plausible

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/trace"
)

// A trace of which many events, or all, could not be taken for their times says so before anything else.
func TestUnreadTimes(t *testing.T) {
	p := newProgram(vendors[0], 1)
	p.call("cudaMalloc")
	p.t.Repairs.Add(trace.RepairNoTime, 3)
	wantText(t, only(t, Look(p.t), NoTime, 1), "3 events of 4 have no time", "microseconds")
	none := trace.New()
	none.Repairs.Add(trace.RepairNoTime, 2)
	d := only(t, Look(none), NoTime, 1)
	wantText(t, d, "2 events of 2 have no time")
	if d.Evidence.Slice != finding.NoSlice {
		t.Errorf("%+v", d.Evidence)
	}
	few := newProgram(vendors[0], 1)
	for range 40 {
		few.call("cudaMalloc")
	}
	few.t.Repairs.Add(trace.RepairNoTime, 2)
	if got := Look(few.t); len(got.Doubts) > 0 {
		t.Errorf("%+v", got.Doubts)
	}
}
