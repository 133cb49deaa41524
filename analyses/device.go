package analyses

import (
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/units"
)

// What only the report's page shows: the device's time first, then programs that recorded
// themselves, and at the end hardware counters.
var (
	_ = Register(Analysis{Name: "device", Order: 1, PageOnly: true, Help: "How each device's time was spent."},
		Method[None, analysis.Temporal]{
			Reported: func(k *analysis.RankReport) analysis.Temporal { return k.Temporal }, Page: pageDevice,
		})
	_ = Register(Analysis{Name: "program", Order: 3, PageOnly: true,
		Help: "What a program did that is no stage and no torch."},
		Method[None, *analysis.Recorded]{
			Reported: func(k *analysis.RankReport) *analysis.Recorded { return k.Recorded }, Page: pageProgram,
		})
	_ = Register(Analysis{Name: "counters", Order: 80, PageOnly: true,
		Help: "What the hardware counters say by range."},
		Method[None, analysis.CounterTable]{
			Reported: func(k *analysis.RankReport) analysis.CounterTable { return k.Counters }, Page: pageCounters,
		})
)

// Rows of the page's tables: the most important of each on one screen or two.
const (
	pageMost = 10
	pageRows = 6
)

func pageDevice(list []report.Ranked[analysis.Temporal], p *report.TraceReport) PagePart {
	out := PagePart{Tables: []*report.Table{report.TemporalTable(list), report.DeviceTable(list).Most(pageRows)}}
	has := false
	for _, r := range list {
		t := &r.Value
		has = has || t.HasDevice
		lost := 2*t.UnknownWindowNs > t.WindowNs-t.BusyNs // work of launches, which is said
		if !t.HasDevice || 2*t.SpanNs >= t.WindowNs || lost {
			continue
		}
		who := "The device"
		if len(list) > 1 {
			who = identity.Spoken(r.Label) + ": the device"
		}
		out.Lines = append(out.Lines, fmt.Sprintf("%s worked %s of the window of %s (%s).", who,
			units.Duration(float64(t.BusyNs)),
			units.Duration(float64(t.WindowNs)), units.Share(float64(t.BusyNs)/float64(t.WindowNs))))
	}
	if !has {
		out.Lines = append(out.Lines, withoutDevice(p))
	}
	return out
}

// maxCategories bounds the categories that a sentence names.
const maxCategories = 6

// withoutDevice says what a page without device work is about.
func withoutDevice(p *report.TraceReport) string {
	if len(p.Report.Ranks) != 1 || p.Report.Ranks[0].Recorded == nil || !p.Report.Ranks[0].Recorded.Foreign {
		return "No device work in the trace: what follows is the host's time."
	}
	cats := p.Report.Ranks[0].Recorded.Categories
	if n := len(cats) - maxCategories; n > 0 {
		cats = append(cats[:maxCategories:maxCategories], fmt.Sprintf("%d more", n))
	}
	of := ""
	if len(cats) > 0 {
		of = " (its slices are of the categories " + strings.Join(cats, ", ") + ")"
	}
	return "No profiler of torch, JAX or a device wrote this trace" + of +
		": there is no device work in it, and what follows is the time of its tracks, and of its slices by name."
}

func pageProgram(list []report.Ranked[*analysis.Recorded], _ *report.TraceReport) PagePart {
	var programs []report.Ranked[analysis.Recorded]
	for _, r := range list {
		if r.Value != nil {
			programs = append(programs, report.Ranked[analysis.Recorded]{Label: r.Label, Value: *r.Value})
		}
	}
	spans := report.Part(programs, func(p *analysis.Recorded) analysis.FrameTable { return p.Spans })
	return PagePart{Tables: []*report.Table{report.GoroutineTable(programs).Most(pageMost),
		report.SpanTable(spans).Most(pageMost)}}
}

func pageCounters(list []report.Ranked[analysis.CounterTable], _ *report.TraceReport) PagePart {
	return PagePart{Tables: []*report.Table{report.CounterTable(list).Most(pageRows)}}
}
