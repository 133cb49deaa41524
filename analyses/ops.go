package analyses

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
)

var _ = Register(Analysis{
	Name: "ops", Order: 20, Sums: true,
	Help:    "What each operator cost on host and device, by name, shape or stack.",
	Answers: "what each operator cost on host and device",
	Tables:  []string{"ops", "roofline", "annotations"},
	JSON: []Field{
		{"ranks", "analysis.OpTable"}, {"roofline", "analysis.RooflineReport"}, {"annotations", "analysis.Annotations"},
	},
}, Method[opsOptions, opsResult]{
	Check: checkOps, Rank: rankOps, Answer: answerOps,
	Reported: func(k *analysis.RankReport) opsResult { return opsResult{Ops: k.Ops, Frames: k.Frames} }, Page: pageOps,
})

type opsOptions struct {
	ByShape    bool `help:"Calls with different input shapes make different rows."`
	ByStack    bool `help:"Calls from different Python stacks make different rows."`
	StackDepth int  `help:"Frames that tell stacks apart." default:"0" placeholder:"N"`
	Flops      bool `help:"Arithmetic of matrix products, convolutions and attention, and how near it comes to the card's roof."`
}

// opsResult is one rank's operators.
type opsResult struct {
	Ops    analysis.OpTable
	Roof   analysis.RooflineReport
	Ann    analysis.Annotations
	Frames analysis.FrameTable // for the page
}

func checkOps(o *opsOptions, _ Asked) error {
	if o.StackDepth < 0 {
		return wrong("--stack-depth %d: 0 or more", o.StackDepth)
	}
	return nil
}

func rankOps(s *analysis.Subject, o *opsOptions, a Asked) (opsResult, error) {
	v := s.View(analysis.Options{})
	by := analysis.OpOptions{ByShape: o.ByShape, ByStack: o.ByStack, StackDepth: o.StackDepth}
	r := opsResult{Ops: v.Ops(by)}
	if o.Flops || a.Everything {
		r.Roof = v.Roofline()
	}
	if a.Everything {
		r.Ann = v.Annotations()
	}
	return r, nil
}

func answerOps(list []report.Ranked[opsResult], o *opsOptions, a Asked) (Answer, error) {
	ops := report.Part(list, func(r *opsResult) analysis.OpTable { return r.Ops })
	roof := report.Part(list, func(r *opsResult) analysis.RooflineReport { return r.Roof })
	ann := report.Part(list, func(r *opsResult) analysis.Annotations { return r.Ann })
	out := Answer{JSON: map[string]any{"ranks": report.Values(ops), "roofline": report.Values(roof),
		"annotations": report.Values(ann)}}
	out.Tables = []*report.Table{
		report.OpTable(summed(a, ops, report.MergeOps)), report.RooflineTable(roof), report.AnnotationTable(ann),
	}
	if o.Flops {
		out.Tables = []*report.Table{out.Tables[1], out.Tables[0]}
	}
	if !a.Everything {
		out.Tables = out.Tables[:1]
		if slices.ContainsFunc(ops, func(r report.Ranked[analysis.OpTable]) bool { return len(r.Value.Labels) > 0 }) {
			out.Tables = append(out.Tables, report.OpLabelTable(summed(a, ops, report.MergeOps)))
		}
	}
	has := func(text func(analysis.OpRow) string) bool {
		return slices.ContainsFunc(ops, func(r report.Ranked[analysis.OpTable]) bool {
			return slices.ContainsFunc(r.Value.Rows, func(o analysis.OpRow) bool { return text(o) != "" })
		})
	}
	if o.ByStack && !has(func(o analysis.OpRow) string { return o.Stack }) {
		out.Notes = append(out.Notes,
			"the trace has no Python stacks: with_stack (torch_profiler_with_stack) records them")
	}
	if o.ByShape && !has(func(o analysis.OpRow) string { return o.Shapes }) {
		out.Notes = append(out.Notes,
			"the trace has no input shapes: record_shapes (torch_profiler_record_shapes) records them")
	}
	return out, nil
}

func pageOps(list []report.Ranked[opsResult], _ *report.TraceReport) PagePart {
	ops := report.Part(list, func(r *opsResult) analysis.OpTable { return r.Ops })
	frames := report.Part(list, func(r *opsResult) analysis.FrameTable { return r.Frames })
	sum := report.MergeOps(ops)
	first := report.OpTable(sum)
	if first.Len() == 0 { // nothing but labels, as where only a program's own ranges were recorded
		first = report.OpLabelTable(sum)
	}
	return PagePart{Tables: []*report.Table{first.Most(pageMost), report.FrameTable(frames).Most(pageMost)}}
}
