package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// maxCaptures is how many sessions a rank remembers: one that records and those that a
	// hub has not yet collected. The oldest beyond are forgotten.
	maxCaptures = 8
	// endTimeout bounds one End: the hub waits 30 s for the answer to a stop.
	endTimeout = 25 * time.Second
)

// CallFunc runs a method of collective_rpc.
type CallFunc func(ctx context.Context, method string, args map[string]any) (any, error)

// Rank is the life of captures on one profiler. It is the rank.Handler and rank.Observer
// of a rank, and safe for concurrent use.
//
// Where the Driver's iterations are told, its owner calls Step when a decode or denoise
// step has ended and Request when a request has; they cost one atomic read while nothing
// is recorded. BeginStep is optional and makes step counts exact: a step that began before
// the window opened is then not counted.
//
// A recording ends by StopRequest, by the schedule, after max_duration, at max_bytes, when
// the profiler ends by itself, or when the hub that armed it has been silent for
// protocol.HubLossTimeout.
type Rank struct {
	d      Driver
	info   protocol.RankInfo
	now    func() time.Time
	log    *slog.Logger
	call   CallFunc
	opened func() // may be nil
	hubTTL time.Duration

	wantSteps, wantRequests atomic.Bool // an armed schedule counts them
	inStep                  atomic.Bool // between BeginStep and Step
	sampleEvery             atomic.Int64

	// turn is held by the goroutine that calls the Driver, for the duration of the call. It is
	// taken before mu.
	turn chan struct{}

	ctx    context.Context // of all captures; ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // lives and notifications

	mu       sync.Mutex // of all below, held for moments only
	closed   bool
	active   *capture            // armed or recording; at most one
	captures map[string]*capture // by session
	order    []string            // oldest first
	member   *rank.Member
}

// Option changes a Rank.
type Option func(*Rank)

// WithClock makes now the clock in which BeginRequest.AtNs is read; time.Now without it.
func WithClock(now func() time.Time) Option { return func(r *Rank) { r.now = now } }

// WithCalls makes f answer collective_rpc; without it every method is unknown.
func WithCalls(f CallFunc) Option { return func(r *Rank) { r.call = f } }

// WithOpened has f called whenever a recording has begun. f must not block.
func WithOpened(f func()) Option { return func(r *Rank) { r.opened = f } }

// WithHubLossTimeout replaces protocol.HubLossTimeout.
func WithHubLossTimeout(d time.Duration) Option { return func(r *Rank) { r.hubTTL = d } }

// WithLogger makes l the logger; slog.Default() without it.
func WithLogger(l *slog.Logger) Option { return func(r *Rank) { r.log = l } }

// NewRank returns the rank that info names, recorded by d. Close ends it.
func NewRank(d Driver, info protocol.RankInfo, opts ...Option) *Rank {
	r := &Rank{d: d, info: info, now: time.Now, log: slog.Default(), hubTTL: protocol.HubLossTimeout,
		turn: make(chan struct{}, 1), captures: map[string]*capture{}}
	for _, o := range opts {
		o(r)
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	return r
}

// Announced returns the rank's presence with what the hub has to know of its Driver.
func (r *Rank) Announced() protocol.RankInfo {
	info, c := r.info, r.d.Capabilities()
	info.LeadNs, info.FlushNs, info.AheadNs = int64(c.Lead), int64(c.Flush), int64(c.Ahead)
	return info
}

// Joined keeps the Member for unasked reports.
func (r *Rank) Joined(m *rank.Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.member = m
}

// take takes the turn; its error is ctx's.
func (r *Rank) take(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Rank) give() { <-r.turn }

// errClosed is the cause with which work under way is given up.
var errClosed = errors.New("the rank is leaving")

// Close ends an armed or running capture, keeps its files, and waits for all goroutines of the
// Rank. Afterwards it closes the Driver if that is an io.Closer.
func (r *Rank) Close() error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	r.cancel(errClosed)
	err := r.take(context.Background())
	r.mu.Lock()
	c := r.active
	r.mu.Unlock()
	if c != nil {
		err = r.end(c, protocol.StoppedByExit)
	}
	r.give()
	r.wg.Wait()
	if d, ok := r.d.(io.Closer); ok {
		err = errors.Join(err, d.Close())
	}
	return err
}

// Arm has the Driver prepare.
func (r *Rank) Arm(ctx context.Context, q protocol.ArmRequest) (protocol.RankStatus, error) {
	if err := r.mayArm(q); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("arm: %w", err)
	}
	r.outdate(q)
	if err := r.take(ctx); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("arm: %w", err)
	}
	defer r.give()
	if s, known, err := r.known(q); known || err != nil {
		return s, err
	}
	c := newCapture(r, q)
	var err error
	if c.work, err = r.d.Prepare(ctx, c.job(r.now)); err != nil {
		c.cancel(err)
		return protocol.RankStatus{}, fmt.Errorf("arm: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active, r.captures[q.Session] = c, c
	r.order = append(r.order, q.Session)
	r.forgetOld()
	r.wg.Go(func() { r.live(c) })
	return c.status, nil
}

// mayArm returns why the Driver cannot do what q asks for.
func (r *Rank) mayArm(q protocol.ArmRequest) error {
	if _, err := ulid.ParseStrict(q.Session); err != nil { // it becomes part of paths
		return fmt.Errorf("session %q is no ULID: %w", q.Session, err)
	}
	if err := q.Config.Validate(); err != nil {
		return err
	}
	can, c := r.d.Capabilities(), q.Config
	counts := c.DelayIterations+c.MaxIterations+c.WaitIterations+c.WarmupIterations > 0
	switch {
	case q.LastNs > 0 && can.NoPast != "":
		return errors.New(can.NoPast)
	case counts && can.Iterations == IterationsNone:
		return errors.New(can.NoIterations)
	case c.DelayIterations > 0 && can.NoDelay != "":
		return errors.New(can.NoDelay)
	case c.WaitIterations+c.WarmupIterations > 0 && can.NoWarmup != "":
		return errors.New(can.NoWarmup)
	case c.SampleRequests > 1 && can.NoSampling != "":
		return errors.New(can.NoSampling)
	case q.MaxBytes > 0 && can.NoBytes != "":
		return errors.New(can.NoBytes)
	}
	return nil
}

// known answers an arm of a session that is here already, and makes room for one that is
// not. The caller has the turn.
func (r *Rank) known(q protocol.ArmRequest) (s protocol.RankStatus, known bool, err error) {
	r.mu.Lock()
	c, old, closed := r.captures[q.Session], r.active, r.closed
	if c != nil {
		s = r.statusOf(c)
	}
	r.mu.Unlock()
	switch {
	case c != nil && c == old:
		return s, true, nil
	case c != nil:
		return s, true, fmt.Errorf("arm: session %s was here already and is %s", q.Session, s.State)
	case closed:
		return s, false, fmt.Errorf("arm: %w", errClosed)
	case old == nil:
		return s, false, nil
	case q.Hub == "" || old.req.Hub != q.Hub:
		return s, false, fmt.Errorf("arm: session %s of hub %q is %s", old.req.Session, old.req.Hub, r.state(old))
	}
	// A hub has one session at a time, so it has given the old one up; its abort may have
	// been lost. What was recorded stays.
	if err := r.end(old, protocol.StoppedBySuperseded); err != nil {
		r.log.Error("end of a superseded session", "session", old.req.Session, "err", err)
	}
	return s, false, nil
}

// forgetOld drops the oldest sessions beyond maxCaptures: their files stay with a Driver
// that finds them again, and are removed by one that does not. The caller has mu.
func (r *Rank) forgetOld() {
	for len(r.order) > maxCaptures && r.captures[r.order[0]] != r.active {
		c := r.captures[r.order[0]]
		delete(r.captures, r.order[0])
		r.order = r.order[1:]
		if _, keeps := r.d.(Keeper); keeps {
			continue
		}
		r.log.Warn("a recording that nobody has collected is removed", "session", c.req.Session)
		if err := c.work.Discard(); err != nil {
			r.log.Error("files of a recording stay", "session", c.req.Session, "err", err)
		}
	}
}

// Start waits for the agreed instant and returns when the profiler records, or with why it
// does not.
func (r *Rank) Start(ctx context.Context, q protocol.BeginRequest) (protocol.RankStatus, error) {
	r.mu.Lock()
	c := r.captures[q.Session]
	r.mu.Unlock()
	if c == nil {
		return protocol.RankStatus{}, fmt.Errorf("start: session %s is not armed here", q.Session)
	}
	select {
	case c.start <- time.Unix(0, q.AtNs):
	default: // asked before
	}
	select {
	case <-c.begun:
	case <-ctx.Done():
		return protocol.RankStatus{}, fmt.Errorf("start: %w", context.Cause(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.statusOf(c)
	if s.State == protocol.StateFailed {
		return s, errors.New(s.Reason)
	}
	return s, nil
}

// Stop ends the recording, whatever its schedule has reached.
func (r *Rank) Stop(ctx context.Context, q protocol.StopRequest) (protocol.RankStatus, error) {
	r.mu.Lock()
	c := r.captures[q.Session]
	r.mu.Unlock()
	if c == nil {
		return protocol.RankStatus{}, fmt.Errorf("stop: session %s is not known here", q.Session)
	}
	if err := r.finish(ctx, c); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("stop: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.statusOf(c), nil
}

// finish ends c because the hub says so, if it still lives. Its error is ctx's.
func (r *Rank) finish(ctx context.Context, c *capture) error {
	c.cancel(errStopped)
	if err := r.take(ctx); err != nil {
		// A capture that was told to end does so even if the caller gives up waiting.
		r.wg.Go(func() { r.endBy(c, ending{cause: protocol.StoppedByRequest}) })
		return err
	}
	defer r.give()
	if err := r.end(c, protocol.StoppedByRequest); err != nil {
		r.log.Error("end of a recording", "session", c.req.Session, "err", err)
	}
	return nil
}

// outdate ends the begin of a session that the same hub has given up, so that the arm of
// the next one does not wait for it.
func (r *Rank) outdate(q protocol.ArmRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.active
	if c != nil && c.req.Session != q.Session && q.Hub != "" && c.req.Hub == q.Hub &&
		c.status.State == protocol.StateArmed {
		c.cancel(errStopped)
		r.wg.Go(func() { r.endBy(c, ending{cause: protocol.StoppedBySuperseded}) })
	}
}

// Collect waits for the files of a stopped session and returns them; there are none if its
// window never opened. Of a session that this process does not know, it returns what an
// earlier process of the rank left.
func (r *Rank) Collect(ctx context.Context, q protocol.CollectRequest) (protocol.RankStatus, rank.Handover, error) {
	var none rank.Handover
	r.mu.Lock()
	c := r.captures[q.Session]
	var s protocol.RankStatus
	if c != nil {
		s = r.statusOf(c)
	}
	r.mu.Unlock()
	switch {
	case c == nil:
		if left := r.leftover(q.Session); len(left) > 0 {
			s = protocol.RankStatus{State: protocol.StateStopped, Session: q.Session,
				Reason: "left by an earlier process"}
			return s, rank.Handover{Files: left}, nil
		}
		return s, none, fmt.Errorf("collect: session %s is not known here", q.Session)
	case s.State == protocol.StateArmed, s.State == protocol.StateRecording:
		return s, none, fmt.Errorf("collect: session %s is %s", q.Session, s.State)
	case s.StartedAtNs == 0:
		return s, none, nil
	}
	f, err := r.files(ctx, c, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil { // there will be none
			c.status.State, c.status.Reason = protocol.StateFailed, err.Error()
		}
		return c.status, none, err
	}
	c.status.Events, c.status.Drops = max(c.status.Events, f.Events), max(c.status.Drops, f.Drops)
	if f.Note != "" {
		c.status.Reason = f.Note
	}
	if f.Failed != "" {
		c.status.State, c.status.Reason = protocol.StateFailed, f.Failed
	}
	return c.status, rank.Handover{Files: f.Files, Others: f.Others}, nil
}

// files waits for a capture's files, and has the hub know meanwhile how far they are.
func (r *Rank) files(ctx context.Context, c *capture, s protocol.RankStatus) (Files, error) {
	w, ok := c.work.(Writer)
	r.mu.Lock()
	m := r.member
	r.mu.Unlock()
	if !ok || m == nil {
		return c.work.Files(ctx)
	}
	var reports sync.WaitGroup
	done := make(chan struct{})
	reports.Go(func() {
		tick := time.NewTicker(protocol.WritingInterval)
		defer tick.Stop()
		for {
			now := w.Writing()
			s.Writing = &now
			m.Notify(s)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	defer reports.Wait()
	defer close(done)
	return c.work.Files(ctx)
}

// leftover returns what an earlier process, or this one in a session that it has
// forgotten, left for a session.
func (r *Rank) leftover(session string) []rank.File {
	k, ok := r.d.(Keeper)
	if _, err := ulid.ParseStrict(session); err != nil || !ok {
		return nil
	}
	return k.Leftover(session)
}

func (r *Rank) discardLeftover(q protocol.AbortRequest) error {
	k, ok := r.d.(Keeper)
	if _, err := ulid.ParseStrict(q.Session); err != nil || !ok || q.Keep {
		return nil
	}
	return k.DiscardLeftover(q.Session)
}

// Abort drops a session.
func (r *Rank) Abort(ctx context.Context, q protocol.AbortRequest) (protocol.RankStatus, error) {
	r.mu.Lock()
	c := r.captures[q.Session]
	r.mu.Unlock()
	if c == nil {
		return r.Status(ctx), r.discardLeftover(q)
	}
	if err := r.finish(ctx, c); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("abort: %w", err)
	}
	if q.Keep {
		return r.Status(ctx), nil
	}
	r.mu.Lock()
	delete(r.captures, q.Session)
	for i, s := range r.order {
		if s == q.Session {
			r.order = append(r.order[:i], r.order[i+1:]...)
			break
		}
	}
	r.mu.Unlock()
	return r.Status(ctx), c.work.Discard()
}

// Status is that of the session that is armed or recording, or idle.
func (r *Rank) Status(context.Context) protocol.RankStatus {
	s, counter := r.statusNow()
	if counter != nil && s.State == protocol.StateRecording && s.StartedAtNs != 0 {
		s.Events, s.Drops = counter.Counted() // without the lock: Counted may wait for a goroutine that records
	}
	return s
}

// statusNow is Status without what a Counter knows. It returns the Counter, which may be nil.
func (r *Rank) statusNow() (protocol.RankStatus, Counter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var counter Counter
	s := protocol.RankStatus{RankID: r.info.RankID, StageName: r.info.StageName, State: protocol.StateIdle}
	if r.active != nil {
		s = r.statusOf(r.active)
		counter, _ = r.active.work.(Counter)
	}
	for _, id := range r.order {
		if c := r.captures[id]; c != r.active && c.status.StartedAtNs != 0 {
			s.Held = append(s.Held, id)
		}
	}
	return s, counter
}

// statusOf returns a capture's status with the counts so far. The caller holds mu.
func (r *Rank) statusOf(c *capture) protocol.RankStatus {
	s := c.status
	if s.State == protocol.StateRecording {
		s.Iterations = c.sched.recorded
		if s.StartedAtNs != 0 {
			s.Bytes = uint64(c.work.Written())
		}
	}
	return s
}

func (r *Rank) state(c *capture) protocol.RankState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.status.State
}

// Holds reports whether something is recorded or waits to be collected.
func (r *Rank) Holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.captures {
		if c.status.StartedAtNs != 0 && c.status.State != protocol.StateFailed {
			return true
		}
	}
	return false
}

// HubSeen keeps alive the session that this hub armed.
func (r *Rank) HubSeen(hub string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.active; c != nil && c.req.Hub == hub {
		c.hubSeen = time.Now()
	}
}

// Call runs a method of collective_rpc.
func (r *Rank) Call(ctx context.Context, q protocol.CallRequest) (any, error) {
	if r.call == nil {
		return nil, fmt.Errorf("unknown method %q", q.Method)
	}
	return r.call(ctx, q.Method, q.Args)
}

var (
	_ rank.Handler  = (*Rank)(nil)
	_ rank.Observer = (*Rank)(nil)
)
