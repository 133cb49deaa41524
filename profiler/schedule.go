package profiler

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Action is what a Schedule asks for in a step.
type Action uint8

// The actions, as torch.profiler has them.
const (
	ActionNone          Action = iota // do not record
	ActionWarmup                      // arm, but keep nothing
	ActionRecord                      // record
	ActionRecordAndSave               // record, and hand over what was recorded at the end of this step
)

// String returns torch's name of the action.
func (a Action) String() string {
	switch a {
	case ActionNone:
		return "NONE"
	case ActionWarmup:
		return "WARMUP"
	case ActionRecord:
		return "RECORD"
	case ActionRecordAndSave:
		return "RECORD_AND_SAVE"
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Schedule divides a run's steps into cycles of wait, warm-up and active steps. A step is
// an iteration: a decode step, a denoise step, or a request. The meaning is that of
// torch.profiler.schedule(wait, warmup, active, repeat, skip_first, skip_first_wait);
// Max is an addition.
type Schedule struct {
	SkipFirst     int  // steps to ignore before anything; torch: skip_first; vLLM: delay_iterations
	Wait          int  // steps of a cycle without recording
	Warmup        int  // steps armed but not kept
	Active        int  // steps recorded; 0 means until Max, without cycles
	Repeat        int  // cycles; 0 means for ever
	SkipFirstWait bool // the first cycle has no wait
	Max           int  // recorded steps in all, 0 means no limit; vLLM: max_iterations
}

// Validate reports numbers that make no schedule.
func (s Schedule) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		v    int
	}{{"skip_first", s.SkipFirst}, {"wait", s.Wait}, {"warmup", s.Warmup}, {"active", s.Active}, {"repeat", s.Repeat},
		{"max", s.Max}} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("schedule: %s is %d, it cannot be negative", f.name, f.v))
		}
	}
	return errors.Join(errs...)
}

// At returns the action for step n, counted from 0. It has no state.
func (s Schedule) At(n int) Action {
	if n < s.SkipFirst {
		return ActionNone
	}
	n -= s.SkipFirst
	if s.Active <= 0 {
		return s.atOpen(n)
	}
	cycle := s.Wait + s.Warmup + s.Active
	if s.SkipFirstWait {
		n += s.Wait
	}
	if s.Repeat > 0 && n/cycle >= s.Repeat || s.Max > 0 && n/cycle*s.Active >= s.Max {
		return ActionNone
	}
	in := n % cycle
	switch {
	case in < s.Wait:
		return ActionNone
	case in < s.Wait+s.Warmup:
		return ActionWarmup
	}
	before := n/cycle*s.Active + in - s.Wait - s.Warmup // recorded steps before this one
	if s.Max > 0 && before >= s.Max {
		return ActionNone
	}
	if in == cycle-1 || s.Max > 0 && before == s.Max-1 {
		return ActionRecordAndSave
	}
	return ActionRecord
}

// atOpen is At without cycles: wait, warm up, then record until Max.
func (s Schedule) atOpen(n int) Action {
	if s.SkipFirstWait {
		n += s.Wait
	}
	switch {
	case n < s.Wait:
		return ActionNone
	case n < s.Wait+s.Warmup:
		return ActionWarmup
	}
	n -= s.Wait + s.Warmup
	switch {
	case s.Max > 0 && n >= s.Max:
		return ActionNone
	case s.Max > 0 && n == s.Max-1:
		return ActionRecordAndSave
	}
	return ActionRecord
}

// Done reports that from step n on nothing will be recorded any more.
func (s Schedule) Done(n int) bool {
	recorded := s.Max
	if s.Active > 0 && s.Repeat > 0 && (s.Max == 0 || s.Active*s.Repeat < s.Max) {
		recorded = s.Active * s.Repeat
	}
	if recorded == 0 {
		return false
	}
	last := s.SkipFirst + s.Wait + s.Warmup + recorded
	if s.Active > 0 {
		cycles := (recorded - 1) / s.Active
		last = s.SkipFirst + cycles*(s.Wait+s.Warmup+s.Active) + s.Wait + s.Warmup + recorded - cycles*s.Active
	}
	if s.SkipFirstWait {
		last -= s.Wait
	}
	return n >= last
}

// Stepper follows a Schedule step by step. It is for one goroutine.
type Stepper struct {
	schedule Schedule
	step     int
}

// NewStepper returns a Stepper before step 0.
func NewStepper(s Schedule) *Stepper { return &Stepper{schedule: s} }

// Action returns what the current step asks for.
func (s *Stepper) Action() Action { return s.schedule.At(s.step) }

// Index returns the current step, from 0.
func (s *Stepper) Index() int { return s.step }

// Step ends the current step and returns the next one's action.
func (s *Stepper) Step() Action {
	s.step++
	return s.Action()
}

// Done reports that nothing will be recorded any more.
func (s *Stepper) Done() bool { return s.schedule.Done(s.step) }

// Sampler chooses 1 in N requests, evenly. The decision is made where a request enters
// and travels in its TraceParent, so that every stage records the same requests.
type Sampler struct {
	every atomic.Uint64
	seen  atomic.Uint64
}

// NewSampler chooses 1 in every requests; 1 is all of them, 0 none.
func NewSampler(every uint64) *Sampler {
	s := &Sampler{}
	s.every.Store(every)
	return s
}

// SetEvery changes the rate.
func (s *Sampler) SetEvery(every uint64) { s.every.Store(every) }

// Decide returns the context that the request goes on with. A request that comes with one
// keeps its decision; one without gets a new trace, sampled or not.
func (s *Sampler) Decide(incoming TraceParent) TraceParent {
	if incoming.Validate() == nil {
		return incoming
	}
	every := s.every.Load()
	n := s.seen.Add(1) - 1
	return NewTraceParent(every > 0 && n%every == 0)
}
