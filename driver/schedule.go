package driver

import (
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// move is what an instant means for the recording.
type move int

const (
	stay move = iota
	open      // begin to record
	shut      // the window is over
)

// schedule says when to record, from the iterations that have ended. It is pure.
// As in vLLM, wait, warmup and active count only if wait or warmup is set, and
// there is one cycle. The steps of profiler.Schedule are iterations here.
type schedule struct {
	at       *profiler.Stepper
	cause    protocol.StopCause // what the window's end is called
	recorded int                // iterations ended in the window
}

func newSchedule(c protocol.ProfilerConfig) schedule {
	s := profiler.Schedule{SkipFirst: c.DelayIterations, Max: c.MaxIterations}
	cause := protocol.StoppedByIterations
	if c.WaitIterations > 0 || c.WarmupIterations > 0 {
		s.Wait, s.Warmup, s.Active, s.Repeat = c.WaitIterations, c.WarmupIterations, c.ActiveIterations, 1
		if s.Max == 0 || s.Active < s.Max {
			cause = protocol.StoppedBySchedule
		}
	}
	return schedule{at: profiler.NewStepper(s), cause: cause}
}

func (s *schedule) recording() bool { return s.at.Action() >= profiler.ActionRecord }

// start is the agreed instant.
func (s *schedule) start() move {
	if s.recording() {
		return open
	}
	return stay
}

// iterationEnd counts one iteration that has ended.
func (s *schedule) iterationEnd() move {
	was := s.recording()
	s.at.Step()
	switch {
	case was:
		s.recorded++
		if s.at.Done() {
			return shut
		}
	case s.recording():
		return open
	}
	return stay
}
