package main

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type kernelsCmd struct {
	traceVerb
	byRankFlag
	htaFlag
	Sequences *string `help:"Series of kernels that operators launch whose name contains OP; '' is every top-level operator." placeholder:"OP"`
	MinLength int     `help:"Fewest kernels of a series." default:"3" placeholder:"N"`
}

// kernelsResult is one rank's device work.
type kernelsResult struct {
	kernels analysis.KernelBreakdown
	time    analysis.Temporal
	seq     []analysis.Sequence
}

func (c *kernelsCmd) Run(e *env) error {
	if c.MinLength < 1 {
		return usage("--min-length %d: 1 or more", c.MinLength)
	}
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) kernelsResult {
		r := kernelsResult{}
		if c.Sequences != nil {
			r.seq = analysis.Sequences(t, c.options(), *c.Sequences, c.MinLength)
			return r
		}
		r.kernels, r.time = analysis.Kernels(t, c.options()), analysis.TemporalBreakdown(t, c.options())
		return r
	})
	if err != nil {
		return err
	}
	if c.Sequences != nil {
		seq := part(list, func(r *kernelsResult) []analysis.Sequence { return r.seq })
		a := answer{json: map[string]any{"ranks": perRank(seq)}, tables: []*report.Table{report.SequenceTable(seq)}}
		a.title, a.note = pageTitle(infos)
		return c.print(e, "kernels", infos, a)
	}
	kernels := part(list, func(r *kernelsResult) analysis.KernelBreakdown { return r.kernels })
	time := part(list, func(r *kernelsResult) analysis.Temporal { return r.time })
	a := answer{json: map[string]any{"ranks": perRank(kernels), "temporal": perRank(time)}}
	a.title, a.note = pageTitle(infos)
	shown := apply(c.byRankFlag, kernels, report.MergeKernels)
	a.tables = []*report.Table{report.KernelTable(shown), report.KernelTypeTable(shown)}
	a.above = []*report.Table{report.TemporalTable(time)}
	return c.print(e, "kernels", infos, a)
}
