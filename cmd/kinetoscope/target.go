package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/child"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

const (
	// processStage is the first stage of Kineto's processes where a pipeline has stages of its own.
	processStage = 50
	// serverStop bounds the end of a capture of servers and their processes, which may write for
	// minutes after a stop.
	serverStop = 40 * time.Minute
)

// parseTargets reads --target. Targets with the same stage are its replicas.
func parseTargets(list []string) ([]httpdriver.Target, error) {
	var out []httpdriver.Target
	for _, text := range list {
		t, err := httpdriver.ParseTarget(text)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		out = append(out, t)
	}
	return out, nil
}

// findTargets reads --target, and finds the servers of those that say where to look for some.
func findTargets(e *cli.Env, list []string) ([]httpdriver.Target, error) {
	targets, err := parseTargets(list)
	if err != nil {
		return nil, err
	}
	found, err := httpdriver.Find(e.Ctx, &discover.Finder{}, targets)
	if err != nil {
		return nil, cli.StartError(err)
	}
	return found, nil
}

// sayFound returns a function with which a verb says what kind of servers it found.
func sayFound(e *cli.Env) func(httpdriver.Seat, httpdriver.Facts, string) {
	var mu sync.Mutex
	return func(s httpdriver.Seat, f httpdriver.Facts, dir string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(e.Err, httpdriver.Describe(s, f, dir))
	}
}

// servers captures servers that are driven over HTTP, and processes that attach beside them. A
// command, if there is one, is the load: it runs while they record.
func (c *captureCmd) servers(e *cli.Env) (err error) {
	list, err := findTargets(e, c.Targets)
	if err != nil {
		return err
	}
	if c.Duration <= 0 && c.Command == nil && c.Iterations <= 0 {
		return cli.Usage("--target: say how long, with --duration or --iterations, " +
			"or give a command that sends the load after --")
	}
	plan, with, err := c.checkServers(e)
	if err != nil {
		return err
	}
	p := cli.NewProgress(e.Err)
	defer p.End()
	if with != nil {
		p.Say("starting %s", c.Pipeline)
	}
	eng, err := plan.Open(e.Ctx)
	if err != nil {
		return cli.StartError(err)
	}
	defer eng.Close()
	own := len(eng.Ranks()) // the ranks of a pipeline are present when it is open
	if with != nil && with.requests == nil {
		with.requests = load.Default(eng.Stages())
	}
	first := 0
	if c.Attach || c.Kineto || with != nil {
		first = httpdriver.TargetStage
	}
	processes := 0
	if with != nil {
		processes = processStage
	}
	seats := httpdriver.Seats(list, eng.Pipeline().Name, first)
	fleet, err := httpdriver.Join(e.Ctx, eng.Hub().Conn(), seats,
		httpdriver.FleetConfig{Logger: e.Log, Found: sayFound(e)})
	if err != nil {
		return cli.StartError(err)
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, false, processes)
		if err != nil {
			return err
		}
		defer k.close()
	}
	want := own + len(seats)
	if c.Attach || c.Kineto {
		p.Say("waiting for processes beside the servers")
		want += max(c.Ranks, 1)
	}
	if err := eng.WaitAttached(e.Ctx, want); err != nil {
		return err
	}
	res, cmd, err := c.captureServers(e, eng, p, with)
	if res != nil {
		err = errors.Join(c.print(e, res), err)
	}
	if cmd != nil {
		if err != nil {
			cmd.Interrupt()
		}
		err = errors.Join(err, cmd.Wait(e.Ctx))
	}
	return err
}

// alongside is a native pipeline that runs and is captured beside servers.
type alongside struct {
	requests []omni.Request
	outputs  *load.Outputs
}

// checkServers reads all input before anything is started. The second result is nil without a
// pipeline beside the servers.
func (c *captureCmd) checkServers(e *cli.Env) (*omni.Plan, *alongside, error) {
	if c.Pipeline == "" {
		plan, err := c.checkAttached(e)
		return plan, nil, err
	}
	if c.Attach {
		return nil, nil, cli.Usage("--attach and --pipeline: name one")
	}
	if err := c.checkKineto(); err != nil {
		return nil, nil, err
	}
	plan, requests, err := c.check(e)
	if err != nil {
		return nil, nil, err
	}
	b := &alongside{requests: requests, outputs: new(load.Outputs)}
	plan.Config.Attach = b.outputs.Attach
	return plan, b, nil
}

// captureServers records, with the command as the load, and collects the files. A native pipeline
// beside the servers gets its requests meanwhile.
func (c *captureCmd) captureServers(e *cli.Env, eng *omni.Engine, p *cli.Progress, with *alongside) (*captureResult,
	*child.Program, error) {
	if _, err := eng.StartProfile(e.Ctx, c.startRequest()); err != nil {
		return nil, nil, cli.StartError(err)
	}
	p.Say("recording; Ctrl-C stops")
	ctx, cancel := context.WithCancel(e.Ctx)
	defer cancel()
	cmd, err := child.Start(e, c.Command, nil)
	var sent load.Result
	if err == nil {
		stop := context.AfterFunc(cmd.Ended(), cancel)
		var sending sync.WaitGroup
		if with != nil {
			sending.Go(func() { sent = c.send(ctx, eng, with) })
		}
		c.awaitEnd(ctx, eng)
		cancel()
		sending.Wait()
		stop()
		err = sent.Err
	}
	p.Say("stopping; servers write for as long as they need")
	stopCtx, cancelStop := context.WithTimeout(context.WithoutCancel(e.Ctx), serverStop)
	defer cancelStop()
	st, stopErr := stopFollowed(stopCtx, eng, p)
	p.End()
	if stopErr != nil {
		return nil, cmd, errors.Join(err, fmt.Errorf("stop the session: %w", stopErr))
	}
	res := &captureResult{SchemaVersion: captureSchema, Session: st, Outputs: load.Paths(st), Requests: sent.Sent,
		Failed: sent.Failed}
	report, reportErr := runs.Report(st.RunDir)
	res.Report = report
	return res, cmd, errors.Join(err, reportErr, outcome.Error(st))
}

// send sends requests to the pipeline beside the servers, again and again until ctx ends. Requests
// under way at that time are completed.
func (c *captureCmd) send(ctx context.Context, eng *omni.Engine, with *alongside) load.Result {
	return load.Drive(context.WithoutCancel(ctx), eng, load.Options{Requests: with.requests, Concurrency: c.Concurrency,
		Endless: true, Stop: ctx.Done(), Outputs: with.outputs, Done: func(int) {}})
}
