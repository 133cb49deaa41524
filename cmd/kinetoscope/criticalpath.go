package main

import (
	"errors"
	"fmt"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type criticalPathCmd struct {
	traceVerb
	htaFlag
	Annotation string `help:"Only what happens in one instance of this annotation; a part of its name is enough." placeholder:"NAME"`
	Instance   int    `help:"Which instance of the annotation, from 0." placeholder:"N"`
}

// pathResult is one rank's critical path.
type pathResult struct {
	path  analysis.CriticalPath
	err   error
	edges *report.Table
}

func (c *criticalPathCmd) Run(e *env) error {
	if c.Instance < 0 {
		return usage("--instance %d: 0 or more", c.Instance)
	}
	if c.Instance > 0 && c.Annotation == "" {
		return usage("--instance: of which --annotation?")
	}
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) pathResult {
		p, err := analysis.FindCriticalPath(t, c.options(), analysis.CriticalOptions{Annotation: c.Annotation, Instance: c.Instance})
		if err != nil {
			return pathResult{err: err}
		}
		return pathResult{path: p, edges: report.PathEdgeTable(&p, t)}
	})
	if err != nil {
		return err
	}
	if len(list) > 1 {
		return usage("%d traces: a critical path is one rank's; choose it with --rank", len(list))
	}
	r := &list[0].Value
	if errors.Is(r.err, analysis.ErrNoAnnotation) {
		return usage("--annotation %s --instance %d: %w", c.Annotation, c.Instance, r.err)
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", infos[0].File, r.err)
	}
	p := &r.path
	a := answer{json: map[string]any{"ranks": []analysis.CriticalPath{*p}}}
	a.title, a.note = pageTitle(infos)
	span := p.Window.EndNs - p.Window.StartNs
	a.lines = append(a.lines, fmt.Sprintf("The critical path takes %s of a window of %s: %d edges, %d slices. Shortening anything that is not on it does not make the window shorter.",
		report.Ns(p.TotalNs).Text, report.Ns(span).Text, len(p.Edges), len(p.Slices)))
	if !p.Graph.CudaSync {
		a.lines = append(a.lines, "The trace has no cuda_sync events: waits between streams are unknown, and the path may be too short.")
	}
	a.above = []*report.Table{report.PathBoundTable(p)}
	a.tables = []*report.Table{report.PathNameTable(p), r.edges}
	return c.print(e, "critical-path", infos, a)
}
