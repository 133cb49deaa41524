package analyses

import (
	"errors"
	"fmt"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
)

var _ = Register(Analysis{
	Name: "critical-path", Order: 60, HTA: true, Appetite: 5,
	Help:    "The longest chain of work and waits, and what it is made of.",
	Answers: "the longest chain of work and waits of one rank",
	Tables:  []string{"names", "edges", "bounds"},
	JSON:    []Field{{"ranks", "analysis.CriticalPath"}},
}, Method[pathOptions, pathResult]{Check: checkPath, Rank: rankPath, Answer: answerPath})

type pathOptions struct {
	Annotation string `help:"Only what happens in one instance of this annotation; a part of its name is enough." placeholder:"NAME"`
	All        bool   `help:"The whole path, edge by edge; without it its hundred longest edges."`
	Instance   int    `help:"Which instance of the annotation, from 0." placeholder:"N"`
}

// pathResult is one rank's critical path.
type pathResult struct {
	path  analysis.CriticalPath
	err   error
	file  string
	edges *report.Table
}

func checkPath(o *pathOptions, _ Asked) error {
	if o.Instance < 0 {
		return wrong("--instance %d: 0 or more", o.Instance)
	}
	if o.Instance > 0 && o.Annotation == "" {
		return wrong("--instance: of which --annotation?")
	}
	return nil
}

// rankPath keeps an error until it is known how many ranks there are.
func rankPath(s *analysis.Subject, o *pathOptions, a Asked) (pathResult, error) {
	part := analysis.CriticalOptions{Annotation: o.Annotation, Instance: o.Instance}
	p, err := s.View(a.Options()).CriticalPath(part)
	if err != nil {
		return pathResult{err: err, file: s.Trace.Meta.File}, nil
	}
	if !o.All {
		p.Summarize(longestEdges)
	}
	return pathResult{path: p, edges: report.PathEdgeTable(&p, s.Trace)}, nil
}

// longestEdges is how many edges a summary has: enough to see what the path is made of.
const longestEdges = 100

func answerPath(list []report.Ranked[pathResult], o *pathOptions, _ Asked) (Answer, error) {
	if len(list) > 1 {
		return Answer{}, wrong("%d traces: a critical path is one rank's; choose it with --rank", len(list))
	}
	r := &list[0].Value
	switch {
	case errors.Is(r.err, analysis.ErrNoAnnotation):
		return Answer{}, wrong("--annotation %s --instance %d: %w", o.Annotation, o.Instance, r.err)
	case errors.Is(r.err, analysis.ErrNoPath), errors.Is(r.err, analysis.ErrCycle):
		return Answer{}, wrong("%s: %w", r.file, r.err)
	case r.err != nil:
		return Answer{}, fmt.Errorf("%s: %w", r.file, r.err)
	}
	p := &r.path
	span := p.Window.EndNs - p.Window.StartNs
	out := Answer{
		JSON:   map[string]any{"ranks": []analysis.CriticalPath{*p}},
		Above:  []*report.Table{report.PathBoundTable(p)},
		Tables: []*report.Table{report.PathNameTable(p), r.edges},
	}
	out.Lines = append(out.Lines, fmt.Sprintf("The critical path takes %s of a window of %s: %d edges, %d slices. "+
		"Shortening anything that is not on it does not make the window shorter.",
		report.Ns(p.TotalNs).Text, report.Ns(span).Text, p.EdgeCount, p.SliceCount))
	if !p.Graph.CudaSync {
		out.Lines = append(out.Lines,
			"The trace has no cuda_sync events: waits between streams are unknown, and the path may be too short.")
	}
	return out, nil
}
