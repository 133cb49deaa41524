package worker

import (
	"time"

	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// phaseHandoff is the time that a hand-off is on its way between ranks of one host.
const phaseHandoff = "handoff"

// phases are the durations that are measured whether or not a session records. The map never
// changes after it is made; any goroutine may use its histograms.
type phases struct {
	byName map[string]*profiler.Histogram
}

func newPhases() *phases {
	p := &phases{byName: map[string]*profiler.Histogram{phaseHandoff: {}}}
	for name := range stepNames {
		p.byName[name] = &profiler.Histogram{}
	}
	return p
}

func (p *phases) observe(phase string, d time.Duration) {
	if h := p.byName[phase]; h != nil {
		h.Observe(d)
	}
}

// read returns what was measured, by phase; phases that never ran are left out.
func (p *phases) read() map[string]wire.Durations {
	out := map[string]wire.Durations{}
	for name, h := range p.byName {
		if s := h.Snapshot(); s.Count > 0 {
			out[name] = wire.Durations{Buckets: h.Buckets(wire.DurationBounds), Count: s.Count,
				SumSeconds: s.SumSeconds}
		}
	}
	return out
}
