package analyses

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

var _ = Register(Analysis{
	Name: "ops", Order: 10, Sums: true,
	Help:    "What each operator cost on host and device, by name, shape or stack.",
	Answers: "what each operator cost on host and device",
	Tables:  []string{"ops", "roofline", "annotations"},
	JSON: []Field{
		{"ranks", "analysis.OpTable"}, {"roofline", "analysis.RooflineReport"}, {"annotations", "analysis.Annotations"},
	},
}, Method[opsOptions, opsResult]{Check: checkOps, Rank: rankOps, Answer: answerOps})

type opsOptions struct {
	ByShape    bool `help:"Calls with different input shapes make different rows."`
	ByStack    bool `help:"Calls from different Python stacks make different rows."`
	StackDepth int  `help:"Frames that tell stacks apart." default:"0" placeholder:"N"`
	Flops      bool `help:"Arithmetic of matrix products, convolutions and attention, and how near it comes to the card's roof."`
}

// opsResult is one rank's operators.
type opsResult struct {
	ops  analysis.OpTable
	roof analysis.RooflineReport
	ann  analysis.Annotations
}

func checkOps(o *opsOptions, _ Asked) error {
	if o.StackDepth < 0 {
		return wrong("--stack-depth %d: 0 or more", o.StackDepth)
	}
	return nil
}

func rankOps(t *trace.Trace, o *opsOptions, a Asked) (opsResult, error) {
	all := analysis.Options{}
	by := analysis.OpOptions{ByShape: o.ByShape, ByStack: o.ByStack, StackDepth: o.StackDepth}
	r := opsResult{ops: analysis.Ops(t, all, by)}
	if o.Flops || a.Everything {
		r.roof = analysis.Roofline(t, all, analysis.RoofsOf(t))
	}
	if a.Everything {
		r.ann = analysis.AnnotationBreakdown(t, all)
	}
	return r, nil
}

func answerOps(list []report.Ranked[opsResult], o *opsOptions, a Asked) (Answer, error) {
	ops := report.Part(list, func(r *opsResult) analysis.OpTable { return r.ops })
	roof := report.Part(list, func(r *opsResult) analysis.RooflineReport { return r.roof })
	ann := report.Part(list, func(r *opsResult) analysis.Annotations { return r.ann })
	out := Answer{JSON: map[string]any{"ranks": report.Values(ops), "roofline": report.Values(roof), "annotations": report.Values(ann)}}
	out.Tables = []*report.Table{
		report.OpTable(summed(a, ops, report.MergeOps)), report.RooflineTable(roof), report.AnnotationTable(ann),
	}
	if o.Flops {
		out.Tables = []*report.Table{out.Tables[1], out.Tables[0]}
	}
	if !a.Everything {
		out.Tables = out.Tables[:1]
	}
	has := func(text func(analysis.OpRow) string) bool {
		return slices.ContainsFunc(ops, func(r report.Ranked[analysis.OpTable]) bool {
			return slices.ContainsFunc(r.Value.Rows, func(o analysis.OpRow) bool { return text(o) != "" })
		})
	}
	if o.ByStack && !has(func(o analysis.OpRow) string { return o.Stack }) {
		out.Notes = append(out.Notes, "the trace has no Python stacks: with_stack (torch_profiler_with_stack) records them")
	}
	if o.ByShape && !has(func(o analysis.OpRow) string { return o.Shapes }) {
		out.Notes = append(out.Notes,
			"the trace has no input shapes: record_shapes (torch_profiler_record_shapes) records them")
	}
	return out, nil
}
