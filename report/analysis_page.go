package report

import (
	"bufio"
	"fmt"
	"io"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace/identity"
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

// maxFindings bounds the findings of a page; --json has all of them.
const maxFindings = 12

// Traces writes the page: doubts, sentences, tables. The findings come last, because the end of the
// page is what a terminal shows.
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

// Brief returns what the page says first: its sentences and findings. Its Paths, and where the slices
// behind the findings are, are for the caller to fill in.
func (r *TraceReport) Brief() *Brief {
	b := &Brief{Title: r.Title, Note: r.Note, Lines: r.Lines}
	for _, f := range r.Report.Findings {
		b.Findings = append(b.Findings, BriefFinding{Finding: f, Where: r.where(&f)})
	}
	return b
}

// doubts are the sentences that a reader must know before any number of the page.
func (r *TraceReport) doubts() []string {
	var out []string
	for _, f := range r.Report.Findings {
		if f.Doubt && f.Severity >= leastDoubt {
			out = append(out, "In doubt: "+neutral.Plain(f.Text))
		}
	}
	if n := len(out) - maxVerdicts; n > 0 {
		out = append(out[:maxVerdicts], fmt.Sprintf("… and %s below", units.Plural(n, "more doubt")))
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
		at = fmt.Sprintf(" at +%s of the device's span", units.Duration(float64(e.StartNs-w.StartNs)))
		if e.StartNs < w.StartNs {
			at = fmt.Sprintf(" %s before the device's span", units.Duration(float64(w.StartNs-e.StartNs)))
		}
		if e.Slice < 0 && e.StartNs == w.StartNs && e.EndNs == w.EndNs {
			return ""
		}
	}
	if e.Slice < 0 && e.EndNs <= e.StartNs {
		return ""
	}
	who := ""
	if len(r.Labels) > 1 {
		who = identity.Spoken(r.Labels[e.Rank]) + ": "
	}
	if e.Slice >= 0 {
		return who + fmt.Sprintf("%s (slice %d)%s", KernelName(r.Names(e.Rank, e.Slice)), e.Slice, at)
	}
	return who + units.Duration(float64(e.EndNs-e.StartNs)) + at
}
