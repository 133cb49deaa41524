package analyses

import (
	"bytes"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
)

const noAllocations = "The trace has no allocations: profile_memory (torch_profiler_with_memory) records them."

var _ = Register(Analysis{
	Name: "memory", Order: 50, HTA: true, Needs: noAllocations,
	Help:    "How much memory was held over time and by whom; copies and fills.",
	Answers: "allocators over time, what was held at the peak, copies and fills",
	Tables:  []string{"devices", "allocations", "bandwidth", "timeline", "bandwidth_timeline"},
	JSON:    []Field{{"ranks", "analysis.MemoryReport"}, {"bandwidth", "analysis.MemoryBandwidth"}},
}, Method[memoryOptions, memoryResult]{
	Rank: rankMemory, Answer: answerMemory,
	Reported: func(k *analysis.RankReport) memoryResult { return memoryResult{Memory: k.Memory, Band: k.Bandwidth} },
	Page:     pageMemory,
})

type memoryOptions struct {
	SVG string `name:"svg" help:"Also write a picture to this file: what the memory was held for over time, the peak, what was held at it." placeholder:"FILE" type:"path"`
}

// memoryResult is one rank's memory.
type memoryResult struct {
	Memory analysis.MemoryReport
	Band   analysis.MemoryBandwidth
	Held   analysis.MemoryTimeline // for --svg
}

func rankMemory(s *analysis.Subject, o *memoryOptions, a Asked) (memoryResult, error) {
	r := memoryResult{Memory: s.View(analysis.Options{}).Memory(), Band: s.View(a.Options()).Bandwidth()}
	if o.SVG != "" {
		r.Held = analysis.HeldMemory(s.Trace, analysis.Options{})
	}
	return r, nil
}

func answerMemory(list []report.Ranked[memoryResult], o *memoryOptions, a Asked) (Answer, error) {
	memory := report.Part(list, func(r *memoryResult) analysis.MemoryReport { return r.Memory })
	band := report.Part(list, func(r *memoryResult) analysis.MemoryBandwidth { return r.Band })
	out := Answer{
		JSON:   map[string]any{"ranks": report.Values(memory), "bandwidth": report.Values(band)},
		Tables: []*report.Table{report.MemoryTable(memory), report.MemoryOpTable(memory), report.BandwidthTable(band)},
		Asked:  []*report.Table{report.MemorySeriesTable(memory), report.BandwidthSeriesTable(band)},
	}
	if o.SVG != "" {
		held := report.Part(list, func(r *memoryResult) analysis.MemoryTimeline { return r.Held })
		drawable := func(r report.Ranked[analysis.MemoryTimeline]) bool { return len(r.Value.Devices) > 0 }
		if !slices.ContainsFunc(held, drawable) {
			return out, wrong("--svg %s: the trace has no allocations to draw: "+
				"record with profile_memory (torch_profiler_with_memory)", o.SVG)
		}
		var b bytes.Buffer
		if err := report.HeldMemorySVG(&b, held); err != nil {
			return out, err
		}
		out.Files = append(out.Files, File{"--svg", o.SVG, b.Bytes()})
	}
	if out.Tables[0].Len() == 0 && !a.Everything {
		out.Lines = append(out.Lines, noAllocations)
	}
	return out, nil
}

func pageMemory(list []report.Ranked[memoryResult], _ *report.TraceReport) PagePart {
	memory := report.Part(list, func(r *memoryResult) analysis.MemoryReport { return r.Memory })
	band := report.Part(list, func(r *memoryResult) analysis.MemoryBandwidth { return r.Band })
	return PagePart{Tables: []*report.Table{
		report.MemoryTable(memory), report.MemoryOpTable(memory).Most(pageRows),
		report.BandwidthTable(band).Most(pageRows),
	}}
}
