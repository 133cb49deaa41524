package main

import (
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type stepsCmd struct {
	traceVerb
	NoLabels bool `help:"Look for repeated kernels only, not for labels."`
}

func (c *stepsCmd) Run(e *env) error {
	c.doubted = true
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) *steps.Report {
		return steps.Find(t, steps.Options{NoLabels: c.NoLabels})
	})
	if err != nil {
		return err
	}
	for i := range list {
		r := list[i].Value
		for k := range r.Findings {
			r.Findings[k].Evidence.Rank = i
		}
	}
	if c.JSON || c.CSV || c.Table != "" {
		a := answer{json: map[string]any{"ranks": perRank(list)}, tables: []*report.Table{report.StepTable(list), report.StepKindTable(list)}}
		a.title, a.note = pageTitle(infos)
		return c.print(e, "steps", infos, a)
	}
	if c.Sort != "" {
		return usage("--sort: only with --csv or --table steps")
	}
	o := textOptions(e)
	switch {
	case c.Top > 0:
		o.Rows = c.Top
	case c.Top == 0:
		o.Rows = -1
	}
	for i := range list {
		if i > 0 {
			if err := report.Page(e.out, " ", "", nil, o); err != nil {
				return err
			}
		}
		title, note := pageTitle(infos[i : i+1])
		if err := report.Page(e.out, title, note, nil, o); err != nil {
			return err
		}
		if err := report.Steps(e.out, list[i].Value, o); err != nil {
			return err
		}
	}
	return nil
}
