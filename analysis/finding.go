package analysis

import "github.com/kinetoscope/kinetoscope/analysis/finding"

// Finding is one plain sentence about a trace with the number behind it.
type Finding = finding.Finding

// Evidence is where to look for a finding.
type Evidence = finding.Evidence

// Severity orders findings; a reader looks at the highest first.
type Severity = finding.Severity

// The severities of a finding.
const (
	Info     = finding.Info
	Notice   = finding.Notice
	Warning  = finding.Warning
	Critical = finding.Critical
)

// NoSlice is the Slice of an Evidence that points at a span of time and not at one slice.
const NoSlice = finding.NoSlice

// SliceEvidence and SpanEvidence make an Evidence.
var (
	SliceEvidence = finding.SliceEvidence
	SpanEvidence  = finding.SpanEvidence
)
