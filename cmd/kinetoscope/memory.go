package main

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type memoryCmd struct {
	traceVerb
	htaFlag
}

// memoryResult is one rank's memory.
type memoryResult struct {
	memory analysis.MemoryReport
	band   analysis.MemoryBandwidth
}

func (c *memoryCmd) Run(e *env) error {
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) memoryResult {
		return memoryResult{analysis.Memory(t, analysis.Options{}), analysis.Bandwidth(t, c.options())}
	})
	if err != nil {
		return err
	}
	memory := part(list, func(r *memoryResult) analysis.MemoryReport { return r.memory })
	band := part(list, func(r *memoryResult) analysis.MemoryBandwidth { return r.band })
	a := answer{json: map[string]any{"ranks": perRank(memory), "bandwidth": perRank(band)}}
	a.title, a.note = pageTitle(infos)
	a.tables = []*report.Table{report.MemoryTable(memory), report.MemoryOpTable(memory), report.BandwidthTable(band)}
	a.asked = []*report.Table{report.MemorySeriesTable(memory), report.BandwidthSeriesTable(band)}
	if len(a.tables[0].Rows) == 0 && !c.JSON && !c.CSV && c.Table == "" {
		a.lines = append(a.lines, "The trace has no allocations: profile_memory (torch_profiler_with_memory) records them.")
	}
	return c.print(e, "memory", infos, a)
}
