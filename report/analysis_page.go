package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/units"
)

// TraceReport is all that the page about traces of any producer shows. Labels, Steps and
// the ranks of Report go together.
type TraceReport struct {
	Title, Note string
	Lines       []string // below the title: what was repaired
	Labels      []string // names of the ranks
	Report      *analysis.Report
	Steps       []*steps.Report
	Names       Names    // of slices that findings point at
	More        []*Table // of further analyses, at the end of the page
}

// Rows of a page's tables: the most important of each on one screen or two.
const (
	pageKernels = 10
	pageOps     = 10
	pageRows    = 6
)

func rankedOf[T any](r *TraceReport, f func(*analysis.RankReport) T) []Ranked[T] {
	out := make([]Ranked[T], len(r.Report.Ranks))
	for i := range out {
		out[i] = Ranked[T]{r.Labels[i], f(&r.Report.Ranks[i])}
	}
	return out
}

// Tables are the report's tables in the order of the page, the first being the one that
// CSV prints.
func (r *TraceReport) Tables() []*Table {
	list := make([]Ranked[*steps.Report], len(r.Steps))
	for i := range r.Steps {
		list[i] = Ranked[*steps.Report]{r.Labels[i], r.Steps[i]}
	}
	kernels := MergeKernels(rankedOf(r, func(k *analysis.RankReport) analysis.KernelBreakdown { return k.Kernels }))
	ops := MergeOps(rankedOf(r, func(k *analysis.RankReport) analysis.OpTable { return k.Ops }))
	idle := rankedOf(r, func(k *analysis.RankReport) analysis.Idle { return k.Idle })
	memory := rankedOf(r, func(k *analysis.RankReport) analysis.MemoryReport { return k.Memory })
	times := rankedOf(r, func(k *analysis.RankReport) analysis.Temporal { return k.Temporal })
	var programs []Ranked[analysis.Recorded]
	for i := range r.Report.Ranks {
		if p := r.Report.Ranks[i].Recorded; p != nil {
			programs = append(programs, Ranked[analysis.Recorded]{Label: r.Labels[i], Value: *p})
		}
	}
	spans := make([]Ranked[analysis.FrameTable], len(programs))
	for i, p := range programs {
		spans[i] = Ranked[analysis.FrameTable]{Label: p.Label, Value: p.Value.Spans}
	}
	return append([]*Table{
		TemporalTable(times), rows(pageRows, DeviceTable(times)),
		rows(pageOps, GoroutineTable(programs)), rows(pageKernels, SpanTable(spans)),
		StepKindTable(list),
		KernelTypeTable(kernels), rows(pageKernels, KernelTable(kernels)),
		rows(pageOps, OpTable(ops)),
		rows(pageOps, FrameTable(rankedOf(r, func(k *analysis.RankReport) analysis.FrameTable { return k.Frames }))),
		rows(pageRows, CommTable(rankedOf(r, func(k *analysis.RankReport) analysis.CommTable { return k.Comms }))),
		StragglerTable(r.Report.Stragglers, r.Labels, r.Names),
		rows(pageRows, IdleTable(idle)),
		rows(pageRows, HostTable(rankedOf(r, func(k *analysis.RankReport) cause.Report { return k.Host }))),
		LaunchTable(rankedOf(r, func(k *analysis.RankReport) analysis.LaunchStats { return k.Launches })),
		MemoryTable(memory), rows(pageRows, MemoryOpTable(memory)),
		rows(pageRows, BandwidthTable(rankedOf(r, func(k *analysis.RankReport) analysis.MemoryBandwidth { return k.Bandwidth }))),
		rows(pageRows, CounterTable(rankedOf(r, func(k *analysis.RankReport) analysis.CounterTable { return k.Counters }))),
	}, r.More...)
}

func rows(n int, t *Table) *Table {
	t.Limit = n
	return t
}

// Findings are those of all analyses, most severe first.
func (r *TraceReport) Findings() []analysis.Finding {
	out := slices.Clone(r.Report.Findings)
	for i, s := range r.Steps {
		for _, f := range s.Findings {
			f.Evidence.Rank = i
			if f.Doubt {
				continue // the other analyses have it as well
			}
			if len(r.Steps) > 1 {
				f.Text = spoken(r.Labels[i]) + ": " + f.Text
			}
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, finding.Compare)
	return out
}

// maxFindings bounds the findings of a page: who has more reads them in JSON.
const maxFindings = 12

// Traces writes the page: where the device's time went, steps, kernels, operators,
// communication, idle time, launches, memory; the findings come last, where the reader's
// eye is when the page has scrolled by.
func Traces(w io.Writer, r *TraceReport, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults()}
	lines := slices.Clone(r.Lines)
	list := make([]Ranked[*steps.Report], len(r.Steps))
	for i := range r.Steps {
		list[i] = Ranked[*steps.Report]{r.Labels[i], r.Steps[i]}
	}
	lines = append(lines, StepLines(list)...)
	if !slices.ContainsFunc(r.Report.Ranks, func(k analysis.RankReport) bool { return k.Temporal.HasDevice }) {
		lines = append(lines, "No device work in the trace: what follows is the host's time.")
	}
	for i := range r.Report.Ranks {
		if t := &r.Report.Ranks[i].Temporal; t.HasDevice && 2*t.SpanNs < t.WindowNs {
			who := "The device"
			if len(r.Labels) > 1 {
				who = spoken(r.Labels[i]) + ": the device"
			}
			lines = append(lines, fmt.Sprintf("%s worked %s of the window of %s (%s).", who, units.Duration(float64(t.BusyNs)), units.Duration(float64(t.WindowNs)), units.Share(part(t.BusyNs, t.WindowNs))))
		}
	}
	lines = append(r.doubts(), lines...)
	p.page(r.Title, r.Note, []Section{{lines, r.Tables()}})
	if list := r.Findings(); len(list) > 0 {
		p.section("Findings", "")
		for _, f := range list[:min(len(list), maxFindings)] {
			p.finding(f, r.where(&f))
		}
		p.more(len(list)-maxFindings, "finding")
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// doubts are the sentences that a reader must know before any number of the page.
func (r *TraceReport) doubts() []string {
	var out []string
	for _, f := range r.Report.Findings {
		if f.Doubt && f.Severity >= finding.Warning {
			out = append(out, "In doubt: "+Plain(f.Text))
		}
	}
	if n := len(out) - maxVerdicts; n > 0 {
		out = append(out[:maxVerdicts], fmt.Sprintf("… and %s below", plural(n, "more doubt")))
	}
	return out
}

// where says in words where a finding's evidence is.
func (r *TraceReport) where(f *analysis.Finding) string {
	e := &f.Evidence
	if e.Rank < 0 || e.Rank >= len(r.Report.Ranks) {
		return ""
	}
	at := ""
	if w := r.Report.Ranks[e.Rank].Temporal.Window; w.EndNs > w.StartNs {
		at = fmt.Sprintf(" at +%s of the device's span", units.Duration(float64(max(0, e.StartNs-w.StartNs))))
		if e.Slice < 0 && e.StartNs == w.StartNs && e.EndNs == w.EndNs {
			return ""
		}
	}
	if e.Slice < 0 && e.EndNs <= e.StartNs {
		return ""
	}
	who := ""
	if len(r.Labels) > 1 {
		who = spoken(r.Labels[e.Rank]) + ": "
	}
	if e.Slice >= 0 {
		return who + fmt.Sprintf("%s (slice %d)%s", KernelName(r.Names(e.Rank, e.Slice)), e.Slice, at)
	}
	return who + units.Duration(float64(e.EndNs-e.StartNs)) + at
}

// PipelineTables are the numbers of a pipeline's report as tables, for programs.
func PipelineTables(r *pipeline.Report) []*Table {
	time := &Table{Name: "time", Title: "Time", Columns: []Column{
		{Key: "stage_id", Title: "stage"},
		{Key: "stage", Title: "name", Left: true},
		{Key: "replica", Title: "replica"},
		{Key: "rank", Title: "rank"},
		{Key: "category", Title: "category", Left: true},
		{Key: "exclusive_ns", Title: "exclusive"},
		{Key: "share", Title: "share"},
		{Key: "total_ns", Title: "total"},
	}}
	step := &Table{Name: "steps", Title: "Steps", Columns: []Column{
		{Key: "stage_id", Title: "stage"},
		{Key: "stage", Title: "name", Left: true},
		{Key: "replica", Title: "replica"},
		{Key: "rank", Title: "rank"},
		{Key: "category", Title: "category", Left: true},
		{Key: "count", Title: "steps"},
		{Key: "mean_ns", Title: "mean"},
		{Key: "p50_ns", Title: "p50"},
		{Key: "p99_ns", Title: "p99"},
		{Key: "max_ns", Title: "max"},
		{Key: "tokens", Title: "tokens"},
		{Key: "batch_mean", Title: "batch"},
	}}
	ops := &Table{Name: "ops", Title: "Operators", Columns: []Column{
		{Key: "stage_id", Title: "stage"},
		{Key: "stage", Title: "name", Left: true},
		{Key: "name", Title: "operator", Left: true, Flex: true},
		{Key: "calls", Title: "calls"},
		{Key: "self_ns", Title: "self"},
		{Key: "share", Title: "share"},
		{Key: "total_ns", Title: "total"},
		{Key: "flops", Title: "FLOP"},
		{Key: "gflop_per_s", Title: "GFLOP/s"},
		{Key: "bytes", Title: "traffic"},
	}}
	requests := &Table{Name: "requests", Title: "Requests", Columns: []Column{
		{Key: "request", Title: "request", Left: true, Flex: true},
		{Key: "arrival_ns"},
		{Key: "partial", Title: "partial", Left: true},
		{Key: "ttft_ns", Title: "TTFT"},
		{Key: "first_output_ns", Title: "first output"},
		{Key: "output", Title: "output", Left: true},
		{Key: "total_ns", Title: "total"},
		{Key: "tokens", Title: "tokens"},
		{Key: "per_token_ns", Title: "a token"},
	}}
	for i := range r.Stages {
		s := &r.Stages[i]
		for k := range s.Ranks {
			rank := &s.Ranks[k]
			who := []Cell{ID(s.StageID), Str(s.Name), ID(rank.Replica), ID(rank.Rank)}
			for _, c := range rank.Time {
				time.Add(append(slices.Clone(who), Str(c.Category.String()), Ns(c.ExclusiveNs), Share(c.Share), Ns(c.TotalNs))...)
			}
			for _, st := range rank.Steps {
				step.Add(
					append(slices.Clone(who), Str(st.Category.String()), Int(st.Count), MeanNs(st.MeanNs), MeanNs(st.P50Ns), MeanNs(st.P99Ns), Ns(st.MaxNs), Int(st.Tokens), Num(st.Batch))...,
				)
			}
		}
		for _, op := range s.Ops {
			ops.Add(
				ID(s.StageID), Str(s.Name), Str(op.Name), Int(op.Calls), Ns(op.SelfNs), Share(op.Share), Ns(op.TotalNs),
				Cell{units.Scaled(float64(op.FLOPs), ""), ID(op.FLOPs).Raw}, Num(op.GFLOPPerS), Bytes(op.Bytes),
			)
		}
	}
	for i := range r.Requests {
		q := &r.Requests[i]
		requests.Add(
			Str(q.ID), ID(q.ArrivalNs), Str(fmt.Sprint(q.Partial)), If(q.TTFTNs >= 0, Ns(q.TTFTNs)),
			If(q.FirstOutputNs >= 0, Ns(q.FirstOutputNs)), Str(q.OutputKind), If(q.TotalNs >= 0, Ns(q.TotalNs)), Int(q.Tokens),
			MeanNs(q.PerTokenNs),
		)
	}
	return []*Table{time, step, ops, requests}
}
