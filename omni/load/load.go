// Package load sends requests through a pipeline for a capture or a measurement: from a prompt file
// or the usual ones, several at a time. It collects what they made.
package load

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/omni"
)

// Pipeline is where requests go; an *omni.Engine is one.
type Pipeline interface {
	Generate(ctx context.Context, r omni.Request) iter.Seq2[omni.Output, error]
}

// Options say how requests are sent.
type Options struct {
	Requests    []omni.Request
	Concurrency int  // requests on their way at once, at least 1
	Endless     bool // again and again until Stop; else each once
	// Stop, when it is closed, ends the sending. Requests that are under way are cancelled and not
	// counted. nil never ends it.
	Stop    <-chan struct{}
	Outputs *Outputs       // collects what the requests make; nil: nobody
	Done    func(done int) // told after each request that succeeded; nil: nobody
}

// Result is the outcome of a load.
type Result struct {
	Sent   int   // that ended, well or not
	Failed int   // of these
	Err    error // of the first that failed; nil where ctx ended, which its owner knows
}

// Drive sends the requests and returns when all have ended, or when ctx or Options.Stop ends them.
// An endless load stops sending after a request has failed, because the next ones would fail too.
func Drive(ctx context.Context, p Pipeline, o Options) Result {
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Stop != nil {
		stopped := make(chan struct{})
		defer func() { cancel(); <-stopped }()
		go func() {
			defer close(stopped)
			select {
			case <-o.Stop:
				cancel()
			case <-run.Done():
			}
		}()
	}
	d := &driver{p: p, o: o}
	clients := o.Concurrency
	if !o.Endless {
		clients = min(clients, len(o.Requests))
	}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { d.client(ctx, run) })
	}
	wg.Wait()
	bad := int(d.bad.Load())
	return Result{Sent: int(d.ok.Load()) + bad, Failed: bad, Err: d.first}
}

type driver struct {
	p             Pipeline
	o             Options
	next, ok, bad atomic.Int64

	mu    sync.Mutex
	first error // guarded by mu until all clients have ended
}

// client sends one request after the other. run ends before or with ctx.
func (d *driver) client(ctx, run context.Context) {
	for run.Err() == nil {
		n := int(d.next.Add(1)) - 1
		if n >= len(d.o.Requests) && !d.o.Endless {
			return
		}
		err := d.generate(run, n)
		switch {
		case err == nil:
			done := int(d.ok.Add(1))
			if d.o.Done != nil {
				d.o.Done(done)
			}
		case ctx.Err() != nil:
			d.bad.Add(1)
		case run.Err() == nil:
			d.bad.Add(1)
			d.mu.Lock()
			if d.first == nil {
				d.first = fmt.Errorf("prompt %d: %w", n%len(d.o.Requests)+1, err)
			}
			d.mu.Unlock()
			if d.o.Endless {
				return
			}
		}
	}
}

func (d *driver) generate(ctx context.Context, n int) error {
	for out, err := range d.p.Generate(ctx, d.o.Requests[n%len(d.o.Requests)]) {
		if err != nil {
			return err
		}
		if d.o.Outputs != nil {
			d.o.Outputs.add(n, out)
		}
	}
	return nil
}
