// Package finding holds the findings of analyses: one plain sentence with the number behind it, its
// severity, and where to look.
package finding

import (
	"cmp"

	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Severity orders findings; readers look at the highest first.
type Severity uint8

// The severities of a finding.
const (
	Info     Severity = iota // worth knowing, nothing to do
	Notice                   // time is lost here, less than a tenth of the window
	Warning                  // a tenth of the window or more could be gained
	Critical                 // the result is wrong or most of the window is lost
)

var severityNames = enum.Of[Severity]("severity", "info", "notice", "warning", "critical")

// String returns the severity's name.
func (s Severity) String() string { return severityNames.Text(s) }

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return severityNames.Marshal(s) }

// UnmarshalText reads the severity's name.
func (s *Severity) UnmarshalText(b []byte) error { return severityNames.Unmarshal(s, b) }

// SeverityOf grades a finding by the part of the time, or of the data, that it is about.
func SeverityOf(part float64) Severity {
	switch {
	case part >= 0.5:
		return Critical
	case part >= 0.1:
		return Warning
	case part >= 0.01:
		return Notice
	}
	return Info
}

// NoSlice is the Slice of an Evidence that points at a span of time and not at one slice.
const NoSlice = -1

// Finding is one plain sentence about a trace with the number behind it.
type Finding struct {
	Code     Code     `json:"code,omitempty"` // what it is about; of this project's findings one of Codes
	Severity Severity `json:"severity"`       // "info", "notice", "warning" or "critical"
	Text     string   `json:"text"`           // one sentence, plain words
	Number   float64  `json:"number"`         // the number that Text rests on
	Unit     string   `json:"unit"`           // Code.Unit
	Evidence Evidence `json:"evidence"`
	// Doubt says that the finding is about the trace rather than about the program: data that are
	// missing or cannot be true, on which other answers rest. Such findings come first.
	Doubt bool `json:"doubt,omitempty"`
}

// Compare orders findings for readers: doubts of at least Notice first, then the most severe.
func Compare(a, b Finding) int {
	first := func(f Finding) int {
		if f.Doubt && f.Severity >= Notice {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(first(b), first(a)), cmp.Compare(b.Severity, a.Severity))
}

// Evidence is where to look for a finding. It is meaningful only together with the
// trace that the finding was made from.
type Evidence struct {
	Rank    int           `json:"rank"`     // index into the traces given to the analysis
	Track   trace.TrackID `json:"track"`    // index into Trace.Tracks
	Slice   int           `json:"slice"`    // index into Trace.Slices, or NoSlice
	StartNs int64         `json:"start_ns"` // on the trace's clock
	EndNs   int64         `json:"end_ns"`   // on the trace's clock
}

// SliceEvidence points at slice i of tr, which was traces[rank].
func SliceEvidence(tr *trace.Trace, rank, i int) Evidence {
	return Evidence{Rank: rank, Track: tr.Slices.Track[i], Slice: i, StartNs: tr.Slices.Start[i],
		EndNs: tr.Slices.End(i)}
}

// SpanEvidence points at [startNs, endNs) of a track of traces[rank].
func SpanEvidence(rank int, track trace.TrackID, startNs, endNs int64) Evidence {
	return Evidence{Rank: rank, Track: track, Slice: NoSlice, StartNs: startNs, EndNs: endNs}
}
