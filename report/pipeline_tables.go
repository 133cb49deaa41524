package report

import (
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/units"
)

// PipelineTables are the numbers of a pipeline's report as tables, for programs: "time" and
// "steps" have a row for each rank and category, "ops" one for each stage and operator,
// "requests" one for each request, "metrics" one for each quantity that a rank's server told.
func PipelineTables(r *pipeline.Report) []*Table {
	return []*Table{rankTimeTable(r), rankStepTable(r), stageOpTable(r), requestTable(r), metricTable(r)}
}

// rankColumns say which rank a row is about; eachRank fills them.
var rankColumns = []Column{
	{Key: "stage_id", Title: "stage"},
	{Key: "stage", Title: "name", Left: true},
	{Key: "replica", Title: "replica"},
	{Key: "rank", Title: "rank"},
}

// eachRank calls row for every rank of the pipeline; cells makes a row of the rank's columns and
// the cells given to it.
func eachRank(r *pipeline.Report, row func(rank *pipeline.Rank, cells func(...Cell) []Cell)) {
	for i := range r.Stages {
		s := &r.Stages[i]
		for k := range s.Ranks {
			rank := &s.Ranks[k]
			row(rank, func(more ...Cell) []Cell {
				return append([]Cell{ID(s.StageID), Str(s.Name), ID(rank.Replica), ID(rank.Rank)}, more...)
			})
		}
	}
}

// rankTimeTable says how much of each rank's window each category took.
func rankTimeTable(r *pipeline.Report) *Table {
	t := &Table{Name: "time", Title: "Time", Columns: slices.Concat(rankColumns, []Column{
		{Key: "category", Title: "category", Left: true},
		{Key: "exclusive_ns", Title: "exclusive"},
		{Key: "share", Title: "share"},
		{Key: "total_ns", Title: "total"},
	})}
	eachRank(r, func(rank *pipeline.Rank, cells func(...Cell) []Cell) {
		for _, c := range rank.Time {
			t.Add(cells(Str(c.Category.String()), Ns(c.ExclusiveNs), Share(c.Share), Ns(c.TotalNs))...)
		}
	})
	return t
}

// rankStepTable says how long each rank's steps took.
func rankStepTable(r *pipeline.Report) *Table {
	t := &Table{Name: "steps", Title: "Steps", Columns: slices.Concat(rankColumns, []Column{
		{Key: "category", Title: "category", Left: true},
		{Key: "count", Title: "steps"},
		{Key: "mean_ns", Title: "mean"},
		{Key: "p50_ns", Title: "p50"},
		{Key: "p99_ns", Title: "p99"},
		{Key: "max_ns", Title: "max"},
		{Key: "tokens", Title: "tokens"},
		{Key: "batch_mean", Title: "batch"},
	})}
	eachRank(r, func(rank *pipeline.Rank, cells func(...Cell) []Cell) {
		for _, st := range rank.Steps {
			t.Add(cells(Str(st.Category.String()), Int(st.Count), MeanNs(st.MeanNs), MeanNs(st.P50Ns), MeanNs(st.P99Ns),
				Ns(st.MaxNs), Int(st.Tokens), Num(st.Batch))...)
		}
	})
	return t
}

// stageOpTable says what the operators of each stage took, its ranks together.
func stageOpTable(r *pipeline.Report) *Table {
	t := &Table{Name: "ops", Title: "Operators", Columns: []Column{
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
	for i := range r.Stages {
		s := &r.Stages[i]
		for _, op := range s.Ops {
			t.Add(
				ID(s.StageID), Str(s.Name), Str(op.Name), Int(op.Calls), Ns(op.SelfNs), Share(op.Share), Ns(op.TotalNs),
				Cell{units.Scaled(float64(op.FLOPs), ""), ID(op.FLOPs).Raw}, Num(op.GFLOPPerS), Bytes(op.Bytes),
			)
		}
	}
	return t
}

// requestTable says when each request came and how long it took.
func requestTable(r *pipeline.Report) *Table {
	t := &Table{Name: "requests", Title: "Requests", Columns: []Column{
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
	for i := range r.Requests {
		q := &r.Requests[i]
		t.Add(
			Str(q.ID), ID(q.ArrivalNs), Str(fmt.Sprint(q.Partial)), If(q.TTFTNs >= 0, Ns(q.TTFTNs)),
			If(q.FirstOutputNs >= 0, Ns(q.FirstOutputNs)), Str(q.OutputKind), If(q.TotalNs >= 0, Ns(q.TotalNs)),
			Int(q.Tokens), MeanNs(q.PerTokenNs),
		)
	}
	return t
}

// metricTable says what the ranks' servers told of themselves while they were profiled.
func metricTable(r *pipeline.Report) *Table {
	t := &Table{Name: "metrics", Title: "Servers", Columns: slices.Concat(rankColumns, []Column{
		{Key: "metric", Title: "metric", Left: true, Flex: true},
		{Key: "samples", Title: "samples"},
		{Key: "min", Title: "least"},
		{Key: "mean", Title: "mean"},
		{Key: "max", Title: "most"},
		{Key: "last", Title: "last"},
	})}
	eachRank(r, func(rank *pipeline.Rank, cells func(...Cell) []Cell) {
		for _, m := range rank.Metrics {
			t.Add(cells(Str(m.Name), Int(m.Samples), Num(m.Min), Num(m.Mean), Num(m.Max), Num(m.Last))...)
		}
	})
	return t
}
