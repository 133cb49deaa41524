package analyses

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
)

var _ = Register(Analysis{
	Name: "kernels", Order: 10, HTA: true, Sums: true,
	Help:    "What the device's time went to: kinds of work, kernels, sequences of kernels.",
	Answers: "kinds of device work, kernels, with `--sequences OP` series of kernels",
	Tables:  []string{"kernels", "types", "temporal", "sequences"},
	JSON: []Field{
		{"ranks", "analysis.KernelBreakdown, with --sequences a list of analysis.Sequence"},
		{"temporal", "analysis.Temporal"},
	},
}, Method[kernelsOptions, kernelsResult]{
	Check: checkKernels, Rank: rankKernels, Answer: answerKernels,
	Reported: func(k *analysis.RankReport) kernelsResult { return kernelsResult{Kernels: k.Kernels} },
	Page:     pageKernels,
})

type kernelsOptions struct {
	Sequences *string `help:"Series of kernels that operators launch whose name contains OP; an empty OP is every top-level operator." placeholder:"OP"`
	MinLength int     `help:"Fewest kernels of a series." default:"3" placeholder:"N"`
}

// kernelsResult is one rank's device work.
type kernelsResult struct {
	Kernels analysis.KernelBreakdown
	Time    analysis.Temporal
	Seq     []analysis.Sequence
}

func checkKernels(o *kernelsOptions, _ Asked) error {
	if o.MinLength < 1 {
		return wrong("--min-length %d: 1 or more", o.MinLength)
	}
	return nil
}

func rankKernels(s *analysis.Subject, o *kernelsOptions, a Asked) (kernelsResult, error) {
	if o.Sequences != nil {
		return kernelsResult{Seq: s.View(a.Options()).Sequences(*o.Sequences, o.MinLength)}, nil
	}
	return kernelsResult{Kernels: s.View(a.Options()).Kernels(), Time: s.View(a.Options()).Temporal()}, nil
}

func answerKernels(list []report.Ranked[kernelsResult], o *kernelsOptions, a Asked) (Answer, error) {
	if o.Sequences != nil {
		seq := report.Part(list, func(r *kernelsResult) []analysis.Sequence { return r.Seq })
		return Answer{JSON: map[string]any{"ranks": report.Values(seq)},
			Tables: []*report.Table{report.SequenceTable(seq)}}, nil
	}
	kernels := report.Part(list, func(r *kernelsResult) analysis.KernelBreakdown { return r.Kernels })
	time := report.Part(list, func(r *kernelsResult) analysis.Temporal { return r.Time })
	shown := summed(a, kernels, report.MergeKernels)
	return Answer{
		JSON:   map[string]any{"ranks": report.Values(kernels), "temporal": report.Values(time)},
		Tables: []*report.Table{report.KernelTable(shown), report.KernelTypeTable(shown)},
		Above:  []*report.Table{report.TemporalTable(time)},
	}, nil
}

func pageKernels(list []report.Ranked[kernelsResult], _ *report.TraceReport) PagePart {
	sum := report.MergeKernels(report.Part(list, func(r *kernelsResult) analysis.KernelBreakdown { return r.Kernels }))
	return PagePart{Tables: []*report.Table{report.KernelTypeTable(sum), report.KernelTable(sum).Most(pageMost)}}
}
