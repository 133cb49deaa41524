package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/procs"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
)

// maxRanks bounds the ranks of one server.
const maxRanks = 1024

// timing has the time limits of the driver; tests shorten them.
type timing struct {
	flush  time.Duration // how long files may take after a stop: minutes were seen, more with stacks
	free   time.Duration // how long an arm waits until the previous session's files are written
	quiet  time.Duration // the files are complete if none has grown for so long after the stop
	look   time.Duration // how often the directory is looked at
	ask    time.Duration // how often a server that records is asked whether it lives
	start  time.Duration // bounds a start: an answer takes as long as a step
	apart  time.Duration // between two starts of a server that names directories by the second
	report time.Duration // how long a report of Nsight Systems may take to appear after the stop
	meter  time.Duration // how often a server that records is asked for its metrics
}

func realTiming() timing {
	return timing{flush: 30 * time.Minute, free: 8 * time.Second, quiet: 3 * time.Second, look: 100 * time.Millisecond,
		report: 5 * time.Minute, ask: 2 * time.Second, start: 8 * time.Second, apart: 1100 * time.Millisecond,
		meter: 500 * time.Millisecond}
}

// maxUnanswered is how many questions in a row a server may leave unanswered before it counts as
// lost, three minutes: it does not answer while a step runs or a trace is made, which has taken over a
// minute on a host that is short of processors.
const maxUnanswered = 90

// refused is how many refused connections in a row show that a server has ended. A busy server
// accepts connections and does not answer.
const refused = 2

// errServerEnded is why the driver gives up a stop. A server that has lost a worker never answers
// the stop: before it ends, it waits for its connections to close.
var errServerEnded = errors.New("the server has ended: it takes no connection any more")

// Driver records one server, or one stage of a server that has several. It is a
// driver.Driver.
type Driver struct {
	to     Target
	e      engine
	c      *client
	log    *slog.Logger
	time   timing
	ctx    context.Context // of work that outlives a call; ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	rank   protocol.RankID
	free   func(dir string) (int64, bool) // store.Free
	apart  int                            // see Seat; 0 is 1
	// replica returns which data-parallel replica a process of this host works for, if titles say it.
	replica func(pid int) (int, bool)
	stops   stops
	shared  *shared // starts and stops together with the drivers of other stages; nil: alone

	mu    sync.Mutex
	facts Facts  // of the last probe
	dir   string // where files appear, once known
	last  *capture
	cost  cost // of the last session
}

// Option changes a Driver.
type Option func(*Driver)

// New returns the driver of the rank id, which stands for all ranks of the server. It does not ask
// the server anything; Probe does, and each session does again. Close ends the driver.
func New(to Target, id protocol.RankID, log *slog.Logger, opts ...Option) (*Driver, error) {
	d := &Driver{to: to, e: engines[to.Engine], log: log, time: realTiming(), rank: id, free: store.Free,
		replica: func(pid int) (int, bool) { return procs.ReplicaOf(procRoot, pid) }}
	if d.e == nil {
		return nil, fmt.Errorf("%s: no engine that is driven over HTTP", to.Engine)
	}
	if d.e.layout().stages && to.Stages == nil {
		return nil, fmt.Errorf("%s has several stages: name all of them in their order, stages=NAME,NAME", to)
	}
	var err error
	if d.c, err = newClient(to); err != nil {
		return nil, err
	}
	for _, o := range opts {
		o(d)
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// Open returns the driver of a server, after the server has said that it can be profiled.
func Open(ctx context.Context, to Target, id protocol.RankID, log *slog.Logger, opts ...Option) (*Driver, error) {
	d, err := New(to, id, log, opts...)
	if err != nil {
		return nil, err
	}
	if err := d.Probe(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Probe asks the server what it is and whether it can be profiled, and finds the directory of its
// files.
func (d *Driver) Probe(ctx context.Context) error {
	facts, err := d.e.probe(ctx, d.c, d.to)
	if err != nil {
		return fmt.Errorf("%s cannot be profiled: %w", d.to, plain(err))
	}
	if d.to.Ranks > 0 {
		facts.Ranks = d.to.Ranks
	}
	if facts.mute {
		facts.Replicas = d.Facts().Replicas // a server seldom changes them, and its metrics are slow under load
	}
	facts.Nsys = d.to.Nsys || rangesOfCUDA(d.to, d.e)
	if facts.Models = d.Facts().Models; facts.Models == nil {
		facts.Models = models(ctx, d.c)
	}
	dir := d.to.Dir
	if dir == "" {
		if dir, err = findDir(d.to, d.e); err != nil {
			return fmt.Errorf("%s: %w", d.to, err)
		}
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return fmt.Errorf("%s writes to %s, which is no directory here: "+
			"give the path under which it is seen, with dir: %w", d.to, dir, errors.Join(err, fs.ErrNotExist))
	}
	d.mu.Lock()
	d.facts, d.dir = facts, dir
	d.mu.Unlock()
	return nil
}

// Facts returns what the server said of itself at the last Probe.
func (d *Driver) Facts() Facts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.facts
}

// Dir returns the directory in which the server's files are expected, "" before it is known.
func (d *Driver) Dir() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dir
}

// Close tells the server to stop if it still records, and gives up waiting for it once the stop is
// on its way. A server that is still writing goes on.
func (d *Driver) Close() error {
	d.mu.Lock()
	last := d.last
	d.mu.Unlock()
	if last != nil {
		last.quit()
	}
	if !d.stops.wait(lastStop) {
		d.log.Warn("a profiler may still be on: the server did not take the stop", "target", d.to.String(),
			"stop it with", "POST "+d.Facts().Stop)
	}
	d.cancel()
	d.wg.Wait()
	d.c.http.CloseIdleConnections()
	return nil
}

// Capabilities returns those of the server at the last Probe.
func (d *Driver) Capabilities() driver.Capabilities {
	f := d.Facts()
	c := driver.Capabilities{
		NoPast:     "there is nothing to look back at: the server keeps no past",
		NoSampling: "requests cannot be told apart from outside of the server: leave sample_requests out",
		NoBytes:    "the server's profiler cannot end at a size: bound the session by its duration or by max_iterations",
		NoWarmup:   "wait and warm-up iterations are the server's own, fixed when it was started",
		Flush:      d.time.flush, Lead: d.time.start,
	}
	if f.Steps {
		c.Iterations = driver.IterationsCounted
	} else {
		c.NoIterations = "this release of the server counts no steps for a session: bound it by its duration"
		c.NoWarmup = ""
	}
	if f.Steps && !f.Delay {
		c.NoDelay = "the server has no delay from now on: leave delay_iterations out"
	}
	return c
}

// Call answers the methods that every rank answers: ping, info and flight.
func (d *Driver) Call(_ context.Context, method string, _ map[string]any) (any, error) {
	switch method {
	case protocol.CallPing:
		return "pong", nil
	case protocol.CallInfo:
		f := d.Facts()
		return map[string]any{"engine": d.to.Engine, "url": d.to.URL, "version": f.Version, "dir": d.Dir(),
			"ranks": f.Ranks}, nil
	case protocol.CallFlight:
		return false, nil
	}
	return nil, fmt.Errorf("%s: servers answer ping, info and flight", method)
}

// Prepare checks that the server answers, waits until the previous session's files are written, and
// lists the files that are already in the directory.
func (d *Driver) Prepare(ctx context.Context, j driver.Job) (driver.Capture, error) {
	d.mu.Lock()
	last := d.last
	d.mu.Unlock()
	if last != nil {
		patience := time.NewTimer(d.time.free)
		defer patience.Stop()
		select {
		case <-last.done:
		case <-patience.C:
			return nil, fmt.Errorf("%s still writes session %s, or has not answered its stop", d.to, last.job.Session)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if last != nil && d.e.layout().deep {
		if err := wait.For(ctx, d.time.apart-time.Since(last.at)); err != nil {
			return nil, err
		}
	}
	// The server is probed for each session: it may have been replaced by another release.
	if err := d.Probe(ctx); err != nil {
		return nil, err
	}
	if err := d.room(d.Dir(), j); err != nil {
		return nil, fmt.Errorf("%s: %w", d.to, err)
	}
	c := &capture{d: d, job: j, done: make(chan struct{}), over: make(chan struct{})}
	// Several servers of a session may write to one directory, so the session's id alone would not
	// tell their files apart. Every release accepts letters and digits in a prefix.
	c.tag = fmt.Sprintf("%ss%dr%d", j.Session, d.rank.Stage, d.rank.Replica)
	if d.shared != nil {
		c.tag = fmt.Sprintf("%ss%dr%d", j.Session, d.shared.first.Stage, d.shared.first.Replica)
	}
	c.dir = d.Dir()
	c.round = round{facts: d.Facts(), to: d.to, job: j, tag: c.tag}
	c.round.to.Dir = c.dir
	c.start = d.e.start(c.round)
	var err error
	if c.folder, err = openFolder(c.dir, c.start.own); err != nil {
		return nil, fmt.Errorf("%s: directory of its files: %w", d.to, err)
	}
	if c.own = c.start.own; c.own != "" {
		c.dir = c.own
	} else {
		c.before = c.folder.list(d.e.layout().deep)
	}
	return c, nil
}

// plain is an error of package net/http without the URL, which the caller names.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// capture is one session on the server.
type capture struct {
	d      *Driver
	job    driver.Job
	tag    string // the session's name on this server
	round  round
	start  start
	dir    string          // where files appear
	own    string          // the same if it was made for this session alone, else ""
	at     time.Time       // when it began
	until  time.Time       // when it was told to end
	folder *folder         // that directory
	before map[string]seen // files that were there before, in a directory that is not the session's own
	over   chan struct{}   // closed when recording is to end
	done   chan struct{}   // closed when the server has written, or will not
	result driver.Files    // valid after done, as is err
	err    error
	// metered are the server's metrics meanwhile; nil if nobody asks for them.
	metered *metered

	mu      sync.Mutex
	began   bool
	ended   bool
	dropped bool
	undone  bool            // see undo
	judged  bool            // set by the goroutine that closes done
	stopped answer          // to /stop_profile
	ends    map[string]end  // ends of files that were read
	heads   map[string]head // beginnings of files that were read
	titles  map[int]int     // replicas by process, as titles said
	listed  map[string]seen // the session's files at the last look
}

// Begin starts the server's profiler.
func (c *capture) Begin(ctx context.Context) (driver.Began, error) {
	ctx, cancel := context.WithTimeout(ctx, c.d.time.start)
	defer cancel()
	a, err := c.d.begin(ctx, c)
	if err != nil {
		c.undo() // it is not known whether the start arrived
		return driver.Began{}, fmt.Errorf("%s: POST %s: %w", c.d.to, c.round.facts.Start, plain(err))
	}
	if !a.ok() {
		close(c.done)
		return driver.Began{}, fmt.Errorf("%s: %w", c.d.to, c.d.e.refused(a))
	}
	if err := c.d.e.began(a); err != nil {
		c.undo() // other stages may have begun
		return driver.Began{}, fmt.Errorf("%s: %w", c.d.to, err)
	}
	c.at = time.Now()
	if c.d.to.Part == 0 && !c.d.to.NoMetrics { // stages of one server have its metrics in common
		c.metered = &metered{over: make(chan struct{}), done: make(chan struct{}),
			every: max(c.d.time.meter, time.Millisecond)}
		c.d.wg.Go(c.meter)
	}
	c.outlast(&c.began)
	c.d.wg.Go(c.watch)
	return driver.Began{At: c.job.Now()}, nil
}

// outlast sets began or undone, and has the next session wait for this one's end.
func (c *capture) outlast(why *bool) {
	c.mu.Lock()
	*why = true
	c.mu.Unlock()
	c.d.mu.Lock()
	c.d.last = c
	c.d.mu.Unlock()
}

// undo stops what a start without an answer may have begun, and then removes what the server has
// written. The next session waits for that: a stop that comes after its start would end it.
func (c *capture) undo() {
	c.outlast(&c.undone)
	sent := c.d.stops.add()
	c.d.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.d.ctx, c.d.time.flush)
		defer cancel()
		if _, err := c.d.finish(ctx, c, sent); err != nil {
			c.d.log.Warn("a profiler may still be on", "target", c.d.to.String(), "err", err)
		}
		c.remove()
		close(c.done)
	})
}

// watch asks whether the server is alive, until the recording is to end. If the server counts
// steps, watch also looks whether its ranks have written their files.
func (c *capture) watch() {
	ask, look := time.NewTicker(c.d.time.ask), time.NewTicker(c.d.time.look)
	defer ask.Stop()
	defer look.Stop()
	unanswered := 0
	for {
		select {
		case <-c.over:
			return
		case <-c.d.ctx.Done():
			return
		case <-ask.C:
			ctx, cancel := context.WithTimeout(c.d.ctx, c.d.time.ask)
			_, err := c.d.c.call(ctx, http.MethodGet, "/health", nil)
			cancel()
			if unanswered++; err == nil {
				unanswered = 0
			}
			if unanswered >= maxUnanswered || unanswered >= refused && errors.Is(err, syscall.ECONNREFUSED) {
				c.job.Over("", fmt.Errorf("%s does not answer any more: %w", c.d.to, plain(err)))
				c.finish(fmt.Errorf("%s has ended: %w", c.d.to, plain(err)))
				return
			}
		case <-look.C:
			if c.job.Config.MaxIterations > 0 && c.find().complete() {
				c.job.Over(protocol.StoppedByIterations, nil)
				return
			}
		}
	}
}

// End tells the server to stop and returns at once; waiting for the files goes on in a goroutine,
// because a server answers the stop only when everything is written.
func (c *capture) End(context.Context) (driver.Ended, error) {
	e := driver.Ended{At: c.job.Now(), Note: c.d.e.lacks(c.job.Config)}
	c.mu.Lock()
	c.until = time.Now()
	c.mu.Unlock()
	c.quit()
	c.metered.end()
	return e, nil
}

// write runs from the stop to the last file. Sent is for Driver.finish.
func (c *capture) write(sent func()) {
	ctx, cancel := context.WithTimeout(c.d.ctx, c.d.time.flush)
	defer cancel()
	answered := make(chan error, 1)
	asked, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	c.d.wg.Go(func() {
		a, err := c.d.finish(asked, c, sent)
		if cause := context.Cause(asked); err != nil && cause != nil {
			err = cause
		}
		c.mu.Lock()
		c.stopped = a
		c.mu.Unlock()
		giveUp(nil) // nothing to ask for any more
		answered <- err
	})
	c.d.wg.Go(func() { c.whileItListens(asked, giveUp) })
	c.finish(c.await(ctx, answered))
}

// whileItListens calls giveUp once the server accepts no connection any more.
func (c *capture) whileItListens(ctx context.Context, giveUp context.CancelCauseFunc) {
	ask := time.NewTicker(c.d.time.ask)
	defer ask.Stop()
	for n := 0; n < refused; {
		select {
		case <-ctx.Done():
			return
		case <-ask.C:
		}
		ask, cancel := context.WithTimeout(ctx, c.d.time.ask)
		_, err := c.d.c.call(ask, http.MethodGet, "/health", nil)
		cancel()
		if n++; !errors.Is(err, syscall.ECONNREFUSED) {
			n = 0
		}
	}
	giveUp(errServerEnded)
}

// finish judges the files once no more are expected; err says why that may be too early.
func (c *capture) finish(err error) {
	c.mu.Lock()
	if c.judged {
		c.mu.Unlock()
		return
	}
	c.judged = true
	c.mu.Unlock()
	c.metered.end()
	c.result, c.err = c.judge(err)
	c.spent()
	c.mu.Lock()
	dropped := c.dropped
	close(c.done)
	c.mu.Unlock()
	if dropped {
		c.remove()
	}
}

// answered returns the server's answer to the stop, the zero answer before it came.
func (c *capture) answered() answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// Files waits for the server's files.
func (c *capture) Files(ctx context.Context) (driver.Files, error) {
	select {
	case <-c.done:
		return c.result, c.err
	case <-ctx.Done():
		return driver.Files{}, fmt.Errorf("%s still writes: %w", c.d.to, context.Cause(ctx))
	}
}

// Written returns how many bytes the server has written so far.
func (c *capture) Written() int64 {
	var n int64
	for _, f := range c.find().files {
		n += f.size
	}
	return n
}

// Writing returns how far the server's files are.
func (c *capture) Writing() protocol.Writing { return c.find().writing() }

// quit tells the server to stop if nobody has.
func (c *capture) quit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.began || c.ended {
		return
	}
	c.ended = true
	close(c.over)
	sent := c.d.stops.add()
	c.d.wg.Go(func() { c.write(sent) })
}

// Discard removes the session's files, at once or when they are written.
func (c *capture) Discard() error {
	c.quit()
	c.mu.Lock()
	c.dropped = true
	wait := c.began || c.undone
	select {
	case <-c.done:
		wait = false
	default:
	}
	c.mu.Unlock()
	if !wait {
		c.remove()
	}
	return nil
}

// remove removes the files that the session's name is on. Files that may be others' stay.
func (c *capture) remove() {
	c.metered.end()
	var err error
	switch {
	case c.d.to.Keep:
	case c.own != "" && c.d.shared == nil:
		err = c.folder.removeOwn(true)
	default:
		// A directory that a start has made belongs to the session: no other server of a pipeline
		// writes there, and this one has one session at a time.
		all := c.own != "" || c.round.facts.Prefix || c.d.e.layout().deep
		for _, f := range c.find().files {
			if all || strings.HasPrefix(f.name, c.tag+"_") {
				err = errors.Join(err, c.folder.remove(f.name))
			}
		}
		err = errors.Join(err, c.folder.removeOwn(false))
	}
	if err = errors.Join(err, c.folder.close()); err != nil {
		c.d.log.Warn("files of a recording stay with the server", "target", c.d.to.String(), "err", err)
	}
}

var (
	_ driver.Driver = (*Driver)(nil)
	_ driver.Writer = (*capture)(nil)
)
