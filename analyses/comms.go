package analyses

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

var _ = Register(Analysis{
	Name: "comms", Order: 30, HTA: true,
	Help:    "What was communicated, how fast, and who the others waited for.",
	Answers: "collectives, bandwidths, stragglers; with `--each` every single one",
	Tables:  []string{"comms", "overlap", "stragglers", "collectives"},
	JSON: []Field{
		{"ranks", "analysis.CommTable"}, {"overlap", "analysis.Overlap"},
		{"collectives",
			"lists of analysis.Collective, the hundred longest of each rank, or with --all every one, with the members of its group"},
		{"collectives_count", "how many each rank has"},
		{"groups", "process groups: name, size, members"},
		{"stragglers", "analysis.StragglerReport, of several traces"},
	},
}, Method[commsOptions, commsResult]{
	Rank: rankComms, Answer: answerComms,
	Reported: func(k *analysis.RankReport) commsResult { return commsResult{Comms: k.Comms} }, Page: pageComms,
})

type commsOptions struct {
	Each bool `help:"One row a collective, in order of start."`
	All  bool `help:"Every collective in --json; without it the hundred longest of each rank."`
}

// commsResult is one rank's communication.
type commsResult struct {
	Comms   analysis.CommTable
	Overlap analysis.Overlap
	Part    analysis.StragglerPart
	Names   report.SliceNames
}

func rankComms(s *analysis.Subject, _ *commsOptions, a Asked) (commsResult, error) {
	v := s.View(analysis.Options{})
	r := commsResult{Comms: v.Comms(), Overlap: v.Overlap(), Part: v.StragglerPart(), Names: report.SliceNames{}}
	if a.HTA {
		r.Overlap = s.View(a.Options()).Overlap()
	}
	for i := range r.Comms.Collectives {
		r.Names.Keep(s.Trace, r.Comms.Collectives[i].Slice)
	}
	return r, nil
}

func answerComms(list []report.Ranked[commsResult], o *commsOptions, a Asked) (Answer, error) {
	comms := report.Part(list, func(r *commsResult) analysis.CommTable { return r.Comms })
	overlap := report.Part(list, func(r *commsResult) analysis.Overlap { return r.Overlap })
	out := Answer{JSON: map[string]any{"ranks": report.Values(comms), "overlap": report.Values(overlap)}}
	out.Tables = []*report.Table{report.CommTable(comms), report.OverlapTable(overlap)}
	if o.Each || a.Everything {
		each := report.Values(report.Part(list,
			func(r *commsResult) []analysis.Collective { return r.Comms.Collectives }))
		out.JSON["collectives_count"], out.JSON["groups"] = counts(each), coll.Groups(each)
		if !o.All {
			each = longest(each)
		}
		out.JSON["collectives"] = each
	}
	if o.Each {
		out.Tables = []*report.Table{report.CollectiveTable(comms)}
	}
	if len(list) > 1 {
		s := analysis.StragglersOf(report.Values(report.Part(list,
			func(r *commsResult) analysis.StragglerPart { return r.Part })))
		labels := make([]string, len(list))
		for i := range list {
			labels[i] = list[i].Label
		}
		out.JSON["stragglers"] = s
		metas := make([]*trace.Meta, len(list))
		for i := range list {
			metas[i] = &list[i].Value.Part.Meta
		}
		if line := report.WorldLine(metas, labels); line != "" {
			out.Lines = append(out.Lines, line)
		}
		names := func(i, slice int) string { return list[i].Value.Names[slice] }
		out.Tables = append(out.Tables, report.StragglerTable(&s, labels, names))
		if len(s.Pairs) > 0 {
			out.Tables = append(out.Tables, report.PairTable(&s, labels, names))
		}
		for _, u := range s.Unmatched {
			out.Lines = append(out.Lines, analysis.UnmatchedText(u)+".")
		}
	}
	for i := range list {
		if text := coll.GuessText(comms[i].Value.Guesses); text != "" {
			out.Lines = append(out.Lines, list[i].Label+": "+text+".")
		}
	}
	return out, nil
}

const (
	// longestCollectives is how many collectives of a rank --json has without --all: with hundreds of ranks
	// all of them are hundreds of megabytes.
	longestCollectives = 100
	// fewMembers is up to how many members stand in every collective of a group all the same.
	fewMembers = 16
)

// longest are the longest collectives of each rank, in order of start, without the members of large
// groups.
func longest(each [][]analysis.Collective) [][]analysis.Collective {
	out := make([][]analysis.Collective, len(each))
	for i, list := range each {
		list = slices.Clone(list)
		if len(list) > longestCollectives {
			slices.SortStableFunc(list, func(a, b analysis.Collective) int { return cmp.Compare(b.Ns, a.Ns) })
			list = list[:longestCollectives]
			slices.SortStableFunc(list, func(a, b analysis.Collective) int { return cmp.Compare(a.StartNs, b.StartNs) })
		}
		for k := range list {
			if len(list[k].Members) > fewMembers {
				list[k].Members = nil
			}
		}
		out[i] = list
	}
	return out
}

func counts(each [][]analysis.Collective) []int {
	out := make([]int, len(each))
	for i, list := range each {
		out[i] = len(list)
	}
	return out
}

func pageComms(list []report.Ranked[commsResult], p *report.TraceReport) PagePart {
	comms := report.Part(list, func(r *commsResult) analysis.CommTable { return r.Comms })
	return PagePart{Tables: []*report.Table{
		report.CommTable(comms).Most(pageRows), report.StragglerTable(p.Report.Stragglers, p.Labels, p.Names),
		report.PairTable(p.Report.Stragglers, p.Labels, p.Names),
	}}
}
