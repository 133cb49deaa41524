package analyses

import (
	"io"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

var _ = Register(Analysis{
	Name: "steps", Order: 5, Doubts: true,
	Help:    "Steps of inference or training: prefill, decode, denoise; host-bound or device-bound.",
	Answers: "prefill, decode, denoise, training steps; who sets their pace",
	Tables:  []string{"steps", "kinds"},
	JSON:    []Field{{"ranks", "steps.Report"}},
}, Method[stepsOptions, *steps.Report]{
	Rank: rankSteps, Answer: answerSteps, Findings: findSteps, Page: pageSteps,
})

type stepsOptions struct {
	NoLabels bool `help:"Look for repeated kernels only, not for labels."`
}

func rankSteps(s *analysis.Subject, o *stepsOptions, _ Asked) (*steps.Report, error) {
	return steps.Find(s.Trace, steps.Options{NoLabels: o.NoLabels, Seen: s.Seen(), Host: s.Host}), nil
}

func answerSteps(list []report.Ranked[*steps.Report], _ *stepsOptions, _ Asked) (Answer, error) {
	for i := range list {
		r := list[i].Value
		for k := range r.Findings {
			r.Findings[k].Evidence.Rank = i
		}
	}
	return Answer{
		JSON:   map[string]any{"ranks": report.Values(list)},
		Tables: []*report.Table{report.StepTable(list), report.StepKindTable(list)},
		Each: func(w io.Writer, i int, o report.TextOptions) error {
			return report.Steps(w, list[i].Value, o)
		},
	}, nil
}

// findSteps are the steps' own findings.
func findSteps(list []report.Ranked[*steps.Report]) []analysis.Finding {
	var out []analysis.Finding
	for i, r := range list {
		for _, f := range r.Value.Own() {
			f.Evidence.Rank = i
			if len(list) > 1 {
				f.Text = identity.Spoken(r.Label) + ": " + f.Text
			}
			out = append(out, f)
		}
	}
	return out
}

func pageSteps(list []report.Ranked[*steps.Report], _ *report.TraceReport) PagePart {
	return PagePart{
		Lines: report.StepLines(list), Tables: []*report.Table{report.StepKindTable(list)}, JSON: report.Values(list),
	}
}
