package nodes

import (
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Report is the verb whose answer is the page of all analyses.
const Report = "report"

// Summary is what the report's page needs of a trace that is not kept.
type Summary struct {
	Part  analysis.RankPart
	Found analyses.Found
	Names report.SliceNames
	Cards string // names of the devices
}

// Summarize finds in one trace all that the page shows of it.
func Summarize(page *analyses.Page, s *analysis.Subject, o analysis.Options) (Summary, error) {
	found, err := page.Rank(s)
	if err != nil {
		return Summary{}, err
	}
	r := Summary{Found: found, Names: report.SliceNames{}, Cards: Cards(s.Trace), Part: analysis.PartOf(s, o)}
	r.Part.Report.Launches.Launches = nil // a row a kernel, which no table shows
	for _, x := range r.Part.Comms.Collectives {
		r.Names.Keep(s.Trace, x.Slice)
	}
	for _, f := range slices.Concat(r.Part.Findings, page.Findings(found)) {
		r.Names.Keep(s.Trace, f.Evidence.Slice)
	}
	return r, nil
}

// packed is a Summary on its way.
type packed struct {
	Part  analysis.RankPart
	Found []byte
	Names report.SliceNames
	Cards string
}

func (r *Summary) pack(page *analyses.Page) ([]byte, error) {
	found, err := page.Pack(r.Found)
	if err != nil {
		return nil, err
	}
	return analyses.Encode(packed{r.Part, found, r.Names, r.Cards})
}

// UnpackSummary decodes what a node found for the page; an error says that another version of the
// program made it, or that it is damaged.
func UnpackSummary(page *analyses.Page, data []byte) (Summary, error) {
	var p packed
	if err := analyses.Decode(data, &p); err != nil {
		return Summary{}, err
	}
	found, err := page.Unpack(p.Found)
	return Summary{Part: p.Part, Found: found, Names: p.Names, Cards: p.Cards}, err
}

// Cards names the devices of a trace.
func Cards(t *trace.Trace) string { return strings.Join(made.Of(t).Cards, ", ") }
