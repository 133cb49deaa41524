package main

import (
	"fmt"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/tables"
	"github.com/kinetoscope/kinetoscope/trace"
)

// tablesPart is what is kept of a trace after its own tables are written.
type tablesPart struct {
	at    int // number of its files
	part  tables.Part
	trace *trace.Trace // a recording of a stage, kept for the report of all stages; else nil
}

// pageOf computes the content of the verb report for tables of the same traces.
type pageOf struct{ answer.Verb }

// keep returns the trace if the report of all may need it as a whole.
func (p *pageOf) keep(d tables.Wanted, t *trace.Trace) *trace.Trace {
	if p.Memory == 0 && (d.Wants("requests") || d.Wants("findings")) && pipeline.Recorded(t) {
		return t
	}
	return nil
}

// answers joins the answers of single traces with the reports of their runs.
func (p *pageOf) answers(e *cli.Env, d tables.Wanted, list []report.Ranked[tablesPart],
	infos []reading.Info) (*tables.Answers, error) {
	a := &tables.Answers{}
	recordings := make([]*trace.Trace, len(list))
	for i := range list {
		part := list[i].Value.part
		part.Label, part.Meta.Rank, part.Meta.Replica = list[i].Label, infos[i].Rank, infos[i].Replica
		a.Parts = append(a.Parts, part)
		recordings[i] = list[i].Value.trace
	}
	if !d.Wants("requests") && !d.Wants("findings") {
		return a, nil
	}
	var err error
	a.Pipelines, err = p.pipelines(e, recordings)
	for _, x := range a.Pipelines {
		if n := len(x.Report.Requests); n < x.Report.RequestCount {
			fmt.Fprintf(e.Err, "note: table requests has the first %d of %d requests of %s\n", n, x.Report.RequestCount,
				x.Name)
		}
	}
	return a, err
}

// pipelines returns the reports of the runs among the paths, or of recordings outside of runs; none
// for other traces.
func (p *pageOf) pipelines(e *cli.Env, recordings []*trace.Trace) ([]tables.Pipeline, error) {
	c := reportCmd{Verb: p.Verb}
	c.Quiet = true
	if len(c.Rank) == 0 && c.Stage == "" {
		runs, others, err := someRuns(&c.Options, c.Paths)
		if err != nil {
			return nil, err
		}
		defer closeRuns(runs)
		if others != "" {
			runs = nil
		}
		var out []tables.Pipeline
		for _, r := range runs {
			rep, err := runReportOf(e, &c.Options, r, c.Fresh)
			if err != nil {
				return nil, err
			}
			out = append(out, tables.Pipeline{Name: filepath.Base(r.Dir()), Report: rep})
		}
		if out != nil {
			return out, nil
		}
	}
	for _, t := range recordings {
		if t == nil {
			return nil, nil
		}
	}
	return []tables.Pipeline{{Report: pipeline.Analyze(recordings, pipeline.Options{})}}, nil
}
