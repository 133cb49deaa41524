package driver

import (
	"context"
	"errors"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Reasons of captures that have no recording.
var (
	errStopped = errors.New("the session was stopped")

	reasonNeverBegan  = "stopped before it recorded"
	reasonStillWaited = "the schedule had not reached its first iteration to record"
)

// capture is one session on a rank. Rank.mu guards what changes.
type capture struct {
	req  protocol.ArmRequest
	work Capture

	ctx    context.Context // of Begin; ends when the session is to end
	cancel context.CancelCauseFunc
	start  chan time.Time // takes the agreed instant, once
	begun  chan struct{}  // closed when the profiler records, waits for its schedule, or will not record
	over   chan struct{}  // closed when the capture is neither armed nor recording
	told   chan ending    // takes one end that the Driver tells of

	status   protocol.RankStatus
	sched    schedule
	skipStep bool      // the step under way began before the window
	hubSeen  time.Time // the last sign of life of req.Hub
	until    time.Time // when the profiler ends by itself
	at       time.Time // the agreed instant; live's alone
}

// ending is an end that was not asked for.
type ending struct {
	cause protocol.StopCause
	err   error
}

func newCapture(r *Rank, q protocol.ArmRequest) *capture {
	c := &capture{req: q, start: make(chan time.Time, 1), begun: make(chan struct{}), over: make(chan struct{}),
		told: make(chan ending, 1), sched: newSchedule(q.Config), hubSeen: time.Now(),
		status: protocol.RankStatus{RankID: r.info.RankID, StageName: r.info.StageName,
			State: protocol.StateArmed, Session: q.Session}}
	c.ctx, c.cancel = context.WithCancelCause(r.ctx)
	return c
}

func (c *capture) job(now func() time.Time) Job {
	return Job{Now: now, Session: c.req.Session, Config: c.req.Config, MaxDuration: time.Duration(c.req.MaxDurationNs),
		MaxBytes: c.req.MaxBytes, Last: time.Duration(c.req.LastNs), Over: func(cause protocol.StopCause, err error) {
			select {
			case c.told <- ending{cause, err}:
			default: // it has ended before
			}
		}}
}

// alive reports whether c is armed or recording.
func (c *capture) alive() bool {
	return c.status.State == protocol.StateArmed || c.status.State == protocol.StateRecording
}

// live waits for all that ends a capture but requests, until it has ended.
func (r *Rank) live(c *capture) {
	defer c.cancel(errStopped)
	var instant, bound <-chan time.Time
	var silence *time.Timer
	if c.req.Hub != "" {
		silence = time.NewTimer(r.hubTTL)
		defer silence.Stop()
	} else {
		silence = &time.Timer{} // a nil channel: the session does not depend on beats
	}
	for {
		select {
		case <-c.over:
			return
		case at := <-c.start:
			c.at = at
			instant = time.After(at.Sub(r.now()) - r.d.Capabilities().Ahead)
		case <-instant:
			r.begin(c)
			if d := r.bound(c); d > 0 {
				bound = time.After(d)
			}
		case <-bound:
			r.endBy(c, ending{cause: protocol.StoppedByMaxDuration})
		case e := <-c.told:
			r.endBy(c, e)
		case <-silence.C:
			r.mu.Lock()
			left := r.hubTTL - time.Since(c.hubSeen)
			r.mu.Unlock()
			if left > 0 {
				silence.Reset(left)
				continue
			}
			r.endBy(c, ending{cause: protocol.StoppedByHubLost})
		}
	}
}

// bound is how long from now a capture that has just begun may go on, 0 for ever.
func (r *Rank) bound(c *capture) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := time.Duration(c.req.MaxDurationNs)
	if !c.until.IsZero() {
		if left := max(c.until.Sub(r.now()), 1); d <= 0 || left < d {
			d = left
		}
	}
	return max(d, 0)
}

// begin is the agreed instant.
func (r *Rank) begin(c *capture) {
	if r.take(c.ctx) != nil {
		return // whoever ends it sets the reason
	}
	defer r.give()
	r.mu.Lock()
	if c.status.State != protocol.StateArmed {
		r.mu.Unlock()
		return
	}
	waits := c.req.LastNs == 0 && r.d.Capabilities().Iterations == IterationsTold && c.sched.start() != open
	if waits {
		c.status.State = protocol.StateRecording
	}
	r.mu.Unlock()
	if !waits && !r.open(c) {
		return
	}
	if c.req.LastNs > 0 {
		if err := r.end(c, protocol.StoppedByFlight); err != nil {
			r.log.Error("flight recorder", "session", c.req.Session, "err", err)
		}
		r.notify(c)
		return
	}
	byRequest := c.req.Config.Iteration == "request"
	r.wantSteps.Store(!byRequest)
	r.wantRequests.Store(byRequest)
	close(c.begun)
}

// open opens the window: the profiler records from here. It reports whether it does. The
// caller has the turn.
func (r *Rank) open(c *capture) bool {
	var b Began
	var err error
	if e, ok := c.work.(Early); ok {
		b, err = e.BeginAt(c.ctx, c.at)
	} else {
		b, err = c.work.Begin(c.ctx)
	}
	if err != nil {
		if c.ctx.Err() == nil { // else whoever ends it sets the reason
			r.fail(c, err)
			r.notify(c)
		}
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.At.IsZero() {
		b.At = r.now()
	}
	c.status.State, c.status.StartedAtNs, c.until = protocol.StateRecording, b.At.UnixNano(), b.Until
	c.skipStep = r.inStep.Load()
	r.sampleEvery.Store(int64(c.req.Config.SampleRequests))
	if r.opened != nil {
		r.opened()
	}
	return true
}

// SampleEvery is the running session's sample_requests, 0 without one: the owner then
// records only what belongs to requests that are sampled.
func (r *Rank) SampleEvery() int { return int(r.sampleEvery.Load()) }

// BeginStep says that a step begins.
func (r *Rank) BeginStep() { r.inStep.Store(true) }

// Step says that a decode or denoise step has ended.
func (r *Rank) Step() {
	r.inStep.Store(false)
	if r.wantSteps.Load() {
		r.iterationEnd(false)
	}
}

// Request says that a request has ended.
func (r *Rank) Request() {
	if r.wantRequests.Load() {
		r.iterationEnd(true)
	}
}

func (r *Rank) iterationEnd(request bool) {
	_ = r.take(context.Background())
	defer r.give()
	r.mu.Lock()
	c := r.active
	counts := c != nil && c.status.State == protocol.StateRecording && (c.req.Config.Iteration == "request") == request
	if counts && c.skipStep && !request {
		c.skipStep, counts = false, false
	}
	next := stay
	if counts {
		next = c.sched.iterationEnd()
	}
	r.mu.Unlock()
	switch next {
	case open:
		if c.ctx.Err() == nil {
			r.open(c)
		}
	case shut:
		if err := r.end(c, c.sched.cause); err != nil {
			r.log.Error("end of a recording", "session", c.req.Session, "err", err)
		}
		r.notify(c)
	}
}

// endBy ends a capture without being asked to and reports it.
func (r *Rank) endBy(c *capture, e ending) {
	_ = r.take(context.Background())
	defer r.give()
	r.mu.Lock()
	alive := c.alive()
	r.mu.Unlock()
	if !alive {
		return
	}
	if e.err != nil {
		r.fail(c, e.err)
	} else if err := r.end(c, e.cause); err != nil {
		r.log.Error("end of a recording", "session", c.req.Session, "cause", e.cause, "err", err)
	}
	r.notify(c)
}

// notify tells the hub how c stands, unless the rank is leaving.
func (r *Rank) notify(c *capture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, s := r.member, c.status; m != nil && !r.closed {
		r.wg.Go(func() { m.Notify(s) })
	}
}

// end stops a capture that is armed or recording. The caller has the turn.
func (r *Rank) end(c *capture, cause protocol.StopCause) error {
	r.mu.Lock()
	alive, began, waited := c.alive(), c.status.StartedAtNs != 0, c.status.State == protocol.StateRecording
	r.mu.Unlock()
	if !alive {
		return nil
	}
	r.stopCounting()
	var e Ended
	var err error
	reason := ""
	if began {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), endTimeout)
		e, err = c.work.End(ctx)
		cancel()
		reason = e.Note
	} else {
		reason = reasonNeverBegan
		if waited {
			reason = reasonStillWaited
		}
		err = c.work.Discard()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &c.status
	if began {
		if e.At.IsZero() {
			e.At = r.now()
		}
		s.StoppedAtNs = e.At.UnixNano()
		if !c.until.IsZero() && !e.At.Before(c.until) { // whoever is first to see it
			cause, s.StoppedAtNs = protocol.StoppedByMaxDuration, c.until.UnixNano()
		}
	}
	s.State, s.StoppedBy, s.Reason = protocol.StateStopped, cause, reason
	s.Events, s.Drops, s.Bytes = e.Events, e.Drops, e.Bytes
	s.Iterations = max(c.sched.recorded, e.Iterations)
	if err != nil {
		s.State, s.Reason = protocol.StateFailed, "stop: "+err.Error()
	}
	r.release(c)
	return err
}

// fail ends a capture whose profiler would not begin or has ended badly. The caller has
// the turn.
func (r *Rank) fail(c *capture, err error) {
	r.stopCounting()
	r.mu.Lock()
	began := c.status.StartedAtNs != 0
	c.status.State, c.status.Reason = protocol.StateFailed, err.Error()
	r.release(c)
	r.mu.Unlock()
	r.log.Error("recording failed", "session", c.req.Session, "err", err)
	if began {
		return // the files stay for a salvage
	}
	if err := c.work.Discard(); err != nil {
		r.log.Error("files of a recording stay", "session", c.req.Session, "err", err)
	}
}

// stopCounting ends the counting of iterations.
func (r *Rank) stopCounting() {
	r.wantSteps.Store(false)
	r.wantRequests.Store(false)
	r.sampleEvery.Store(0)
}

// release makes the rank free for the next session. The caller has mu.
func (r *Rank) release(c *capture) {
	if r.active == c {
		r.active = nil
	}
	select {
	case <-c.begun:
	default:
		close(c.begun)
	}
	close(c.over)
}
