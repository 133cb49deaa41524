package main

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type idleCmd struct {
	traceVerb
	htaFlag
	NoMemory bool `help:"Leave copies and fills out of the launch statistics."`
}

// idleResult is why one rank's streams stood still.
type idleResult struct {
	idle   analysis.Idle
	launch analysis.LaunchStats
	queue  analysis.Queue
	names  sliceNames
}

func (c *idleCmd) Run(e *env) error {
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) idleResult {
		o := c.options()
		r := idleResult{analysis.IdleCauses(t, o), analysis.Launches(t, o, analysis.LaunchOptions{NoMemory: c.NoMemory}), analysis.QueueLength(t, o), sliceNames{}}
		r.launch.Launches = nil // a row a kernel, which no table shows
		for _, g := range r.idle.Longest {
			r.names.add(t, g.Before, g.After)
		}
		return r
	})
	if err != nil {
		return err
	}
	idle := part(list, func(r *idleResult) analysis.Idle { return r.idle })
	launch := part(list, func(r *idleResult) analysis.LaunchStats { return r.launch })
	queue := part(list, func(r *idleResult) analysis.Queue { return r.queue })
	a := answer{json: map[string]any{"ranks": perRank(idle), "launches": perRank(launch), "queue": perRank(queue)}}
	a.title, a.note = pageTitle(infos)
	names := func(i, slice int) string { return list[i].Value.names[slice] }
	a.tables = []*report.Table{report.IdleTable(idle), report.GapTable(idle, names), report.LaunchTable(launch), report.CallTable(launch), report.QueueTable(queue)}
	a.asked = []*report.Table{report.QueueSeriesTable(queue)}
	return c.print(e, "idle", infos, a)
}
