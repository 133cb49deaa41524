package analysis

import (
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Subject is one trace with what several questions of it share: what of it is believed, and
// its View. Each is made when it is first asked for, and once. Safe for use by several
// goroutines.
type Subject struct {
	Trace *trace.Trace

	seen     func() *plausible.Trace
	host     func() cause.Report
	own, hta func() *View
}

// NewSubject makes a subject of t, and reads nothing yet.
func NewSubject(t *trace.Trace) *Subject {
	s := &Subject{Trace: t}
	s.seen = sync.OnceValue(func() *plausible.Trace { return plausible.Look(t) })
	s.host = sync.OnceValue(func() cause.Report { return cause.Of(s.seen()) })
	s.own = sync.OnceValue(func() *View {
		f := ownFrame(s.seen(), Options{})
		f.host = s.host
		return &View{f}
	})
	s.hta = sync.OnceValue(func() *View { return &View{framesOf([]*Subject{s}, Options{HTA: true})[0]} })
	return s
}

// NewSubjects makes a subject of each trace.
func NewSubjects(list []*trace.Trace) []*Subject {
	out := make([]*Subject, len(list))
	for i, t := range list {
		out[i] = NewSubject(t)
	}
	return out
}

// Seen is what of the trace is believed, and what is doubtful.
func (s *Subject) Seen() *plausible.Trace { return s.seen() }

// Host is what the host did while the devices waited for it.
func (s *Subject) Host() cause.Report { return s.host() }

// View is the trace as opt says.
func (s *Subject) View(opt Options) *View {
	switch opt {
	case Options{}:
		return s.own()
	case Options{HTA: true}:
		return s.hta()
	}
	return &View{frameOf(s, opt)}
}

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

// Kernels is the package's Kernels.
func (v *View) Kernels() KernelBreakdown { return v.f.kernels() }

// Sequences is the package's Sequences.
func (v *View) Sequences(operator string, minLen int) []Sequence {
	return v.f.sequences(operator, minLen)
}

// Idle is IdleCauses.
func (v *View) Idle() Idle { return v.f.idle() }

// Launches is the package's Launches.
func (v *View) Launches(lo LaunchOptions) LaunchStats { return v.f.launches(lo) }

// Queue is QueueLength.
func (v *View) Queue() Queue { return v.f.queue() }

// Memory is the package's Memory.
func (v *View) Memory() MemoryReport { return v.f.memory() }

// Bandwidth is the package's Bandwidth.
func (v *View) Bandwidth() MemoryBandwidth { return v.f.bandwidth() }

// Roofline is the package's Roofline with the roofs of the trace's card.
func (v *View) Roofline() RooflineReport { return v.f.roofline(RoofsOf(v.f.tr)) }

// Annotations is AnnotationBreakdown.
func (v *View) Annotations() Annotations { return v.f.annotations() }

// CriticalPath is FindCriticalPath.
func (v *View) CriticalPath(co CriticalOptions) (CriticalPath, error) { return v.f.critical(co) }
