package kinetod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/wait"
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
	// slack is the time for the rest: a late question, a late thread.
	slack = time.Second
	// busy is how much later than its tick libkineto's thread may come on a host whose CPUs
	// are all taken: it drops a request for which less than the warmup is left.
	busy = 2 * time.Second
	// appears is how long after the start the trace's temporary file may be missing.
	appears = time.Second
	// early is how much sooner than it must a process is told of a start: timers come late.
	early = 500 * time.Millisecond
	// writing bounds how long a process may write its trace; with Python stacks that takes minutes.
	writing = 10 * time.Minute
	// look is how often the trace's directory is looked at.
	look = 50 * time.Millisecond
	// traceName is the trace's name in its directory, before libkineto puts the pid into it.
	traceName = "trace.json"
)

// Reasons of what Kineto cannot do.
const (
	noIterations = "iterations cannot be counted from outside of a process: bound the session by its duration, " +
		"or attach with the Python package"
	noPast     = "there is nothing to look back at: Kineto keeps no past"
	noSampling = "requests cannot be told apart from outside of a process: leave sample_requests out, " +
		"or attach with the Python package"
)

// timing are the constants above, which tests shorten.
type timing struct {
	poll, tick, warmup, slack, busy, appears, writing, look time.Duration
}

func realTiming() timing {
	return timing{PollInterval, tick, warmup, slack, busy, appears, writing, look}
}

// lead is how long after the agreed instant recording begins: by then every process has
// asked and has warmed up. It is the same for all, so that they begin together.
func (t *timing) lead() time.Duration { return t.poll + t.slack + t.ahead() }

// ahead is how long before its start a process has to have the request.
func (t *timing) ahead() time.Duration { return t.busy + t.tick + t.warmup }

// Target is the process that a Driver records.
type Target struct {
	PID int // in the agent's PID namespace, which is to be the process's own
	// User is whose the process is, and whose rights are enough for all that is done in
	// its directories.
	User User
	// TraceDir is an absolute path under which the process may write, DefaultTraceDir if
	// empty; it has to be there.
	TraceDir string
}

// Driver records one process. It is a driver.Driver and a driver.Keeper.
//
// Kineto records for a time that it is told before, from an instant that it is told
// before. So recording begins some seconds after the instant the session agreed on, on
// all processes at once; an end before its time is only the session's, and the process goes
// on, which Files waits for.
type Driver struct {
	d    *Daemon
	to   Target
	log  *slog.Logger
	time timing

	ctx    context.Context // of what watches files; ends with Close or the process
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	packed packing

	mu       sync.Mutex
	captures map[*capture]bool // that have a directory
	last     *capture          // that was told to the process
}

// New returns the driver of a process that d knows. Close ends it.
func New(d *Daemon, to Target, log *slog.Logger) *Driver { return newDriver(d, to, log, realTiming()) }

func newDriver(d *Daemon, to Target, log *slog.Logger, t timing) *Driver {
	if to.TraceDir == "" {
		to.TraceDir = DefaultTraceDir
	}
	k := &Driver{d: d, to: to, log: log, time: t, captures: map[*capture]bool{}}
	k.ctx, k.cancel = context.WithCancelCause(context.Background())
	return k
}

// errClosed is the cause with which work under way is given up.
var errClosed = errors.New("the agent leaves")

// Ended says that the process has ended. What it has not written yet will not come; what it has
// written stays until it is collected.
func (k *Driver) Ended() { k.cancel(fmt.Errorf("process %d has ended", k.to.PID)) }

// Close gives up what is under way and removes all files.
func (k *Driver) Close() error {
	k.cancel(errClosed)
	k.wg.Wait()
	k.mu.Lock()
	var all []*capture
	for c := range k.captures {
		all = append(all, c)
	}
	k.mu.Unlock()
	var err error
	for _, c := range all {
		err = errors.Join(err, c.remove())
	}
	return errors.Join(err, k.packed.close())
}

// Capabilities are few: Kineto's daemon protocol has a duration and nothing else.
func (k *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{NoIterations: noIterations, NoPast: noPast, NoSampling: noSampling,
		Lead: k.time.lead() + k.time.appears, Ahead: k.time.lead() + early, Flush: k.time.writing}
}

// Prepare refuses what Kineto cannot do, and makes the directory for the trace.
func (k *Driver) Prepare(ctx context.Context, j driver.Job) (driver.Capture, error) {
	k.awaitIdle(ctx)
	p, ok := k.d.Process(k.to.PID)
	k.mu.Lock()
	last := k.last
	k.mu.Unlock()
	switch {
	case !ok:
		return nil, fmt.Errorf("process %d: %w", k.to.PID, ErrGone)
	case last != nil && !isClosed(last.ended):
		return nil, fmt.Errorf("process %d is not done with session %s: %w", k.to.PID, last.job.Session, ErrBusy)
	case p.Busy:
		return nil, fmt.Errorf("process %d: %w: by its own torch.profiler, or by a request before", k.to.PID, ErrBusy)
	}
	c := &capture{k: k, job: j, base: dirName(j.Session, k.to.PID), ended: make(chan struct{})}
	if _, err := c.request(time.Now()).text(); err != nil {
		return nil, err
	}
	k.sweep()
	var err error
	if c.dir, err = makeTraceDir(k.to.User, k.to.TraceDir, c.base); err != nil {
		return nil, fmt.Errorf("process %d: %w", k.to.PID, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.captures[c] = true
	return c, nil
}

// awaitIdle gives a process that was busy when it last asked the time to ask again: after a
// recording it is known to be idle only then.
func (k *Driver) awaitIdle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, k.time.poll+k.time.slack)
	defer cancel()
	for {
		if p, ok := k.d.Process(k.to.PID); !ok || !p.Busy || wait.For(ctx, k.time.look) != nil {
			return
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Call answers what every rank answers: ping, info and flight.
func (k *Driver) Call(_ context.Context, method string, _ map[string]any) (any, error) {
	p, ok := k.d.Process(k.to.PID)
	if !ok {
		return nil, ErrGone
	}
	switch method {
	case protocol.CallPing:
		return "pong", nil
	case protocol.CallInfo:
		return map[string]any{"engine": protocol.EngineKineto, "pid": p.PID, "busy": p.Busy,
			"last_asked": p.LastAsked.UTC(), "dropped_messages": k.d.Dropped()}, nil
	case protocol.CallFlight:
		return false, nil
	}
	return nil, fmt.Errorf("%s: Kineto's processes answer ping, info and flight", method)
}

// capture is one session on the process.
type capture struct {
	k    *Driver
	job  driver.Job
	base string // its directory's name
	dir  *traceDir
	// ended is closed when the trace exists or it is certain that it never will. If the process was
	// never told to record, there is nothing to wait for.
	ended chan struct{}
	err   error // why there is not a trace; valid after ended

	packing sync.Mutex
	handed  *driver.Files // what Files has answered

	mu      sync.Mutex
	until   time.Time // when the process ends to record
	told    bool      // the process has the request
	dropped bool      // the files are not needed any more
	removed bool
}

// request is what the process is told; its file lies in c's directory.
func (c *capture) request(at time.Time) *request {
	d := c.job.MaxDuration
	if d <= 0 || d >= protocol.DefaultMaxDuration {
		d = DefaultDuration
	}
	return &request{file: filepath.Join(c.k.to.TraceDir, c.base, traceName), start: at, duration: d,
		warmup: c.k.time.warmup, traceID: c.job.Session, cfg: c.job.Config}
}

// Begin is BeginAt as soon as the process can.
func (c *capture) Begin(ctx context.Context) (driver.Began, error) {
	return c.BeginAt(ctx, time.Time{})
}

// BeginAt hands the request to the process and returns when it records.
func (c *capture) BeginAt(ctx context.Context, at time.Time) (driver.Began, error) {
	k := c.k
	if soonest := time.Now().Add(k.time.lead()); at.Before(soonest) {
		at = soonest
	}
	at = at.Truncate(time.Millisecond) // as Kineto is told
	req := c.request(at)
	text, err := req.text()
	if err != nil {
		return driver.Began{}, err
	}
	last, cancel := context.WithDeadlineCause(ctx, at.Add(-k.time.ahead()), // later is too late for the warmup
		fmt.Errorf("process %d did not ask for %v", k.to.PID, k.time.poll+k.time.slack))
	defer cancel()
	if err := k.d.deliver(last, k.to.PID, text); err != nil {
		return driver.Began{}, fmt.Errorf("process %d was not told to record: %w", k.to.PID, err)
	}
	until := at.Add(req.duration)
	c.mu.Lock()
	c.told, c.until = true, until
	c.mu.Unlock()
	k.mu.Lock()
	k.last = c
	k.mu.Unlock()
	k.wg.Go(func() { c.watch(at, until) })
	if err := wait.For(ctx, time.Until(at)); err != nil {
		return driver.Began{}, err
	}
	deadline := at.Add(k.time.appears)
	for !c.dir.exists(c.tmp()) && !c.dir.exists(c.file()) {
		if time.Now().After(deadline) {
			return driver.Began{},
				fmt.Errorf("process %d took the request and does not record: its own profiler may be on; "+
					"with KINETO_LOG_LEVEL=1 it says why", k.to.PID)
		}
		if err := wait.For(ctx, k.time.look); err != nil {
			return driver.Began{}, err
		}
	}
	return driver.Began{At: at, Until: until}, nil
}

// file and tmp are the trace's names in its directory, whole and while it is written.
func (c *capture) file() string { return traceFile(traceName, c.k.to.PID) }
func (c *capture) tmp() string  { return c.file() + ".tmp" }

// watch waits until the process has put its trace in place, or will not.
func (c *capture) watch(at, until time.Time) {
	err := c.awaitTrace(at, until)
	if err != nil && time.Now().Before(until) {
		c.job.Over("", err)
	}
	c.mu.Lock()
	c.err = err
	dropped := c.dropped
	close(c.ended)
	c.mu.Unlock()
	if dropped {
		if err := c.remove(); err != nil {
			c.k.log.Warn("files of a recording stay", "dir", filepath.Join(c.k.to.TraceDir, c.base), "err", err)
		}
	}
}

func (c *capture) awaitTrace(at, until time.Time) error {
	k := c.k
	for {
		if c.dir.exists(c.file()) {
			return nil
		}
		if time.Now().After(until.Add(k.time.writing)) {
			return fmt.Errorf("process %d has not written its trace for %v", k.to.PID, k.time.writing)
		}
		if n := c.dir.size(c.tmp()); c.job.MaxBytes > 0 && n > c.job.MaxBytes {
			return fmt.Errorf("process %d writes a trace of more than max_bytes %d: "+
				"record for less long, or without stacks and shapes", k.to.PID, c.job.MaxBytes)
		} else if c.idle(at) && n <= 0 && !c.dir.exists(c.file()) {
			return fmt.Errorf("process %d took the request and does not record: "+
				"libkineto drops one that leaves too little time for its warm-up on a busy host, or that meets another profiler; "+
				"with KINETO_LOG_LEVEL=1 the process says which", k.to.PID)
		}
		if err := wait.For(k.ctx, k.time.look); err != nil && !c.dir.exists(c.file()) {
			return fmt.Errorf("there is no trace: %w", err)
		}
	}
}

// idle reports whether the process has asked for a config, after it should have begun to record,
// and said that its profiler is off. A process that records, or writes its recording, says that it
// is busy.
func (c *capture) idle(at time.Time) bool {
	p, ok := c.k.d.Process(c.k.to.PID)
	return ok && !p.Busy && p.LastAsked.After(at.Add(c.k.time.slack))
}

// End ends the session's part of the recording.
func (c *capture) End(context.Context) (driver.Ended, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := driver.Ended{At: time.Now()}
	if rest := c.until.Sub(e.At); rest > c.k.time.tick {
		e.Note = fmt.Sprintf("Kineto ends a recording when its time is over: the trace goes on for %v after the stop",
			rest.Round(time.Millisecond))
	}
	return e, nil
}

// Files waits for the trace and compresses it if the config says so.
func (c *capture) Files(ctx context.Context) (driver.Files, error) {
	select {
	case <-c.ended:
	case <-ctx.Done():
		return driver.Files{}, fmt.Errorf("process %d still writes its trace: %w", c.k.to.PID, context.Cause(ctx))
	}
	if c.err != nil {
		return driver.Files{}, c.err
	}
	c.packing.Lock()
	defer c.packing.Unlock()
	if c.handed != nil {
		return *c.handed, nil
	}
	if n := c.dir.size(c.file()); c.job.MaxBytes > 0 && n > c.job.MaxBytes {
		return driver.Files{}, fmt.Errorf("process %d has written a trace of %d bytes, more than max_bytes %d",
			c.k.to.PID, n, c.job.MaxBytes)
	}
	f, events, err := c.k.packed.pack(ctx, c.dir, c.file(), c.base, c.job.Config.UseGzip)
	if err != nil {
		return driver.Files{}, fmt.Errorf("process %d: %w", c.k.to.PID, err)
	}
	c.handed = &driver.Files{Files: []rank.File{f}, Events: events, Note: fewEvents(events)}
	return *c.handed, nil
}

// idleEvents is how many events a process leaves that did nothing: the span of the recording itself.
const idleEvents = 1

// fewEvents says of a trace with nothing in it that it has nothing, "" of any other.
func fewEvents(n uint64) string {
	if n > idleEvents {
		return ""
	}
	return "its trace is as good as empty: while it recorded, the process ran nothing that Kineto sees; " +
		"was there load, and is this the process that works?"
}

// Written is not known: Kineto writes when it has recorded.
func (c *capture) Written() int64 { return 0 }

// Writing is the trace, as far as the process has written it.
func (c *capture) Writing() protocol.Writing {
	if n := c.dir.size(c.file()); n > 0 {
		return protocol.Writing{Files: 1, Done: 1, Bytes: n}
	}
	if n := c.dir.size(c.tmp()); n >= 0 {
		return protocol.Writing{Files: 1, Bytes: n}
	}
	return protocol.Writing{}
}

// Discard removes the files, at once or when the process has finished with them: it cannot be told
// to stop.
func (c *capture) Discard() error {
	c.mu.Lock()
	c.dropped = true
	now := !c.told || isClosed(c.ended)
	c.mu.Unlock()
	if !now {
		return nil
	}
	return c.remove()
}

func (c *capture) remove() error {
	c.mu.Lock()
	done := c.removed
	c.removed = true
	c.mu.Unlock()
	if done {
		return nil
	}
	c.k.mu.Lock()
	delete(c.k.captures, c)
	c.k.mu.Unlock()
	return errors.Join(c.dir.remove(), c.k.packed.remove(c.base))
}

var (
	_ driver.Keeper = (*Driver)(nil)
	_ driver.Writer = (*capture)(nil)
	_ driver.Early  = (*capture)(nil)
)
