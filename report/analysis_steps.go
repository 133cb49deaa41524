package report

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/units"
)

// StepTable is the steps one by one.
func StepTable(list []Ranked[*steps.Report]) *Table {
	t := &Table{Name: "steps", Title: "Steps", What: "step", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "step", Title: "step"},
		{Key: "kind", Title: "kind", Left: true},
		{Key: "at_ns", Title: "at"},
		{Key: "time_ns", Title: "takes"},
		{Key: "start_ns"},
		{Key: "host_ns", Title: "on the host", Drop: 4},
		{Key: "span_ns"},
		{Key: "busy_ns", Title: "device busy"},
		{Key: "host_idle_ns", Title: "waits for host"},
		{Key: "bound", Title: "bound by", Left: true},
		{Key: "device_slices", Title: "kernels", Drop: 3},
		{Key: "launches", Title: "launches", Drop: 2},
		{Key: "graph_launches", Title: "graphs", Drop: 1},
		{Key: "batch", Title: "batch"},
		{Key: "prefills"},
		{Key: "tokens", Title: "tokens"},
		{Key: "name", Title: "label", Left: true, Flex: true, Drop: 5},
		{Key: "slice"},
	}}
	for i := range list {
		r := list[i].Value
		for k := range r.Steps {
			s := &r.Steps[k]
			onDevice := s.SpanNs > 0
			t.Add(
				label(list, i), ID(k), Str(s.Kind.String()),
				Cell{"+" + units.Duration(float64(s.AtNs-r.Steps[0].AtNs)), ID(s.AtNs).Raw}, Ns(s.Ns()), ID(s.StartNs),
				Ns(s.EndNs-s.StartNs), Ns(s.SpanNs), Hide(!onDevice, Ns(s.BusyNs)), Hide(!onDevice, Ns(s.HostIdleNs)),
				Str(s.Bound.String()), Hide(s.Slices == 0, Int(s.Slices)), Hide(s.Launches == 0, Int(s.Launches)),
				Hide(s.GraphLaunches == 0, Int(s.GraphLaunches)), Hide(s.Batch == 0, Int(s.Batch)), Int(s.Prefills),
				Hide(s.Tokens == 0, Int(s.Tokens)), Str(s.Name), ID(s.Slice),
			)
		}
	}
	return t
}

// StepKindTable is the steps summed up by kind.
func StepKindTable(list []Ranked[*steps.Report]) *Table {
	t := &Table{Name: "kinds", Title: "Steps", What: "kind", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "kind", Title: "kind", Left: true},
		{Key: "count", Title: "steps"},
		{Key: "mean_ns", Title: "mean"},
		{Key: "p50_ns", Title: "p50"},
		{Key: "p99_ns", Title: "p99"},
		{Key: "max_ns", Title: "max", Drop: 2},
		{Key: "total_ns"},
		{Key: "host_mean_ns"},
		{Key: "busy_share", Title: "device busy"},
		{Key: "host_idle_share", Title: "waits for host"},
		{Key: "kernels_mean", Title: "kernels", Drop: 3},
		{Key: "launches_mean"},
		{Key: "graph_share", Title: "by graphs", Drop: 4},
		{Key: "batch_mean"},
		{Key: "tokens"},
		{Key: "tokens_per_s", Title: "tokens/s", Drop: 1},
	}}
	for i := range list {
		for _, k := range list[i].Value.Kinds {
			none := k.Slices == 0 || 2*k.Whole < k.Count // the work of most steps is missing
			t.Add(
				label(list, i), Str(k.Kind.String()), Int(k.Count), MeanNs(k.MeanNs), MeanNs(k.P50Ns), MeanNs(k.P99Ns),
				Ns(k.MaxNs), Ns(k.TotalNs), MeanNs(k.HostMeanNs), Hide(none, Share(k.BusyShare)),
				Hide(none, Share(k.HostIdleShare)), Hide(none, Num(k.Slices)), Num(k.Launches),
				Hide(k.GraphShare == 0, Share(k.GraphShare)), Num(k.Batch), Int(k.Tokens),
				Hide(k.Tokens == 0, Num(k.TokensPerS)),
			)
		}
	}
	return t
}

// maxVerdicts bounds the ranks of which a sentence is said.
const maxVerdicts = 4

// StepLines say how the steps were found and what sets their pace, a sentence each.
func StepLines(list []Ranked[*steps.Report]) []string {
	var out []string
	seen := map[string]bool{}
	said, more := 0, 0
	for i := range list {
		r := list[i].Value
		if len(r.Steps) == 0 {
			continue
		}
		who := ""
		if len(list) > 1 {
			who = identity.Spoken(list[i].Label) + ": "
		}
		found := fmt.Sprintf("Steps were found by %s.", r.How)
		if !seen[found] {
			out = append(out, found)
		}
		seen[found] = true
		switch {
		case r.Verdict.Silent():
		case said < maxVerdicts:
			out = append(out, who+r.Verdict.Text)
			said++
		default:
			more++
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("… and %s; the table of steps has them", units.Plural(more, "more rank")))
	}
	return out
}
