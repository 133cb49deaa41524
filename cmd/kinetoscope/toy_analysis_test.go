package main

import (
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

var _ = analyses.Register(analyses.Analysis{
	Name: "toy-longest", Order: 1000, Page: true,
	Help:    "The longest operator of each rank.",
	Answers: "the longest operator of each rank",
	Needs:   "Nothing is that long.",
	Tables:  []string{"longest"},
	JSON:    []analyses.Field{{Key: "ranks", Type: "toyLongest"}},
}, analyses.Method[toyOptions, toyLongest]{Check: toyCheck, Rank: toyRank, Answer: toyAnswer, Findings: toyFindings})

// toyOptions are the verb's flags.
type toyOptions struct {
	AtLeast time.Duration `help:"Shorter operators do not count." placeholder:"TIME"`
}

// toyLongest is what is found in one trace; it does not hold the trace.
type toyLongest struct {
	Name  string            `json:"name"`
	Ns    int64             `json:"ns"`
	Where analysis.Evidence `json:"where"`
	Share float64           `json:"-"`
}

func toyCheck(o *toyOptions, _ analyses.Asked) error {
	if o.AtLeast < 0 {
		return &analyses.InputError{Err: fmt.Errorf("--at-least %s: 0 or more", o.AtLeast)}
	}
	return nil
}

func toyRank(of *analysis.Subject, o *toyOptions, _ analyses.Asked) (toyLongest, error) {
	var out toyLongest
	var first, last int64
	t := of.Trace
	s := &t.Slices
	for i := range s.Len() {
		if i == 0 {
			first = s.Start[i]
		}
		first, last = min(first, s.Start[i]), max(last, s.End(i))
		if s.Cat[i] == trace.CatCPUOp && s.Dur[i] > out.Ns && s.Dur[i] >= o.AtLeast.Nanoseconds() {
			out = toyLongest{Name: t.String(s.Name[i]), Ns: s.Dur[i], Where: analysis.SliceEvidence(t, 0, i)}
		}
	}
	if last > first {
		out.Share = float64(out.Ns) / float64(last-first)
	}
	return out, nil
}

func toyAnswer(list []report.Ranked[toyLongest], _ *toyOptions, _ analyses.Asked) (analyses.Answer, error) {
	t := &report.Table{Name: "longest", Title: "Longest operator", What: "rank", Columns: []report.Column{
		{Key: "rank", Title: "rank", Left: true},
		{Key: "name", Title: "operator", Left: true, Flex: true},
		{Key: "ns", Title: "took"},
	}}
	values := make([]toyLongest, len(list))
	for i, r := range list {
		values[i] = r.Value
		if r.Value.Ns > 0 {
			t.Add(report.Str(r.Label), report.Op(r.Value.Name), report.Ns(r.Value.Ns))
		}
	}
	return analyses.Answer{Tables: []*report.Table{t}, JSON: map[string]any{"ranks": values}}, nil
}

func toyFindings(list []report.Ranked[toyLongest]) []analysis.Finding {
	var out []analysis.Finding
	for i, r := range list {
		if v := r.Value; v.Share > 0.5 {
			v.Where.Rank = i
			out = append(out, analysis.Finding{
				Code: "one_operator", Severity: analysis.Notice, Number: 100 * v.Share, Unit: "%", Evidence: v.Where,
				Text: fmt.Sprintf("rank %s: %s is most of the trace", r.Label, v.Name),
			})
		}
	}
	return out
}
