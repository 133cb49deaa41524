package report

import (
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/units"
)

// CompareLines describe two captures in sentences: what they are, how they were made differently,
// what is in doubt, and the verdict.
func CompareLines(r *compare.Report) []string {
	out := append([]string{}, r.Doubts...)
	out = append(out, r.Verdict)
	for _, s := range []struct {
		name string
		side *compare.Side
	}{{"A", &r.A}, {"B", &r.B}} {
		cards := "no card named"
		if len(s.side.Cards) > 0 {
			cards = strings.Join(s.side.Cards, ", ")
		}
		out = append(out, fmt.Sprintf("%s: %s; %s; %s; %s.", s.name, s.side.Ranks,
			units.Plural(s.side.Requests, "request"), cards, strings.Join(s.side.Versions, ", ")))
	}
	switch {
	case len(r.Differs) > 0:
	case len(r.A.Cards) == 0:
		return append(out, "Ranks, versions and the number of requests are the same; whether cards are is not known.")
	default:
		return append(out, "Cards, ranks, versions and the number of requests are the same.")
	}
	return append(out, "A and B differ in "+strings.Join(r.Differs, "; ")+".")
}

// CompareTraceLines say in sentences what changed between two traces, and on what both were
// recorded if both tell.
func CompareTraceLines(r *compare.TraceReport) []string {
	out := []string{r.Verdict}
	if len(r.Differs) > 0 {
		out = append(out, "A and B differ in "+strings.Join(r.Differs, "; ")+".")
	} else if len(r.A.Cards) > 0 {
		out = append(out, fmt.Sprintf("Both: %s.", strings.Join(append(r.A.Cards, r.A.Versions...), ", ")))
	}
	return out
}

// CompareTables are the latencies of requests, the steps, and where the stages' time went, of
// both sides.
func CompareTables(r *compare.Report) []*Table {
	return []*Table{compareLatency(r), compareSteps(r), compareTime(r)}
}

// manyFold is the change from which on a factor reads better than a share.
const manyFold = 9

// changeCell is a relative change with its sign; NoValue if a side has nothing.
func changeCell(a, b float64, both bool) Cell {
	change := compare.Change(a, b)
	c := Share(change)
	switch {
	case change >= manyFold:
		c.Text = "×" + units.Digits(1+change)
	case change > 0 && !strings.HasPrefix(c.Text, "<"):
		c.Text = "+" + c.Text
	}
	return If(both && a > 0, c)
}

// sureCell marks a difference that is not chance.
func sureCell(significant bool) Cell {
	if significant {
		return Cell{"yes", "true"}
	}
	return Cell{"", "false"}
}

func compareLatency(r *compare.Report) *Table {
	t := &Table{Name: "latency", Title: "Requests", What: "latency", Columns: []Column{
		{Key: "what", Title: "to", Left: true},
		{Key: "count_a", Title: "A requests", Drop: 2}, {Key: "count_b", Title: "B requests", Drop: 2},
		{Key: "p50_a_ns", Title: "A p50"}, {Key: "p50_b_ns", Title: "B p50"}, {Key: "p50_change", Title: "change"},
		{Key: "p99_a_ns", Title: "A p99"}, {Key: "p99_b_ns", Title: "B p99"}, {Key: "p99_change", Title: "change"},
		{Key: "chance"}, {Key: "significant", Title: "no chance", Left: true, Drop: 1},
	}}
	for i := range r.Latency {
		l := &r.Latency[i]
		a, b := l.A.Count > 0, l.B.Count > 0
		if !a && !b {
			continue
		}
		t.Add(Cell{l.Spoken(), l.What}, Int(l.A.Count), Int(l.B.Count),
			If(a, MeanNs(l.A.P50Ns)), If(b, MeanNs(l.B.P50Ns)), changeCell(l.A.P50Ns, l.B.P50Ns, a && b),
			If(a, MeanNs(l.A.P99Ns)), If(b, MeanNs(l.B.P99Ns)), changeCell(l.A.P99Ns, l.B.P99Ns, a && b),
			Num(l.Chance), sureCell(l.Significant))
	}
	return t
}

func compareSteps(r *compare.Report) *Table {
	t := &Table{Name: "steps", Title: "Steps", What: "kind of step", Columns: []Column{
		{Key: "stage", Title: "stage", Left: true, Flex: true}, {Key: "category", Title: "step", Left: true},
		{Key: "count_a", Title: "A steps", Drop: 1}, {Key: "count_b", Title: "B steps", Drop: 1},
		{Key: "p50_a_ns", Title: "A p50"}, {Key: "p50_b_ns", Title: "B p50"}, {Key: "p50_change", Title: "change"},
		{Key: "p99_a_ns", Title: "A p99"}, {Key: "p99_b_ns", Title: "B p99"}, {Key: "p99_change", Title: "change"},
		{Key: "chance"}, {Key: "significant", Title: "no chance", Left: true, Drop: 1},
	}}
	for i := range r.Steps {
		s := &r.Steps[i]
		a, b := s.A.Count > 0, s.B.Count > 0
		t.Add(Str(s.Stage), Str(s.Category.String()), Int(s.A.Count), Int(s.B.Count),
			If(a, MeanNs(s.A.P50Ns)), If(b, MeanNs(s.B.P50Ns)), changeCell(s.A.P50Ns, s.B.P50Ns, a && b),
			If(a, MeanNs(s.A.P99Ns)), If(b, MeanNs(s.B.P99Ns)), changeCell(s.A.P99Ns, s.B.P99Ns, a && b),
			Num(s.Chance), sureCell(s.Significant))
	}
	return t
}

// longCompare are the rows that a reader gets: every category of the stages of a usual pipeline.
const longCompare = 60

func compareTime(r *compare.Report) *Table {
	t := &Table{Name: "time", Title: "Where the time went", Note: "sum over a stage's ranks", What: "row",
		Limit: longCompare, Columns: []Column{
			{Key: "stage", Title: "stage", Left: true, Flex: true}, {Key: "category", Title: "in", Left: true},
			{Key: "a_ns", Title: "A"}, {Key: "b_ns", Title: "B"}, {Key: "change", Title: "change"},
			{Key: "a_share", Title: "A of its window"}, {Key: "b_share", Title: "B of its window"},
		}}
	for i := range r.Time {
		x := &r.Time[i]
		t.Add(Str(x.Stage), Str(x.Category.String()), Ns(x.ANs), Ns(x.BNs),
			changeCell(float64(x.ANs), float64(x.BNs), true),
			Share(x.AShare), Share(x.BShare))
	}
	return t
}
