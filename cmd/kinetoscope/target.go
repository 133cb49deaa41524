package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/child"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

const (
	// targetStage is the first stage of targets where processes attach as well, whose
	// stages count from 0.
	targetStage = 100
	// serverStop bounds the end of a capture of processes that are not ours, which were seen
	// to write for minutes after a stop.
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

// sayFound is how a verb says what servers are.
func sayFound(e *cli.Env) func(httpdriver.Seat, httpdriver.Facts, string) {
	var mu sync.Mutex
	return func(s httpdriver.Seat, f httpdriver.Facts, dir string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(e.Err, httpdriver.Describe(s, f, dir))
	}
}

// servers captures servers that are driven over HTTP, and whoever attaches beside them. A
// command is the load: it runs while they record.
func (c *captureCmd) servers(e *cli.Env) (err error) {
	list, err := parseTargets(c.Targets)
	if err != nil {
		return err
	}
	if c.Duration <= 0 && c.Command == nil && c.Iterations <= 0 {
		return cli.Usage("--target: say how long, with --duration or --iterations, " +
			"or give a command that sends the load after --")
	}
	plan, err := c.checkAttached(e)
	if err != nil {
		return err
	}
	eng, err := plan.Open(e.Ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	p := cli.NewProgress(e.Err)
	defer p.End()
	first := 0
	if c.Attach || c.Kineto {
		first = targetStage
	}
	seats := httpdriver.Seats(list, eng.Model(), first)
	fleet, err := httpdriver.Join(e.Ctx, eng.Hub().Conn(), seats,
		httpdriver.FleetConfig{Logger: e.Log, Found: sayFound(e)})
	if err != nil {
		return cli.StartError(err)
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, false)
		if err != nil {
			return err
		}
		defer k.close()
	}
	want := len(seats)
	if c.Attach || c.Kineto {
		p.Say("waiting for processes beside the servers")
		want += max(c.Ranks, 1)
	}
	if err := eng.WaitAttached(e.Ctx, want); err != nil {
		return err
	}
	res, cmd, err := c.captureServers(e, eng, p)
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

// captureServers records, with the command as the load, and collects.
func (c *captureCmd) captureServers(e *cli.Env, eng *omni.Engine, p *cli.Progress) (*captureResult, *child.Program,
	error) {
	if _, err := eng.StartProfile(e.Ctx, c.startRequest()); err != nil {
		return nil, nil, cli.StartError(err)
	}
	p.Say("recording; Ctrl-C stops")
	ctx, cancel := context.WithCancel(e.Ctx)
	defer cancel()
	cmd, err := child.Start(e, c.Command, nil)
	if err == nil {
		stop := context.AfterFunc(cmd.Ended(), cancel)
		c.awaitEnd(ctx, eng)
		stop()
	}
	p.Say("stopping; servers write for as long as they need")
	stopCtx, cancelStop := context.WithTimeout(context.WithoutCancel(e.Ctx), serverStop)
	defer cancelStop()
	st, stopErr := stopFollowed(stopCtx, eng, p)
	p.End()
	if stopErr != nil {
		return nil, cmd, errors.Join(err, fmt.Errorf("stop the session: %w", stopErr))
	}
	res := &captureResult{SchemaVersion: captureSchema, Session: st, Outputs: load.Paths(st)}
	report, reportErr := runs.Report(st.RunDir)
	res.Report = report
	return res, cmd, errors.Join(err, reportErr, outcome.Error(st))
}
