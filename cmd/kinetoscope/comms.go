package main

import (
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type commsCmd struct {
	traceVerb
	htaFlag
	Each bool `help:"One row a collective, in order of start; --json has them as well."`
}

// commsResult is one rank's communication.
type commsResult struct {
	comms   analysis.CommTable
	overlap analysis.Overlap
	trace   *trace.Trace
}

func (c *commsCmd) Run(e *env) error {
	var mu sync.Mutex
	kept := 0
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) commsResult {
		r := commsResult{comms: analysis.Comms(t, analysis.Options{}), overlap: analysis.CommComputeOverlap(t, c.options())}
		if c.Memory == 0 { // stragglers need all traces at once
			mu.Lock()
			kept++
			mu.Unlock()
			r.trace = t
		}
		return r
	})
	if err != nil {
		return err
	}
	comms := part(list, func(r *commsResult) analysis.CommTable { return r.comms })
	overlap := part(list, func(r *commsResult) analysis.Overlap { return r.overlap })
	a := answer{json: map[string]any{"ranks": perRank(comms), "overlap": perRank(overlap)}}
	a.title, a.note = pageTitle(infos)
	a.tables = []*report.Table{report.CommTable(comms), report.OverlapTable(overlap)}
	if c.Each || c.JSON {
		a.json["collectives"] = perRank(part(list, func(r *commsResult) []analysis.Collective { return r.comms.Collectives }))
		if c.Each {
			a.tables = []*report.Table{report.CollectiveTable(comms)}
		}
	}
	if kept > 1 {
		traces := make([]*trace.Trace, len(list))
		names := make([]string, len(list))
		for i := range list {
			traces[i], names[i] = list[i].Value.trace, list[i].Label
		}
		s := analysis.Stragglers(traces, analysis.Options{})
		a.json["stragglers"] = s
		a.tables = append(a.tables, report.StragglerTable(&s, names, report.NamesOf(traces)))
		for _, u := range s.Unmatched {
			a.lines = append(a.lines, analysis.UnmatchedText(u)+".")
		}
	}
	for i := range list {
		if text := coll.GuessText(list[i].Value.comms.Guesses); text != "" {
			a.lines = append(a.lines, list[i].Label+": "+text+".")
		}
	}
	return c.print(e, "comms", infos, a)
}
