package pipeline

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestShiftMovesEverything: a rank's clock moves all that was read of it.
func TestShiftMovesEverything(t *testing.T) {
	d := &rankData{offset: 1, start: 2, end: 3, segs: []segment{{start: 4, end: 5}}, spans: []span{{start: 6, end: 7}},
		comms: communication{list: []coll.Collective{{StartNs: 8}}}}
	d.shift(100)
	got := []int64{d.offset, d.start, d.end, d.segs[0].start, d.segs[0].end, d.spans[0].start, d.spans[0].end,
		d.comms.list[0].StartNs}
	for i, v := range got {
		if v != int64(i)+101 {
			t.Errorf("time %d is %d, want %d", i, v, i+101)
		}
	}
}

// TestHandoffBytes: a rank gave what its sends gave, and nothing of what it received.
func TestHandoffBytes(t *testing.T) {
	list := pipetest.Omni()
	r := Analyze(list, Options{})
	some := false
	for _, st := range r.Stages {
		for _, got := range st.Ranks {
			tr := list[got.Trace]
			var want int64
			for i := range tr.Slices.Len() {
				if tr.String(tr.Slices.Name[i]) == trace.NameHandoffSend {
					n, _ := tr.ArgInt(i, trace.ArgBytes)
					want += n
				}
			}
			some = some || want > 0
			if got.HandoffBytes != want {
				t.Errorf("%s rank %d gave %d B, want %d", st.Name, got.Rank, got.HandoffBytes, want)
			}
		}
	}
	if !some {
		t.Error("no rank of the capture sends anything")
	}
}

// TestTopOpsSum: operators of one name are one row.
func TestTopOpsSum(t *testing.T) {
	a := opAcc{Op: Op{Name: "mm", Calls: 1, SelfNs: 5, TotalNs: 7, FLOPs: 11, Bytes: 13, MaxNs: 7, MaxSlice: 1}}
	b := opAcc{Op: Op{Name: "mm", Calls: 2, SelfNs: 50, TotalNs: 70, FLOPs: 110, Bytes: 130, MaxNs: 60, MaxSlice: 2}}
	c := opAcc{Op: Op{Name: "mm", Calls: 4, SelfNs: 500, TotalNs: 700, FLOPs: 1100, Bytes: 1300, MaxNs: 60,
		MaxSlice: 3}}
	add := opAcc{Op: Op{Name: "add", Calls: 1, SelfNs: 9, TotalNs: 9, MaxNs: 9}}
	ops := []opAcc{a, add, b, c}
	all := topOps(ops, 1110, -1)
	if len(all) != 2 {
		t.Fatalf("%d rows: %+v", len(all), all)
	}
	x := all[0]
	if x.Name != "mm" || x.Calls != 7 || x.SelfNs != 555 || x.TotalNs != 777 || x.FLOPs != 1221 || x.Bytes != 1443 ||
		x.Share != 0.5 {
		t.Errorf("sum %+v", x)
	}
	if x.MaxNs != 60 || x.MaxSlice != 2 {
		t.Errorf("the longest call is slice %d of %d ns; of equal ones the first counts", x.MaxSlice, x.MaxNs)
	}
	if got := topOps(ops, 1110, 1); len(got) != 1 || got[0].Name != "mm" {
		t.Errorf("the first one: %+v", got)
	}
	if got := topOps(ops, 1110, 0); len(got) != 0 {
		t.Errorf("none: %+v", got)
	}
	if got := topOps(ops, 1110, 2); len(got) != 2 {
		t.Errorf("both: %+v", got)
	}
}

// TestCommRows: what a row of communication sums, and its bandwidths.
func TestCommRows(t *testing.T) {
	one := coll.Collective{Op: "allreduce", Group: "tp", GroupSize: 4, InBytes: 3000, OutBytes: 3000, Ns: 1000}
	two := one
	two.Ns = 3000
	x := communication{list: []coll.Collective{one, two}, waits: []int64{5, 70}}
	rows := x.rows()
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	r := rows[0]
	if r.Calls != 2 || r.Bytes != 6000 || r.TotalNs != 4000 || r.PeerWaitNs != 75 || r.MeanNs != 2000 {
		t.Errorf("sums %+v", r)
	}
	// The median of two is the slower one: 3000 B in 3000 ns. A ring of 4 carries each byte 2·3/4 times.
	if r.AlgGBPerS != 1 || r.BusGBPerS != 1.5 {
		t.Errorf("bandwidths %g and %g GB/s, want 1 and 1.5", r.AlgGBPerS, r.BusGBPerS)
	}
	if got := x.longest(); got != &x.list[1] {
		t.Errorf("the longest is %+v", got)
	}
	x.list[0].Ns = 3000
	if got := x.longest(); got != &x.list[0] {
		t.Error("of two that are equally long the first one counts")
	}
}

// TestPhasesOfAVisit: a request's steps in a stage, summed by category, and its time in the queue.
func TestPhasesOfAVisit(t *testing.T) {
	d := &rankData{t: trace.New(), spans: []span{{cls: clsPrefill, start: 110, end: 150},
		{cls: clsDecode, start: 150, end: 157}, {cls: clsDecode, start: 160, end: 169}}}
	v := &visit{d: d, steps: []int{0, 1, 2}, born: 100, start: 105, end: 170}
	s := v.report()
	if s.QueueNs != 10 || s.ArrivalNs != 100 || s.EndNs != 170 || len(s.Phases) != 2 {
		t.Fatalf("%+v", s)
	}
	for i, want := range []RequestPhase{{Category: CatPrefill, Steps: 1, TotalNs: 40},
		{Category: CatDecode, Steps: 2, TotalNs: 16}} {
		if s.Phases[i] != want {
			t.Errorf("phase %+v, want %+v", s.Phases[i], want)
		}
	}
	if s := (&visit{d: d, born: -1, start: 105, end: 170}).report(); s.QueueNs != -1 || s.ArrivalNs != 105 {
		t.Errorf("without a step: %+v", s)
	}
}

// TestCategoryTimes: a category that only lies below others is listed, with no time of its own.
func TestCategoryTimes(t *testing.T) {
	var excl, covered [NumCategories]int64
	excl[CatDecode], covered[CatDecode] = 60, 80
	covered[CatSample] = 7
	excl[CatWait] = 40
	list, busy := categoryTimes(excl, covered, 100)
	if len(list) != 3 || busy != 0.6 {
		t.Fatalf("busy %g: %+v", busy, list)
	}
	for _, x := range list {
		want := map[Category]CategoryTime{
			CatDecode: {Category: CatDecode, ExclusiveNs: 60, TotalNs: 80, Share: 0.6},
			CatSample: {Category: CatSample, TotalNs: 7},
			CatWait:   {Category: CatWait, ExclusiveNs: 40, TotalNs: 40, Share: 0.4},
		}[x.Category]
		if x != want {
			t.Errorf("%+v, want %+v", x, want)
		}
	}
}

// TestSlowStepsNumber: the finding's number is how many medians the slowest hundredth takes.
func TestSlowStepsNumber(t *testing.T) {
	r := &Report{}
	f := &finder{r: r, a: &analyzer{}}
	d := &rankData{t: trace.New(), stage: "s"}
	st := StepStats{Category: CatDecode, Count: 20, P50Ns: 1000, P99Ns: 3000, MaxNs: 9000, MaxSlice: -1}
	few, even, many := st, st, st
	few.Count--
	even.P99Ns--
	many.Count = 100
	f.outliers(&Rank{Steps: []StepStats{few, even, many}}, d, false)
	if len(r.Findings) != 1 || r.Findings[0].Number != 3 {
		t.Errorf("findings %+v", r.Findings)
	}
	r.Findings = nil // of less than a hundred there is no slowest hundredth, and the slowest is told
	f.outliers(&Rank{Steps: []StepStats{few, even, st}}, d, false)
	if len(r.Findings) != 1 || r.Findings[0].Number != 9 {
		t.Errorf("findings %+v", r.Findings)
	}
	if f.outliers(&Rank{Steps: []StepStats{st}}, d, true); len(r.Findings) != 1 {
		t.Error("a rank that follows another says it once more")
	}
}
