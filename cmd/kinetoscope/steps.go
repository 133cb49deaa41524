package main

import (
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type stepsCmd struct {
	answer.Verb
	NoLabels bool `help:"Look for repeated kernels only, not for labels."`
}

func (c *stepsCmd) Run(e *cli.Env) error {
	c.Doubted = true
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, c.Paths, func(t *trace.Trace) *steps.Report {
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
		a := answer.Answer{JSON: map[string]any{"ranks": report.Values(list)}, Tables: []*report.Table{report.StepTable(list), report.StepKindTable(list)}}
		a.Title, a.Note = answer.Title(infos)
		return c.Print(e, "steps", infos, a)
	}
	if c.Sort != "" {
		return cli.Usage("--sort: only with --csv or --table steps")
	}
	o := e.Text()
	switch {
	case c.Top > 0:
		o.Rows = c.Top
	case c.Top == 0:
		o.Rows = -1
	}
	for i := range list {
		if i > 0 {
			if err := report.Page(e.Out, " ", "", nil, o); err != nil {
				return err
			}
		}
		title, note := answer.Title(infos[i : i+1])
		if err := report.Page(e.Out, title, note, nil, o); err != nil {
			return err
		}
		if err := report.Steps(e.Out, list[i].Value, o); err != nil {
			return err
		}
	}
	return nil
}
