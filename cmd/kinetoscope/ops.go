package main

import (
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type opsCmd struct {
	traceVerb
	byRankFlag
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

func (c *opsCmd) Run(e *env) error {
	if c.StackDepth < 0 {
		return usage("--stack-depth %d: 0 or more", c.StackDepth)
	}
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) opsResult {
		o := analysis.Options{}
		r := opsResult{ops: analysis.Ops(t, o, analysis.OpOptions{ByShape: c.ByShape, ByStack: c.ByStack, StackDepth: c.StackDepth})}
		if c.Flops || c.JSON || c.Table != "" {
			r.roof = analysis.Roofline(t, o, analysis.RoofsOf(t))
		}
		if c.JSON || c.Table != "" {
			r.ann = analysis.AnnotationBreakdown(t, o)
		}
		return r
	})
	if err != nil {
		return err
	}
	ops := part(list, func(r *opsResult) analysis.OpTable { return r.ops })
	roof := part(list, func(r *opsResult) analysis.RooflineReport { return r.roof })
	ann := part(list, func(r *opsResult) analysis.Annotations { return r.ann })
	a := answer{json: map[string]any{"ranks": perRank(ops), "roofline": perRank(roof), "annotations": perRank(ann)}}
	a.title, a.note = pageTitle(infos)
	a.tables = []*report.Table{report.OpTable(apply(c.byRankFlag, ops, report.MergeOps)), report.RooflineTable(roof), report.AnnotationTable(ann)}
	if c.Flops {
		a.tables = []*report.Table{a.tables[1], a.tables[0]}
	}
	has := func(text func(analysis.OpRow) string) bool {
		return slices.ContainsFunc(ops, func(r report.Ranked[analysis.OpTable]) bool {
			return slices.ContainsFunc(r.Value.Rows, func(o analysis.OpRow) bool { return text(o) != "" })
		})
	}
	if c.ByStack && !has(func(o analysis.OpRow) string { return o.Stack }) {
		fmt.Fprintln(e.err, "note: the trace has no Python stacks: with_stack (torch_profiler_with_stack) records them")
	}
	if c.ByShape && !has(func(o analysis.OpRow) string { return o.Shapes }) {
		fmt.Fprintln(e.err, "note: the trace has no input shapes: record_shapes (torch_profiler_record_shapes) records them")
	}
	if c.Table == "" {
		a.tables = a.tables[:1]
	}
	return c.print(e, "ops", infos, a)
}
