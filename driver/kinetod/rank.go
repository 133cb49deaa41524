package kinetod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// DefaultDuration is how long a process records if the session has no bound but the
	// hub's: Kineto has to know it when it begins.
	DefaultDuration = 5 * time.Second
	// DefaultTraceDir is where newer versions of libkineto write, unless the process has
	// another directory in KINETO_ONDEMAND_TRACE_DIR.
	DefaultTraceDir = "/tmp"

	// tick is how often libkineto's profiler thread looks at the clock.
	tick = time.Second
	// warmup is how long before the start the profiler is on; with none torch's
	// operators are missing. libkineto counts whole seconds.
	warmup = time.Second
	// slack is the time for the rest: a busy host, a late thread.
	slack = time.Second
	// appears is how long after the start the trace's temporary file may be missing.
	appears = time.Second
	// writing bounds how long a process may write its trace; with Python stacks that takes minutes.
	writing = 10 * time.Minute
	// look is how often the trace's directory is looked at.
	look = 50 * time.Millisecond
	// traceName is the trace's name in its directory, before libkineto puts the pid into it.
	traceName = "trace.json"
	// maxCaptures bounds the sessions a rank remembers.
	maxCaptures = 8
)

// timing are the constants above, which tests shorten.
type timing struct {
	poll, tick, warmup, slack, appears, writing, look time.Duration
}

func realTiming() timing {
	return timing{PollInterval, tick, warmup, slack, appears, writing, look}
}

// lead is how long after the agreed instant recording begins: by then every process has
// asked and has warmed up. It is the same for all, so that they begin together.
func (t *timing) lead() time.Duration { return t.poll + t.tick + t.warmup + t.slack }

// Target is the process that a Rank records.
type Target struct {
	PID int // in the agent's PID namespace, which is to be the process's own
	// User is whose the process is, and whose rights are enough for all that is done in
	// its directories.
	User User
	// TraceDir is an absolute path under which the process may write, DefaultTraceDir if
	// empty; it has to be there.
	TraceDir string
}

// Rank answers the hub for one process. It implements rank.Handler and rank.Observer.
//
// Kineto records for a time that it is told before, from an instant that it is told
// before. So recording begins some seconds after the instant the session agreed on, on
// all processes at once; Stop answers at once and the process goes on to the end of its
// time, which Collect waits for.
type Rank struct {
	d    *Daemon
	to   Target
	log  *slog.Logger
	time timing

	ctx    context.Context // of what watches files; ends with Close or the process
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	member   *rank.Member
	captures []*capture // oldest first; the last one may be under way
	packed   packing
}

// capture is one session on the process.
type capture struct {
	req     protocol.ArmRequest
	base    string // its directory's name
	dir     *traceDir
	status  protocol.RankStatus
	until   time.Time // when the process ends to record; zero: it was told nothing
	dropped bool      // nobody wants the files any more
	started bool      // Start was asked for

	ctx    context.Context // of the delivery; ends with drop
	cancel context.CancelCauseFunc

	begun chan struct{} // closed when Start is over, well or badly
	ended chan struct{} // closed when the trace is there, or will not be; nothing to wait for before begun
	err   error         // why it will not be; valid after ended
}

// NewRank returns the rank of a process that d knows. Close ends it.
func NewRank(d *Daemon, to Target, log *slog.Logger) *Rank { return newRank(d, to, log, realTiming()) }

func newRank(d *Daemon, to Target, log *slog.Logger, t timing) *Rank {
	if to.TraceDir == "" {
		to.TraceDir = DefaultTraceDir
	}
	r := &Rank{d: d, to: to, log: log, time: t}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	return r
}

// errClosed is why what was under way is given up.
var errClosed = errors.New("the agent leaves")

// Ended says that the process is no more. What it still had to write will not come, and
// what it has written stays until it is collected.
func (r *Rank) Ended() { r.cancel(fmt.Errorf("process %d has ended", r.to.PID)) }

// Holds reports whether there is a recording under way or a trace that waits to be collected.
func (r *Rank) Holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.captures {
		if c.started && !c.dropped && c.err == nil {
			return true
		}
	}
	return false
}

// Close gives up what is under way and removes all files.
func (r *Rank) Close() {
	r.cancel(errClosed)
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.captures {
		r.remove(c)
	}
	r.captures = nil
	if err := r.packed.close(); err != nil {
		r.log.Warn("packed traces stay", "err", err)
	}
}

// Joined keeps the member, to tell the hub that a recording has ended.
func (r *Rank) Joined(m *rank.Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.member = m
}

// HubSeen does nothing: a recording ends by itself.
func (r *Rank) HubSeen(string) {}

func (r *Rank) find(session string) *capture {
	for _, c := range r.captures {
		if c.req.Session == session {
			return c
		}
	}
	return nil
}

// Arm refuses what Kineto cannot do, and makes the directory for the trace.
func (r *Rank) Arm(ctx context.Context, q protocol.ArmRequest) (protocol.RankStatus, error) {
	r.awaitIdle(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.find(q.Session); c != nil {
		return c.status, nil
	}
	if err := r.mayArm(q); err != nil {
		return protocol.RankStatus{}, err
	}
	c := &capture{req: q, status: protocol.RankStatus{State: protocol.StateArmed, Session: q.Session},
		begun: make(chan struct{}), ended: make(chan struct{})}
	c.base = fmt.Sprintf("kinetoscope-%s-%d", q.Session, r.to.PID)
	if _, err := r.request(c, time.Now()).text(); err != nil {
		return protocol.RankStatus{}, err
	}
	var err error
	if c.dir, err = makeTraceDir(r.to.User, r.to.TraceDir, c.base); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("process %d: %w", r.to.PID, err)
	}
	c.ctx, c.cancel = context.WithCancelCause(r.ctx)
	r.captures = append(r.captures, c)
	for len(r.captures) > maxCaptures {
		r.remove(r.captures[0])
		r.captures = r.captures[1:]
	}
	return c.status, nil
}

// awaitIdle gives a process that was busy when it last asked the time to ask again: after a
// recording it is known to be idle only then.
func (r *Rank) awaitIdle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.time.poll+r.time.slack)
	defer cancel()
	for {
		if p, ok := r.d.Process(r.to.PID); !ok || !p.Busy || sleep(ctx, r.time.look) != nil {
			return
		}
	}
}

// mayArm says why the process cannot record what is asked for.
func (r *Rank) mayArm(q protocol.ArmRequest) error {
	if _, err := ulid.ParseStrict(q.Session); err != nil { // it becomes part of a path
		return fmt.Errorf("session %q is no ULID", q.Session)
	}
	p, ok := r.d.Process(r.to.PID)
	switch c := q.Config; {
	case !ok:
		return fmt.Errorf("process %d: %w", r.to.PID, ErrGone)
	case p.Busy:
		return fmt.Errorf("process %d: %w: by its own torch.profiler, or by a request before", r.to.PID, ErrBusy)
	case q.LastNs > 0:
		return errors.New("there is nothing to look back at: Kineto keeps no past")
	case c.DelayIterations+c.MaxIterations+c.WaitIterations+c.WarmupIterations > 0:
		return errors.New("iterations cannot be counted from outside of a process: bound the session by its duration, or attach with the Python package")
	}
	for _, c := range r.captures {
		switch {
		case c.started && !isClosed(c.ended):
			return fmt.Errorf("process %d is not done with session %s: %w", r.to.PID, c.req.Session, ErrBusy)
		case !c.started && !c.dropped && c.req.Hub != q.Hub:
			return fmt.Errorf("process %d is armed for session %s of hub %q: %w", r.to.PID, c.req.Session, c.req.Hub, ErrBusy)
		case !c.started: // its hub has given it up
			r.drop(c)
		}
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// request is what the process is told; its file lies in c's directory.
func (r *Rank) request(c *capture, at time.Time) *request {
	d := time.Duration(c.req.MaxDurationNs)
	if d <= 0 || d >= protocol.DefaultMaxDuration {
		d = DefaultDuration
	}
	return &request{file: filepath.Join(r.to.TraceDir, c.base, traceName), start: at, duration: d, warmup: r.time.warmup,
		traceID: c.req.Session, cfg: c.req.Config}
}

// Start hands the request to the process and returns when it records, or with why it does not.
func (r *Rank) Start(ctx context.Context, q protocol.BeginRequest) (protocol.RankStatus, error) {
	r.mu.Lock()
	c := r.find(q.Session)
	if c == nil || c.dropped {
		r.mu.Unlock()
		return protocol.RankStatus{}, fmt.Errorf("session %s is not armed here", q.Session)
	}
	if !c.started {
		c.started = true
		r.wg.Go(func() { r.run(c, time.Unix(0, q.AtNs).Add(r.time.lead()).Truncate(time.Millisecond)) }) // as Kineto is told
	}
	r.mu.Unlock()
	select {
	case <-c.begun:
	case <-ctx.Done():
		return protocol.RankStatus{}, context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.status, nil
}

// run is the recording of one session: delivery, start, end, file.
func (r *Rank) run(c *capture, at time.Time) {
	defer close(c.ended)
	req := r.request(c, at)
	err := r.begin(c, req)
	if err != nil {
		r.fail(c, err)
		close(c.begun)
		return
	}
	close(c.begun)
	if sleep(r.ctx, time.Until(req.start.Add(req.duration))) == nil {
		r.stop(c, protocol.StoppedByMaxDuration, true)
	}
	if err := r.awaitTrace(c, req.start.Add(req.duration)); err != nil {
		r.fail(c, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.dropped {
		r.remove(c)
	}
}

// begin returns when the process records.
func (r *Rank) begin(c *capture, req *request) error {
	text, err := req.text()
	if err != nil {
		return err
	}
	last := req.start.Add(-r.time.tick - r.time.warmup) // later is too late for the warmup
	ctx, cancel := context.WithDeadlineCause(c.ctx, last, fmt.Errorf("process %d did not ask for %v", r.to.PID, r.time.poll+r.time.slack))
	defer cancel()
	if err := r.d.deliver(ctx, r.to.PID, text); err != nil {
		return fmt.Errorf("process %d was not told to record: %w", r.to.PID, err)
	}
	r.mu.Lock()
	c.until = req.start.Add(req.duration)
	r.mu.Unlock()
	if err := sleep(r.ctx, time.Until(req.start)); err != nil {
		return err
	}
	file := traceFile(traceName, r.to.PID)
	deadline := req.start.Add(r.time.appears)
	for !c.dir.exists(file+".tmp") && !c.dir.exists(file) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d took the request and does not record: its own profiler may be on; with KINETO_LOG_LEVEL=1 it says why", r.to.PID)
		}
		if err := sleep(r.ctx, r.time.look); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.status.State, c.status.StartedAtNs = protocol.StateRecording, req.start.UnixNano()
	return nil
}

// awaitTrace returns when the process has put its trace in place.
func (r *Rank) awaitTrace(c *capture, end time.Time) error {
	file := traceFile(traceName, r.to.PID)
	deadline := end.Add(r.time.writing)
	for !c.dir.exists(file) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d has not written its trace for %v", r.to.PID, r.time.writing)
		}
		if err := sleep(r.ctx, r.time.look); err != nil && !c.dir.exists(file) {
			return fmt.Errorf("there is no trace: %w", err)
		}
	}
	return nil
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop ends the session's part of the recording; notify tells the hub.
func (r *Rank) stop(c *capture, by protocol.StopCause, notify bool) {
	r.mu.Lock()
	m := r.member
	if c.status.State != protocol.StateRecording {
		r.mu.Unlock()
		return
	}
	now := time.Now()
	if !now.Before(c.until) { // whoever is first to see it
		by = protocol.StoppedByMaxDuration
	}
	c.status.State, c.status.StoppedBy, c.status.StoppedAtNs = protocol.StateStopped, by, min(now.UnixNano(), c.until.UnixNano())
	if rest := c.until.Sub(now); rest > r.time.tick {
		c.status.Reason = fmt.Sprintf("Kineto ends a recording when its time is over: the trace goes on for %v after the stop", rest.Round(time.Millisecond))
	}
	st := c.status
	r.mu.Unlock()
	if notify && m != nil {
		m.Notify(st)
	}
}

// fail ends c without a trace.
func (r *Rank) fail(c *capture, err error) {
	r.mu.Lock()
	c.err = err
	m, was := r.member, c.status.State
	if was == protocol.StateArmed || was == protocol.StateRecording {
		c.status.State, c.status.Reason = protocol.StateFailed, err.Error()
	}
	st := c.status
	if c.dropped {
		r.remove(c)
	}
	r.mu.Unlock()
	if was == protocol.StateRecording && m != nil && !errors.Is(err, errClosed) {
		m.Notify(st)
	}
}

// Stop ends the session here; see Rank.
func (r *Rank) Stop(_ context.Context, q protocol.StopRequest) (protocol.RankStatus, error) {
	r.mu.Lock()
	c := r.find(q.Session)
	r.mu.Unlock()
	if c == nil {
		return protocol.RankStatus{}, fmt.Errorf("session %s is unknown here", q.Session)
	}
	r.stop(c, protocol.StoppedByRequest, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.status, nil
}

// Collect waits for the trace and hands it over, packed if the config says so.
func (r *Rank) Collect(ctx context.Context, q protocol.CollectRequest) (protocol.RankStatus, rank.Handover, error) {
	r.mu.Lock()
	c := r.find(q.Session)
	r.mu.Unlock()
	if c == nil {
		return protocol.RankStatus{}, rank.Handover{}, fmt.Errorf("session %s is unknown here", q.Session)
	}
	select {
	case <-c.ended:
	case <-ctx.Done():
		return protocol.RankStatus{}, rank.Handover{}, fmt.Errorf("process %d still writes its trace: %w", r.to.PID, context.Cause(ctx))
	}
	r.mu.Lock()
	st, err := c.status, c.err
	r.mu.Unlock()
	if err != nil {
		return st, rank.Handover{}, err
	}
	f, events, err := r.packed.pack(ctx, c.dir, traceFile(traceName, r.to.PID), c.base, c.req.Config.UseGzip)
	if err != nil {
		return st, rank.Handover{}, fmt.Errorf("process %d: %w", r.to.PID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.status.Events = events
	return c.status, rank.Handover{Files: []rank.File{f}}, nil
}

// Abort drops a session. What the process was told it does to the end: its files go then.
func (r *Rank) Abort(_ context.Context, q protocol.AbortRequest) (protocol.RankStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.find(q.Session)
	if c == nil {
		return protocol.RankStatus{State: protocol.StateIdle}, nil
	}
	if !q.Keep {
		r.drop(c)
	}
	return protocol.RankStatus{State: protocol.StateIdle, Session: q.Session}, nil
}

// drop removes c's files, now or when the process is done with them. The caller has r.mu.
func (r *Rank) drop(c *capture) {
	c.dropped = true
	c.cancel(errors.New("the session was aborted"))
	if !c.started || isClosed(c.ended) {
		r.remove(c)
	}
}

func (r *Rank) remove(c *capture) {
	c.cancel(errClosed)
	err := errors.Join(c.dir.remove(), r.packed.remove(c.base))
	if err != nil {
		r.log.Warn("files of a recording stay", "dir", filepath.Join(r.to.TraceDir, c.base), "err", err)
	}
}

// Status says what the process does.
func (r *Rank) Status(context.Context) protocol.RankStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.captures); n > 0 && !r.captures[n-1].dropped {
		return r.captures[n-1].status
	}
	return protocol.RankStatus{State: protocol.StateIdle}
}

// Call answers what every rank answers: ping, info and flight.
func (r *Rank) Call(_ context.Context, q protocol.CallRequest) (any, error) {
	p, ok := r.d.Process(r.to.PID)
	if !ok {
		return nil, ErrGone
	}
	switch q.Method {
	case protocol.CallPing:
		return "pong", nil
	case protocol.CallInfo:
		return map[string]any{"engine": protocol.EngineKineto, "pid": p.PID, "busy": p.Busy, "last_asked": p.LastAsked.UTC(), "dropped_messages": r.d.Dropped()}, nil
	case protocol.CallFlight:
		return false, nil
	}
	return nil, fmt.Errorf("%s: Kineto's processes answer ping, info and flight", q.Method)
}

var (
	_ rank.Handler  = (*Rank)(nil)
	_ rank.Observer = (*Rank)(nil)
)
