package compare

import (
	"cmp"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Pair is what changed from a trace of A to its counterpart in B.
type Pair struct {
	*TraceReport
	A, B *trace.Trace
}

// Sum is what changed from A to B over pairs of traces together: rank by rank, then added up.
type Sum struct {
	// ComparedBy is as in TraceReport, the same of all pairs.
	ComparedBy string `json:"compared_by"`
	// Diff has each name's times added up over the pairs, those of a mean step of each where steps
	// are compared. What is significant in a pair is in Rows; of the sum nothing is tested.
	Diff analysis.TraceDiff `json:"diff"`
	Rows []SumRow           `json:"rows"` // of Diff.Rows, place by place
}

// SumRow is what a row of a sum is made of.
type SumRow struct {
	// SureLonger and SureShorter count the pairs in which the name takes significantly more or
	// less time in B, Of those that have it on both sides.
	SureLonger  int `json:"sure_longer"`
	SureShorter int `json:"sure_shorter"`
	Of          int `json:"of"`
	// PairA and PairB are the pairs, by place, whose A and B have the longest slice, which is
	// Diff's Worst; -1 if there is none.
	PairA int `json:"pair_a"`
	PairB int `json:"pair_b"`
}

// OneWay reports whether pairs were compared by one way, so that their times may be added.
func OneWay(pairs []Pair) bool {
	return !slices.ContainsFunc(pairs, func(p Pair) bool { return p.ComparedBy != pairs[0].ComparedBy })
}

// SumOf adds up pairs, which must have been compared by one way; see OneWay. There must be one
// at least.
func SumOf(pairs []Pair) *Sum {
	type key struct {
		name   string
		device bool
	}
	by := map[key]*summed{}
	out := &Sum{ComparedBy: pairs[0].ComparedBy}
	for i := range pairs {
		p := &pairs[i]
		out.Diff.StepsA, out.Diff.StepsB = out.Diff.StepsA+p.Diff.StepsA, out.Diff.StepsB+p.Diff.StepsB
		for r := range p.Diff.Rows {
			row := &p.Diff.Rows[r]
			k := key{row.Name, row.Device}
			if by[k] == nil {
				by[k] = newSummed(row)
			}
			by[k].add(row, p, i)
		}
	}
	list := make([]*summed, 0, len(by))
	for _, s := range by {
		s.DeltaNs = s.B.StepNs - s.A.StepNs
		if s.A.StepNs > 0 {
			s.Ratio = s.B.StepNs / s.A.StepNs
		}
		s.Change = changeOf(s.A.Count, s.B.Count, s.perStep[0], s.perStep[1])
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y *summed) int {
		return cmp.Or(cmp.Compare(math.Abs(y.DeltaNs), math.Abs(x.DeltaNs)), cmp.Compare(x.Name, y.Name),
			cmp.Compare(stat.One(x.Device), stat.One(y.Device)))
	})
	for _, s := range list {
		out.Diff.Rows, out.Rows = append(out.Diff.Rows, s.DiffRow), append(out.Rows, s.SumRow)
	}
	return out
}

// summed is a row of a sum in the making.
type summed struct {
	analysis.DiffRow
	SumRow
	perStep [2]float64 // calls in a step, added up over the pairs
	longest [2]int64   // ns, of the worst slices
}

func newSummed(row *analysis.DiffRow) *summed {
	s := &summed{DiffRow: analysis.DiffRow{Name: row.Name, Device: row.Device, P: 1, Q: 1},
		SumRow: SumRow{PairA: -1, PairB: -1}, longest: [2]int64{-1, -1}}
	s.A.Worst, s.B.Worst = analysis.NoSlice, analysis.NoSlice
	return s
}

// add takes the row of pair i in.
func (s *summed) add(row *analysis.DiffRow, p *Pair, i int) {
	if row.A.Count > 0 && row.B.Count > 0 {
		s.Of++
	}
	switch {
	case row.Significant && row.DeltaNs > 0:
		s.SureLonger++
	case row.Significant && row.DeltaNs < 0:
		s.SureShorter++
	}
	for side, of := range []struct {
		from, to *analysis.DiffSide
		pair     *int
		t        *trace.Trace
		steps    int
	}{{&row.A, &s.A, &s.PairA, p.A, p.Diff.StepsA}, {&row.B, &s.B, &s.PairB, p.B, p.Diff.StepsB}} {
		of.to.Count += of.from.Count
		of.to.Ns += of.from.Ns
		of.to.StepNs += of.from.StepNs
		s.perStep[side] += float64(of.from.Count) / float64(max(1, of.steps))
		if w := of.from.Worst; w >= 0 && of.t.Slices.Dur[w] > s.longest[side] {
			s.longest[side], of.to.Worst, *of.pair = of.t.Slices.Dur[w], w, i
		}
	}
}

// changeOf is how the calls of a name changed, by how many there are and how many in a step.
func changeOf(a, b int, perA, perB float64) analysis.Change {
	switch {
	case a == 0:
		return analysis.Added
	case b == 0:
		return analysis.Removed
	case perB > perA:
		return analysis.Increased
	case perB < perA:
		return analysis.Decreased
	}
	return analysis.Unchanged
}
