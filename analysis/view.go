package analysis

import "github.com/kinetoscope/kinetoscope/trace"

// View is one trace as the analyses see it: who launched whom, what runs where. Making
// it is a good part of the work of any analysis, so several questions of one trace
// share it. Safe for use by several goroutines.
type View struct{ f *frame }

// Look makes the view of tr that opt says.
func Look(tr *trace.Trace, opt Options) *View {
	return &View{newFrame(tr, opt)}
}

// Ops is the package's Ops.
func (v *View) Ops(oo OpOptions) OpTable { return v.f.ops(oo) }

// Temporal is TemporalBreakdown.
func (v *View) Temporal() Temporal { return v.f.temporal() }
