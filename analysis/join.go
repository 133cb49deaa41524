package analysis

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/trace"
)

// RankPart is what a Report of many ranks needs of one, whose trace need not be kept for it.
type RankPart struct {
	Report   RankReport
	Findings []Finding // Evidence.Rank is 0
	Comms    StragglerPart
}

// PartOf runs every analysis on one rank.
func PartOf(s *Subject, opt Options) RankPart {
	all := AllOf([]*Subject{s}, opt)
	return RankPart{Report: all.Ranks[0], Findings: all.Findings, Comms: s.View(Options{}).StragglerPart()}
}

// Join makes of the parts of ranks the Report that All makes of their traces.
func Join(parts []RankPart) *Report {
	out := &Report{Findings: []Finding{}}
	comms := make([]StragglerPart, len(parts))
	for i := range parts {
		comms[i] = parts[i].Comms
		out.Ranks = append(out.Ranks, parts[i].Report)
		for _, f := range parts[i].Findings {
			f.Evidence.Rank = i
			out.Findings = append(out.Findings, f)
		}
	}
	if len(parts) > 1 {
		metas := make([]*trace.Meta, len(parts))
		for i := range comms {
			metas[i] = &comms[i].Meta
		}
		s := StragglersOf(comms)
		out.Stragglers = &s
		out.Findings = append(out.Findings, StragglerFindings(&s, out.Ranks, comms)...)
		tellApart(out.Findings, metas)
		slices.SortStableFunc(out.Findings, finding.Compare)
	}
	return out
}
