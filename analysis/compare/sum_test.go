package compare

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// A sum has what its pairs have, name by name, and says in how many of them a change is sure.
func TestSumOf(t *testing.T) {
	durs := func(ns ...int64) *trace.Trace {
		var tr trace.Trace
		tr.Slices.Dur = ns
		return &tr
	}
	row := func(name string, a, b int64, sure bool) analysis.DiffRow {
		r := analysis.DiffRow{Name: name, Significant: sure, DeltaNs: float64(b-a) / 2}
		r.A = analysis.DiffSide{Count: 2, Ns: a, StepNs: float64(a) / 2, Worst: 0}
		r.B = analysis.DiffSide{Count: 2, Ns: b, StepNs: float64(b) / 2, Worst: 1}
		return r
	}
	only := analysis.DiffRow{Name: "new", DeltaNs: 4, A: analysis.DiffSide{Worst: analysis.NoSlice},
		B: analysis.DiffSide{Count: 1, Ns: 8, StepNs: 4, Worst: 0}}
	pairs := []Pair{
		{&TraceReport{ComparedBy: "labels", Diff: analysis.TraceDiff{StepsA: 2, StepsB: 2,
			Rows: []analysis.DiffRow{row("mm", 100, 140, true), row("add", 10, 10, false)}}}, durs(90, 1), durs(1, 70)},
		{&TraceReport{ComparedBy: "labels", Diff: analysis.TraceDiff{StepsA: 2, StepsB: 2,
			Rows: []analysis.DiffRow{row("mm", 80, 60, true), only}}}, durs(50, 1), durs(1, 80)},
	}
	if !OneWay(pairs) {
		t.Error("two pairs by one way are said to be by two")
	}
	s := SumOf(pairs)
	if len(s.Diff.Rows) != 3 || len(s.Rows) != 3 || s.Diff.StepsA != 4 || s.ComparedBy != "labels" {
		t.Fatalf("%+v", s)
	}
	mm, parts := s.Diff.Rows[0], s.Rows[0]
	if mm.Name != "mm" || mm.A.Ns != 180 || mm.B.Ns != 200 || mm.DeltaNs != 10 || mm.Significant || mm.P != 1 {
		t.Errorf("mm: %+v", mm)
	}
	if parts != (SumRow{SureLonger: 1, SureShorter: 1, Of: 2, PairA: 0, PairB: 1}) {
		t.Errorf("mm: %+v", parts)
	}
	added, parts := s.Diff.Rows[1], s.Rows[1]
	if added.Name != "new" || added.Change != analysis.Added || added.A.Worst != analysis.NoSlice ||
		parts.PairA != -1 ||
		parts.PairB != 1 || parts.Of != 0 {
		t.Errorf("new: %+v %+v", added, parts)
	}
	pairs[1].ComparedBy = ByWholeTrace
	if OneWay(pairs) {
		t.Error("two ways are said to be one")
	}
}
