package rank

import "github.com/kinetoscope/kinetoscope/protocol"

// move is what the end of an iteration means for the recording.
type move int

const (
	stay move = iota
	open      // begin to record
	shut      // the window is over
)

// schedule decides by counting ended iterations when to record. It is pure.
//
// skip iterations pass first: delay_iterations, and wait plus warm-up when the
// configuration has any, for a recorder needs no warm-up but the code may. The
// window then holds max_iterations, active_iterations (only with wait or warm-up,
// as torch.profiler.schedule is only then used), or the lesser of both; 0 is no limit.
type schedule struct {
	skip, limit int
	cause       protocol.StopCause // what the end of the window is called
	ended       int                // iterations ended while skipping
	recorded    int                // iterations ended in the window
	opened      bool
}

func newSchedule(c protocol.ProfilerConfig) schedule {
	s := schedule{skip: c.DelayIterations, limit: c.MaxIterations, cause: protocol.StoppedByIterations}
	if c.WaitIterations > 0 || c.WarmupIterations > 0 {
		s.skip += c.WaitIterations + c.WarmupIterations
		if s.limit == 0 || c.ActiveIterations < s.limit {
			s.limit, s.cause = c.ActiveIterations, protocol.StoppedBySchedule
		}
	}
	return s
}

// start is the agreed instant.
func (s *schedule) start() move {
	if s.skip > 0 {
		return stay
	}
	s.opened = true
	return open
}

// iterationEnd counts one iteration that has ended.
func (s *schedule) iterationEnd() move {
	if !s.opened {
		s.ended++
		if s.ended < s.skip {
			return stay
		}
		s.opened = true
		return open
	}
	s.recorded++
	if s.limit > 0 && s.recorded >= s.limit {
		return shut
	}
	return stay
}
