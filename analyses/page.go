package analyses

import (
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/report"
)

// Page is the report's page about traces of any producer, about to be made of the analyses
// that have a part in it.
type Page struct {
	asked Asked
	parts []*Question
}

// NewPage begins a page.
func NewPage(a Asked) *Page {
	a.Everything = true
	p := &Page{asked: a}
	for _, part := range ordered() {
		if part.Page {
			p.parts = append(p.parts, part.Ask())
		}
	}
	return p
}

// Found is what the page needs of one trace beside its RankReport.
type Found []any

// Rank finds what the page needs of one trace beside its RankReport. Several goroutines call
// it.
func (p *Page) Rank(s *analysis.Subject) (Found, error) {
	out := make(Found, len(p.parts))
	for i, q := range p.parts {
		if _, ok := q.reported(nil); ok {
			continue
		}
		var err error
		if out[i], err = q.Rank(s, p.asked); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Trace.Meta.File, q.Name, err)
		}
	}
	return out, nil
}

// Findings returns the findings of one trace's Found, for callers that need the names of the slices
// after the trace is freed.
func (p *Page) Findings(f Found) []analysis.Finding {
	var out []analysis.Finding
	for i, q := range p.parts {
		if _, ok := q.reported(nil); !ok {
			out = append(out, q.Findings([]report.Ranked[any]{{Value: f[i]}})...)
		}
	}
	return out
}

// Build adds the lines, tables and findings of all parts to page, whose Labels, Report and Names
// the caller has set. It returns the parts' JSON by name.
func (p *Page) Build(page *report.TraceReport, found []Found) (map[string]any, error) {
	doc := map[string]any{}
	for k, q := range p.parts {
		list := make([]report.Ranked[any], len(found))
		for i := range found {
			list[i] = report.Ranked[any]{Label: page.Labels[i], Value: found[i][k]}
			if r, ok := q.reported(&page.Report.Ranks[i]); ok {
				list[i].Value = r
			}
		}
		part, err := q.page(list, page)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
		page.Lines = append(page.Lines, part.Lines...)
		page.Tables = append(page.Tables, part.Tables...)
		page.Report.Findings = append(page.Report.Findings, q.Findings(list)...)
		if part.JSON != nil {
			doc[q.Name] = part.JSON
		}
	}
	slices.SortStableFunc(page.Report.Findings, finding.Compare)
	return doc, nil
}
