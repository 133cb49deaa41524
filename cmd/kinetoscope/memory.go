package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

type memoryCmd struct {
	traceVerb
	htaFlag
	SVG string `name:"svg" help:"Also write a picture to this file: what the memory was held for over time, the peak, what was held at it." placeholder:"FILE" type:"path"`
}

// memoryResult is one rank's memory.
type memoryResult struct {
	memory analysis.MemoryReport
	band   analysis.MemoryBandwidth
	held   analysis.MemoryTimeline // for --svg
}

func (c *memoryCmd) Run(e *env) error {
	list, infos, err := ranked(e, &c.openFlags, &c.rankFlags, c.Paths, func(t *trace.Trace) memoryResult {
		r := memoryResult{memory: analysis.Memory(t, analysis.Options{}), band: analysis.Bandwidth(t, c.options())}
		if c.SVG != "" {
			r.held = analysis.HeldMemory(t, analysis.Options{})
		}
		return r
	})
	if err != nil {
		return err
	}
	if c.SVG != "" {
		if err := c.draw(part(list, func(r *memoryResult) analysis.MemoryTimeline { return r.held })); err != nil {
			return err
		}
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

// draw writes the picture.
func (c *memoryCmd) draw(list []report.Ranked[analysis.MemoryTimeline]) error {
	if !slices.ContainsFunc(list, func(r report.Ranked[analysis.MemoryTimeline]) bool { return len(r.Value.Devices) > 0 }) {
		return usage("--svg %s: the trace has no allocations to draw: record with profile_memory (torch_profiler_with_memory)", c.SVG)
	}
	var b bytes.Buffer
	if err := report.HeldMemorySVG(&b, list); err != nil {
		return err
	}
	if err := os.WriteFile(c.SVG, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("--svg: %w", err)
	}
	return nil
}
