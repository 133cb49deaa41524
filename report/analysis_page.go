package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/units"
)

// TraceReport is all that the page about traces of any producer shows. Labels and the ranks
// of Report go together. Package analyses fills in Lines and Tables.
type TraceReport struct {
	Title, Note string
	Lines       []string // below the title
	Labels      []string // names of the ranks
	Tables      []*Table // in the order of the page, the first being the one that CSV prints
	Report      *analysis.Report
	Names       Names // of slices that findings point at
}

// maxFindings bounds the findings of a page: who has more reads them in JSON.
const maxFindings = 12

// Traces writes the page: what is in doubt, sentences, tables; the findings come last, where
// the reader's eye is when the page has scrolled by.
func Traces(w io.Writer, r *TraceReport, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults()}
	p.page(r.Title, r.Note, []Section{{append(r.doubts(), r.Lines...), r.Tables}})
	if list := r.Report.Findings; len(list) > 0 {
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
		who = Spoken(r.Labels[e.Rank]) + ": "
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
				time.Add(append(slices.Clone(who), Str(c.Category.String()), Ns(c.ExclusiveNs), Share(c.Share),
					Ns(c.TotalNs))...)
			}
			for _, st := range rank.Steps {
				step.Add(
					append(slices.Clone(who), Str(st.Category.String()), Int(st.Count), MeanNs(st.MeanNs),
						MeanNs(st.P50Ns), MeanNs(st.P99Ns), Ns(st.MaxNs), Int(st.Tokens), Num(st.Batch))...,
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
			If(q.FirstOutputNs >= 0, Ns(q.FirstOutputNs)), Str(q.OutputKind), If(q.TotalNs >= 0, Ns(q.TotalNs)),
			Int(q.Tokens),
			MeanNs(q.PerTokenNs),
		)
	}
	return []*Table{time, step, ops, requests}
}
