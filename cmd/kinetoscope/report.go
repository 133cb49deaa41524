package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/nodes"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/web/api"
)

type reportCmd struct {
	answer.Verb
	nodes.Server
	flags.Definition
	Traces bool `help:"Look at a run's traces one by one, as at traces of others: device, kernels, operators."`
	briefFlags
	Fresh bool `help:"Compute a run's report anew from its recordings, in place of its report.json."`
}

func (c *reportCmd) Run(e *cli.Env) error {
	if err := c.checkBrief(); err != nil {
		return err
	}
	at, err := nodes.Places(c.Paths)
	if err != nil {
		return err
	}
	if len(at) > 0 {
		return c.away(e, at)
	}
	if !c.Traces && len(c.Rank) == 0 && c.Stage == "" {
		runs, err := c.runs()
		if err != nil {
			return err
		}
		defer closeRuns(runs)
		if len(runs) > 0 {
			return c.pipelines(e, runs)
		}
	}
	return c.traces(e)
}

// runs opens the paths if all of them are runs of sessions; nil if none is. A mixture is an error.
func (c *reportCmd) runs() ([]*store.Run, error) {
	out, others, err := someRuns(&c.Options, c.Paths)
	if err == nil && len(out) > 0 && others != "" {
		err = cli.Usage("%s is a run and %s is not: report on them one by one, or with --traces",
			filepath.Base(out[0].Dir()), others)
		closeRuns(out)
	}
	return out, err
}

// someRuns opens the paths that are runs of sessions; others is one of the paths that are not.
func someRuns(o *reading.Options, paths []string) (out []*store.Run, others string, err error) {
	for _, p := range paths {
		r, err := o.FindSession(p)
		switch {
		case err != nil:
			closeRuns(out)
			return nil, "", err
		case r != nil:
			out = append(out, r)
		default:
			others = p
		}
	}
	return out, others, nil
}

func closeRuns(runs []*store.Run) {
	for _, r := range runs {
		r.Close()
	}
}

// runReport is a run's part in the JSON of several.
type runReport struct {
	Dir    string           `json:"dir"`
	Report *pipeline.Report `json:"report"`
}

// pipelines reports on runs of ours.
func (c *reportCmd) pipelines(e *cli.Env, runs []*store.Run) error {
	var all []runReport
	for _, r := range runs {
		rep, err := runReportOf(e, &c.Options, r, c.Fresh)
		if err != nil {
			return err
		}
		all = append(all, runReport{r.Dir(), rep})
	}
	switch {
	case c.brief():
		return c.briefRuns(e, runs, all)
	case c.JSON && len(all) == 1:
		return report.JSON(e.Out, all[0].Report)
	case c.JSON:
		return cli.JSON(e.Out, map[string]any{"schema_version": answer.Schema, "command": "report", "runs": all})
	case (c.CSV || c.Table != "") && len(all) > 1:
		return cli.Usage("--csv and --table: of one run")
	case c.CSV || c.Table != "":
		return c.Print(e, "report", nil, answer.Answer{Title: filepath.Base(all[0].Dir),
			Tables: report.PipelineTables(all[0].Report)})
	}
	o := e.Text()
	if c.Top >= 0 {
		o.Ops, o.Rows = c.Top, c.Top
		if c.Top == 0 {
			o.Ops, o.Rows = -1, -1
		}
	}
	for i, r := range all {
		if len(all) > 1 {
			if i > 0 {
				fmt.Fprintln(e.Out)
			}
			fmt.Fprintf(report.Terminal(e.Out), "== %s\n", filepath.Base(r.Dir))
		}
		if err := report.Text(e.Out, r.Report, o); err != nil {
			return err
		}
	}
	return nil
}

// runReportOf returns a run's report: the one in the run, or if fresh is set or there is none, one
// computed from its recordings.
func runReportOf(e *cli.Env, o *reading.Options, r *store.Run, fresh bool) (*pipeline.Report, error) {
	if !fresh {
		rep, err := runs.Report(r.Dir())
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		if rep != nil {
			return rep, nil
		}
	}
	m, err := r.Manifest()
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	ins, err := runs.Inputs(r)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	traces := make([]*trace.Trace, len(ins))
	var mu sync.Mutex
	err = o.Each(e, &reading.Choice{}, []string{r.Dir()}, func(i int, t *trace.Trace, _ reading.Info) error {
		mu.Lock()
		defer mu.Unlock()
		if i < len(traces) { // a recording holds exactly one trace
			traces[i] = t
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range runs.Incomplete(&m.Session) {
		fmt.Fprintf(e.Err, "note: %s rank %d is %s: %s\n", r.StageName, r.Rank, r.State, r.Reason)
	}
	return runs.Analyze(&m.Session, ins, traces), nil
}

// traceResult is what the page needs of a trace.
type traceResult struct {
	nodes.Summary
	subject *analysis.Subject // nil after the trace is freed; Part is filled in then
	stage   bool              // pipeline.Recorded
}

// traces reports on traces that are not runs, whoever wrote them.
func (c *reportCmd) traces(e *cli.Env) error {
	page := analyses.NewPage(analyses.Asked{HTA: c.HTA})
	var failed firstError
	c.Doubted = true
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, c.Paths, func(s *analysis.Subject) traceResult {
		if c.Memory == 0 {
			return traceResult{Summary: nodes.Summary{Cards: nodes.Cards(s.Trace)}, subject: s,
				stage: pipeline.Recorded(s.Trace)}
		}
		sum, err := nodes.Summarize(page, s, c.Analysis())
		failed.note(err)
		return traceResult{Summary: sum}
	})
	if err != nil {
		return err
	}
	if err := failed.get(); err != nil {
		return inputError(err)
	}
	if rep := c.recordings(list); rep != nil {
		if c.brief() {
			return c.printBrief(e, briefPipeline(rep, files(infos)))
		}
		return c.printPipeline(e, rep)
	}
	return c.print(e, page, list, infos)
}

// away reports on traces that lie on nodes.
func (c *reportCmd) away(e *cli.Env, at []api.Place) error {
	page := analyses.NewPage(analyses.Asked{HTA: c.HTA})
	c.Doubted = true
	q := nodes.Question[traceResult]{Verb: nodes.Report, Asked: analyses.Asked{HTA: c.HTA},
		Unpack: func(data []byte) (traceResult, error) {
			sum, err := nodes.UnpackSummary(page, data)
			return traceResult{Summary: sum}, err
		}}
	list, infos, err := nodes.Ranked(e, &c.Server, &c.Options, &c.Choice, at, q)
	if err != nil {
		return err
	}
	return c.print(e, page, list, infos)
}

// print writes the page of the results in the form that was asked for.
func (c *reportCmd) print(
	e *cli.Env, page *analyses.Page, list []report.Ranked[traceResult], infos []reading.Info,
) error {
	out, doc, err := c.page(page, list, infos)
	if err != nil {
		return inputError(err)
	}
	if c.brief() {
		return c.printBrief(e, briefTraces(out, infos))
	}
	if c.JSON || c.CSV || c.Table != "" {
		for i := range out.Report.Ranks {
			out.Report.Ranks[i].File = infos[i].File
		}
		a := answer.Answer{Title: out.Title, Note: out.Note, Tables: out.Tables, JSON: doc}
		return c.Print(e, "report", infos, a)
	}
	if c.Sort != "" {
		return cli.Usage("--sort: only with --csv or --table")
	}
	return report.Traces(e.Out, out, e.Text())
}

// page builds the page of the results, and the part of it that --json prints.
func (c *reportCmd) page(
	page *analyses.Page, list []report.Ranked[traceResult], infos []reading.Info,
) (*report.TraceReport, map[string]any, error) {
	rep, err := c.report(page, list)
	if err != nil {
		return nil, nil, err
	}
	out := &report.TraceReport{Report: rep}
	out.Title, out.Note = answer.Title(infos)
	out.Note += reading.RepairsLine(infos)
	found := make([]analyses.Found, len(list))
	metas, traces := make([]*trace.Meta, len(list)), make([]*trace.Trace, len(list))
	same := true
	for i := range list {
		v := &list[i].Value
		out.Labels = append(out.Labels, list[i].Label)
		found[i], metas[i] = v.Found, infos[i].Meta
		if v.subject != nil {
			traces[i] = v.subject.Trace
		}
		same = same && v.Cards == list[0].Value.Cards
	}
	if cards := list[0].Value.Cards; same && cards != "" {
		out.Note += ", " + cards
	}
	if line := report.WorldLine(metas, out.Labels); line != "" {
		out.Lines = append(out.Lines, line)
	}
	out.Names = func(i, slice int) string {
		if traces[i] != nil {
			return report.NamesOf(traces)(i, slice)
		}
		return list[i].Value.Names[slice]
	}
	doc, err := page.Build(out, found)
	if err != nil {
		return nil, nil, err
	}
	doc["report"] = out.Report
	return out, doc, nil
}

// recordings returns the pipeline's report if all traces are recordings of native stages, else nil.
func (c *reportCmd) recordings(list []report.Ranked[traceResult]) *pipeline.Report {
	var traces []*trace.Trace
	var o pipeline.Options
	for i := range list {
		v := &list[i].Value
		if c.Traces || v.subject == nil || !v.stage {
			return nil
		}
		traces, o.Subjects = append(traces, v.subject.Trace), append(o.Subjects, v.subject)
	}
	return pipeline.Analyze(traces, o)
}

func (c *reportCmd) printPipeline(e *cli.Env, rep *pipeline.Report) error {
	switch {
	case c.JSON:
		return report.JSON(e.Out, rep)
	case c.CSV || c.Table != "":
		return c.Print(e, "report", nil, answer.Answer{Tables: report.PipelineTables(rep)})
	}
	return report.Text(e.Out, rep, e.Text())
}

// report runs all analyses, and beside them those of the page's own parts. Of traces that are not kept
// they have been run rank by rank, and are joined.
func (c *reportCmd) report(page *analyses.Page, list []report.Ranked[traceResult]) (*analysis.Report, error) {
	if list[0].Value.subject != nil {
		var subjects []*analysis.Subject
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0))
		for i := range list {
			v := &list[i].Value
			subjects = append(subjects, v.subject)
			g.Go(func() (err error) {
				v.Found, err = page.Rank(v.subject)
				return err
			})
		}
		all := analysis.AllOf(subjects, c.Analysis())
		for i := range all.Ranks {
			all.Ranks[i].Launches.Launches = nil
		}
		if err := g.Wait(); err != nil {
			return nil, inputError(err)
		}
		return &all, nil
	}
	parts := make([]analysis.RankPart, len(list))
	for i := range list {
		parts[i] = list[i].Value.Part
	}
	return analysis.Join(parts), nil
}
