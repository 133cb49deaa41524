package analyses

import (
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
		{"collectives", "lists of analysis.Collective"},
		{"stragglers", "analysis.StragglerReport, of several traces"},
	},
}, Method[commsOptions, commsResult]{
	Rank: rankComms, Answer: answerComms,
	Reported: func(k *analysis.RankReport) commsResult { return commsResult{comms: k.Comms} }, Page: pageComms,
})

type commsOptions struct {
	Each bool `help:"One row a collective, in order of start; --json has them as well."`
}

// commsResult is one rank's communication.
type commsResult struct {
	comms   analysis.CommTable
	overlap analysis.Overlap
	part    analysis.StragglerPart
	names   report.SliceNames
}

func rankComms(s *analysis.Subject, _ *commsOptions, a Asked) (commsResult, error) {
	v := s.View(analysis.Options{})
	r := commsResult{comms: v.Comms(), overlap: v.Overlap(), part: v.StragglerPart(), names: report.SliceNames{}}
	if a.HTA {
		r.overlap = s.View(a.Options()).Overlap()
	}
	for i := range r.comms.Collectives {
		r.names.Keep(s.Trace, r.comms.Collectives[i].Slice)
	}
	return r, nil
}

func answerComms(list []report.Ranked[commsResult], o *commsOptions, a Asked) (Answer, error) {
	comms := report.Part(list, func(r *commsResult) analysis.CommTable { return r.comms })
	overlap := report.Part(list, func(r *commsResult) analysis.Overlap { return r.overlap })
	out := Answer{JSON: map[string]any{"ranks": report.Values(comms), "overlap": report.Values(overlap)}}
	out.Tables = []*report.Table{report.CommTable(comms), report.OverlapTable(overlap)}
	if o.Each || a.Everything {
		each := report.Part(list, func(r *commsResult) []analysis.Collective { return r.comms.Collectives })
		out.JSON["collectives"] = report.Values(each)
	}
	if o.Each {
		out.Tables = []*report.Table{report.CollectiveTable(comms)}
	}
	if len(list) > 1 {
		s := analysis.StragglersOf(report.Values(report.Part(list,
			func(r *commsResult) analysis.StragglerPart { return r.part })))
		labels := make([]string, len(list))
		for i := range list {
			labels[i] = list[i].Label
		}
		out.JSON["stragglers"] = s
		metas := make([]*trace.Meta, len(list))
		for i := range list {
			metas[i] = &list[i].Value.part.Meta
		}
		if line := report.WorldLine(metas, labels); line != "" {
			out.Lines = append(out.Lines, line)
		}
		names := func(i, slice int) string { return list[i].Value.names[slice] }
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

func pageComms(list []report.Ranked[commsResult], p *report.TraceReport) PagePart {
	comms := report.Part(list, func(r *commsResult) analysis.CommTable { return r.comms })
	return PagePart{Tables: []*report.Table{
		report.CommTable(comms).Most(pageRows), report.StragglerTable(p.Report.Stragglers, p.Labels, p.Names),
		report.PairTable(p.Report.Stragglers, p.Labels, p.Names),
	}}
}
