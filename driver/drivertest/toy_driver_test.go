package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// toyDriver records how many goroutines this process has, every millisecond, as a trace.
// Its files lie in a spool, which makes it a driver.Keeper.
type toyDriver struct{ driver.Spool }

// Capabilities says what is refused when a session arms, and why.
func (d toyDriver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		NoIterations: "goroutines have no iterations: bound the session by its duration",
		NoPast:       "there is nothing to look back at: nothing is counted between sessions",
		NoSampling:   "goroutines belong to no request",
	}
}

// Prepare makes all that can fail.
func (d toyDriver) Prepare(_ context.Context, j driver.Job) (driver.Capture, error) {
	f, err := d.Create(j.Session, ".trace.json")
	if err != nil {
		return nil, err
	}
	return &toyCapture{d: d, job: j, file: f, stop: make(chan struct{}), done: make(chan struct{})}, nil
}

// toyCapture is one session.
type toyCapture struct {
	d          toyDriver
	job        driver.Job
	file       *os.File
	stop, done chan struct{}
	events     uint64 // of the counting goroutine until done is closed
	written    atomic.Int64
	err        error
}

// Begin is the agreed instant.
func (c *toyCapture) Begin(context.Context) (driver.Began, error) {
	at := c.job.Now()
	c.write(`{"baseTimeNanoseconds": %d, "traceEvents": [`, at.UnixNano())
	if c.err != nil {
		return driver.Began{}, c.err
	}
	go c.count(at)
	return driver.Began{At: at}, nil
}

func (c *toyCapture) count(at time.Time) {
	defer close(c.done)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		c.write(`{"ph": "X", "cat": "cpu_op", "name": "%d goroutines", "pid": 1, "tid": 1, "ts": %d, "dur": 1},`,
			runtime.NumGoroutine(), time.Since(at).Microseconds())
		c.events++
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		if c.job.MaxBytes > 0 && c.written.Load() >= c.job.MaxBytes {
			c.job.Over(protocol.StoppedByMaxBytes, nil) // it does not block; End follows
		}
	}
}

func (c *toyCapture) write(format string, args ...any) {
	n, err := fmt.Fprintf(c.file, format, args...)
	c.written.Add(int64(n))
	c.err = errors.Join(c.err, err)
}

// End is asked for after a Begin that succeeded, once.
func (c *toyCapture) End(context.Context) (driver.Ended, error) {
	close(c.stop)
	<-c.done
	at := c.job.Now()
	c.write(`{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "toy"}}]}`)
	return driver.Ended{At: at, Events: c.events, Bytes: uint64(c.written.Load())}, errors.Join(c.err, c.file.Close())
}

// Files are there at once; a profiler that writes for minutes waits here.
func (c *toyCapture) Files(context.Context) (driver.Files, error) {
	return driver.Files{Files: []rank.File{{Name: "trace.json", Kind: protocol.KindTrace, Path: c.file.Name()}}}, nil
}

// Written is what is shown while it records.
func (c *toyCapture) Written() int64 { return c.written.Load() }

// Discard may be the first call, and comes after End.
func (c *toyCapture) Discard() error {
	_ = c.file.Close() // it may be closed already
	return c.d.Remove(c.file.Name())
}
