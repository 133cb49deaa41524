package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/units"
)

// stateComplete is the state of a rank that recorded to the end; protocol.StateComplete.
const stateComplete = "complete"

// outcomes returns Options.Outcomes with the traces that those ranks left.
func (a *analyzer) outcomes() []Outcome {
	out := append([]Outcome{}, a.o.Outcomes...)
	for i := range out {
		x := &out[i]
		x.Trace = -1
		for _, d := range a.ranks {
			m := &d.t.Meta
			if d.stageID == x.StageID && m.Replica == x.Replica && max(0, m.Rank) == x.Rank {
				x.Trace = d.index
			}
		}
	}
	return out
}

// label names the rank.
func (x *Outcome) label() string {
	name := x.Stage
	if name == "" {
		name = stageWord(x.StageID)
	}
	if x.Replica > 0 {
		name += fmt.Sprintf(" replica %d", x.Replica)
	}
	return fmt.Sprintf("%s rank %d", name, x.Rank)
}

// outcomes reports the ranks that the report lacks, before findings that rest on the other ranks.
func (f *finder) outcomes() {
	for i := range f.r.Outcomes {
		x := &f.r.Outcomes[i]
		sev, what, where := analysis.Critical, "is "+strings.ReplaceAll(x.State, "_", " "), "no trace"
		if x.State == stateComplete {
			sev, what = analysis.Notice, "is complete, but"
		}
		if x.Reason != "" {
			what += ": " + x.Reason
		}
		e := analysis.Evidence{Rank: -1, Slice: analysis.NoSlice}
		tail := "it left no trace, so nothing is said of it, and what is said of requests and of the slowest stage rests on the others"
		if d := f.rankOf(x.Trace); d != nil {
			e = analysis.SpanEvidence(d.index, 0, d.start-d.offset, d.end-d.offset)
			where = fmt.Sprintf("its trace covers %s of the window of %s", units.Duration(float64(d.end-d.start)),
				units.Duration(float64(f.r.WindowNs)))
			tail = "what it left is in this report, and can end early"
		}
		f.r.Findings = append(f.r.Findings, Finding{Where: x.label() + ": " + where, Finding: analysis.Finding{
			Code: finding.RankLost, Severity: sev, Text: fmt.Sprintf("%s %s; %s", x.label(), what, tail),
			Number: float64(len(f.r.Outcomes)),
			Unit:   "count", Evidence: e, Doubt: true,
		}})
	}
}

// missing names the ranks of which a verdict knows nothing or only a part; "" if it knows all of
// them.
func (f *finder) missing() string {
	var none, part []string
	for i := range f.r.Outcomes {
		switch x := &f.r.Outcomes[i]; {
		case x.Trace < 0:
			none = append(none, x.label())
		case x.State != stateComplete:
			part = append(part, x.label())
		}
	}
	var text []string
	if len(none) > 0 {
		text = append(text, "not looked at for lack of a trace: "+few(none))
	}
	if len(part) > 0 {
		text = append(text, "known in part only: "+few(part))
	}
	return strings.Join(text, "; ")
}

// few lists names; if there are many, only the first ones.
func few(names []string) string {
	const most = 4
	if n := len(names) - most; n > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", n))
	}
	return strings.Join(names, ", ")
}

// doubts adds the doubts about single traces.
func (f *finder) doubts() {
	for _, d := range f.a.ranks {
		for _, x := range d.seen.Findings(d.index, d.label()+": ") {
			where := fmt.Sprintf("%s: %s", d.label(), d.t.String(d.t.Slices.Name[x.Evidence.Slice]))
			f.r.Findings = append(f.r.Findings, Finding{x, where})
		}
	}
}

// stagesWithout returns the stages, by name, of which no rank left a trace.
func (r *Report) stagesWithout() []string {
	var out []string
	for i := range r.Outcomes {
		x := &r.Outcomes[i]
		there := slices.ContainsFunc(r.Stages, func(s Stage) bool { return s.StageID == x.StageID })
		if !there && !slices.Contains(out, x.Stage) {
			out = append(out, x.Stage)
		}
	}
	return out
}
