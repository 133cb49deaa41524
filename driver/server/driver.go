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
	"path/filepath"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// maxRanks bounds the ranks of one server.
const maxRanks = 1024

// timing are the bounds of the driver, which tests shorten.
type timing struct {
	flush time.Duration // how long after a stop files may take: minutes were seen, with stacks more
	free  time.Duration // how long an arm waits for the session before to be written
	quiet time.Duration // how long nothing may grow after the stop before what is there is all
	look  time.Duration // how often the directory is looked at
	ask   time.Duration // how often a server that records is asked whether it lives
	start time.Duration // bounds a start: an answer takes as long as a step
}

func realTiming() timing {
	return timing{flush: 30 * time.Minute, free: 8 * time.Second, quiet: 3 * time.Second, look: 100 * time.Millisecond,
		ask: 2 * time.Second, start: 8 * time.Second}
}

// deaf is how many questions in a row a server may leave unanswered: it answers none while
// a step runs.
const deaf = 5

// Driver records one server. It is a driver.Driver.
type Driver struct {
	to     Target
	facts  Facts
	e      engine
	c      *client
	log    *slog.Logger
	say    func(string) // progress; may be nil
	time   timing
	ctx    context.Context // of what goes on beside requests; ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	rank   protocol.RankID

	mu   sync.Mutex
	last *capture
}

// Option changes a Driver.
type Option func(*Driver)

// WithProgress has f called with what the driver waits for, now and then.
func WithProgress(f func(string)) Option { return func(d *Driver) { d.say = f } }

// Open asks a server what it is and whether it can be profiled, and returns the driver of
// the rank id, which stands for all of the server's. Close ends it.
func Open(ctx context.Context, to Target, id protocol.RankID, log *slog.Logger, opts ...Option) (*Driver, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	d := &Driver{to: to, e: engines[to.Engine], log: log, time: realTiming(), rank: id,
		c: &client{base: to.URL, token: to.Token, http: &http.Client{Transport: transport}}}
	for _, o := range opts {
		o(d)
	}
	if d.e == nil {
		return nil, fmt.Errorf("%s: no engine that is driven over HTTP", to.Engine)
	}
	var err error
	if d.facts, err = d.e.probe(ctx, d.c); err != nil {
		return nil, fmt.Errorf("%s cannot be profiled: %w", to, err)
	}
	if to.Ranks > 0 {
		d.facts.Ranks = to.Ranks
	}
	if d.to.Dir == "" {
		if d.to.Dir, err = findDir(to); err != nil {
			return nil, fmt.Errorf("%s: %w", to, err)
		}
	}
	if st, err := os.Stat(d.to.Dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("%s writes to %s, which is no directory here: "+
			"give the path under which it is seen, with ?dir=: %w", to, d.to.Dir, errors.Join(err, fs.ErrNotExist))
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// Facts are what the server said of itself.
func (d *Driver) Facts() Facts { return d.facts }

// Dir is where the server's files are expected.
func (d *Driver) Dir() string { return d.to.Dir }

// Close gives up what is under way. What the server writes it writes.
func (d *Driver) Close() error {
	d.cancel()
	d.wg.Wait()
	d.c.http.CloseIdleConnections()
	return nil
}

// Capabilities are the server's.
func (d *Driver) Capabilities() driver.Capabilities {
	c := driver.Capabilities{
		NoPast:     "there is nothing to look back at: the server keeps no past",
		NoSampling: "requests cannot be told apart from outside of the server: leave sample_requests out",
		NoBytes:    "the server's profiler cannot end at a size: bound the session by its duration or by max_iterations",
		NoWarmup:   "wait and warm-up iterations are the server's own, fixed when it was started",
		Flush:      d.time.flush, Lead: d.time.start,
	}
	if d.facts.Steps {
		c.Iterations = driver.IterationsCounted
	} else {
		c.NoIterations = "this release of the server counts no steps for a session: bound it by its duration"
	}
	if !d.facts.Delay {
		c.NoDelay = "the server has no delay from now on: leave delay_iterations out"
	}
	return c
}

// Call answers what every rank answers: ping, info and flight.
func (d *Driver) Call(_ context.Context, method string, _ map[string]any) (any, error) {
	switch method {
	case protocol.CallPing:
		return "pong", nil
	case protocol.CallInfo:
		return map[string]any{"engine": d.to.Engine, "url": d.to.URL, "version": d.facts.Version,
			"dir": d.to.Dir, "ranks": d.facts.Ranks}, nil
	case protocol.CallFlight:
		return false, nil
	}
	return nil, fmt.Errorf("%s: servers answer ping, info and flight", method)
}

// Prepare asks whether the server answers, waits for the session before, and lists what is
// in its directory already.
func (d *Driver) Prepare(ctx context.Context, j driver.Job) (driver.Capture, error) {
	d.mu.Lock()
	last := d.last
	d.mu.Unlock()
	if last != nil {
		wait := time.NewTimer(d.time.free)
		defer wait.Stop()
		select {
		case <-last.done:
		case <-wait.C:
			return nil, fmt.Errorf("%s still writes session %s", d.to, last.job.Session)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if _, err := d.c.get(ctx, "/health", nil); err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", d.to, plain(err))
	}
	c := &capture{d: d, job: j, done: make(chan struct{}), over: make(chan struct{})}
	// Servers of one session may write to one directory: the session's id alone would not
	// tell their files apart. Letters and digits are what every release takes in a prefix.
	c.tag = fmt.Sprintf("%ss%dr%d", j.Session, d.rank.Stage, d.rank.Replica)
	c.body, c.own = d.e.body(d.facts, j, c.tag, d.to.Dir)
	c.dir = d.to.Dir
	if c.own != "" {
		c.dir = c.own
	} else {
		c.before = list(c.dir)
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
	body   map[string]any
	dir    string          // where files appear
	own    string          // the same if it was made for this session alone, else ""
	before map[string]seen // what was there, in a directory that is not the session's own
	over   chan struct{}   // closed when recording is to end
	done   chan struct{}   // closed when the server has written, or will not
	result driver.Files    // valid after done, as is err
	err    error

	mu      sync.Mutex
	began   bool
	ended   bool
	dropped bool
	stopped answer // to /stop_profile
}

// Begin starts the server's profiler.
func (c *capture) Begin(ctx context.Context) (driver.Began, error) {
	ctx, cancel := context.WithTimeout(ctx, c.d.time.start)
	defer cancel()
	var body any
	if c.body != nil {
		body = c.body
	}
	a, err := c.d.c.call(ctx, http.MethodPost, "/start_profile", body)
	if err != nil {
		// Whether it has heard is not known: it is told to stop.
		c.d.wg.Go(func() { c.undo() })
		return driver.Began{}, fmt.Errorf("%s: POST /start_profile: %w", c.d.to, plain(err))
	}
	if !a.ok() {
		close(c.done)
		return driver.Began{}, fmt.Errorf("%s: %w", c.d.to, c.d.e.refused(a))
	}
	c.mu.Lock()
	c.began = true
	c.mu.Unlock()
	c.d.mu.Lock()
	c.d.last = c
	c.d.mu.Unlock()
	c.d.wg.Go(c.watch)
	return driver.Began{At: c.job.Now()}, nil
}

// undo ends what a start that was not answered may have begun.
func (c *capture) undo() {
	defer close(c.done)
	ctx, cancel := context.WithTimeout(c.d.ctx, c.d.time.flush)
	defer cancel()
	if _, err := c.d.c.call(ctx, http.MethodPost, "/stop_profile", nil); err != nil {
		c.d.log.Warn("a profiler may still be on", "target", c.d.to.String(), "err", err)
	}
	c.remove()
}

// watch asks whether the server lives and, where it counts the steps, whether its ranks
// have written, until the recording is to end.
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
			if unanswered >= deaf {
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

// End tells the server to stop, and waits for its files beside: a stop is answered when all
// is written.
func (c *capture) End(context.Context) (driver.Ended, error) {
	e := driver.Ended{At: c.job.Now(), Note: c.d.e.lacks(c.job.Config)}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	close(c.over)
	c.d.wg.Go(c.write)
	return e, nil
}

// write is the time from the stop to the last file.
func (c *capture) write() {
	ctx, cancel := context.WithTimeout(c.d.ctx, c.d.time.flush)
	defer cancel()
	answered := make(chan error, 1)
	c.d.wg.Go(func() {
		a, err := c.d.c.call(ctx, http.MethodPost, "/stop_profile", nil)
		c.mu.Lock()
		c.stopped = a
		c.mu.Unlock()
		answered <- err
	})
	c.finish(c.await(ctx, answered))
}

// finish judges what is there once nothing more is to come; err is why it may be too early.
func (c *capture) finish(err error) {
	c.mu.Lock()
	select {
	case <-c.done:
		c.mu.Unlock()
		return
	default:
	}
	c.result, c.err = c.judge(err)
	dropped := c.dropped
	close(c.done)
	c.mu.Unlock()
	if dropped {
		c.remove()
	}
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

// Written is how much the server has written so far.
func (c *capture) Written() int64 {
	var n int64
	for _, f := range c.find().files {
		n += f.size
	}
	return n
}

// Discard removes the session's files, now or when they are written.
func (c *capture) Discard() error {
	c.mu.Lock()
	c.dropped = true
	wait := c.began
	if wait && !c.ended { // it has failed: nobody has told the server
		c.ended = true
		close(c.over)
		c.d.wg.Go(c.write)
	}
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

// remove removes what the session's name is on; what cannot be told from others' stays.
func (c *capture) remove() {
	if c.d.to.Keep {
		return
	}
	var err error
	if c.own != "" {
		err = os.RemoveAll(c.own)
	} else if c.d.facts.Prefix {
		for _, f := range c.find().files {
			if e := os.Remove(filepath.Join(c.dir, f.name)); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	if err != nil {
		c.d.log.Warn("files of a recording stay with the server", "target", c.d.to.String(), "err", err)
	}
}

var _ driver.Driver = (*Driver)(nil)
