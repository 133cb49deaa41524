package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/child"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

// errCommandEnded says that the command ended before anything was recorded.
var errCommandEnded = errors.New("the command has ended")

// attached captures processes that attach by themselves: those of a command, or any. It ends when
// the command ends, the time is over, the iterations are recorded, or the user interrupts.
func (c *captureCmd) attached(e *cli.Env) error {
	plan, err := c.checkAttached(e)
	if err != nil {
		return err
	}
	eng, err := plan.Open(e.Ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	vars := []string{"KINETOSCOPE_NATS=" + eng.Hub().ClientURL()}
	if c.Name != "" {
		vars = append(vars, "KINETOSCOPE_PIPELINE="+c.Name)
	}
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, c.Command != nil, 0)
		if err != nil {
			return err
		}
		defer k.close()
		vars = k.vars()
	}
	cmd, err := child.Start(e, c.Command, vars)
	if err != nil {
		return err
	}
	res, err := c.captureAttached(e, eng, cmd)
	if res == nil {
		cmd.Interrupt() // the capture that it was started for has failed
		return errors.Join(err, cmd.Wait(e.Ctx))
	}
	if c.Ready != "" { // a server does not end by itself
		cmd.Interrupt()
	} else if err != nil && c.Command != nil {
		fmt.Fprintln(e.Err, "the command goes on; Ctrl-C ends it")
	}
	return errors.Join(c.print(e, res), err, cmd.Wait(e.Ctx))
}

// how names the flag that chose this kind of capture.
func (c *captureCmd) how() string {
	switch {
	case len(c.Targets) > 0:
		return "--target"
	case c.Kineto:
		return "--kineto"
	}
	return "--attach"
}

// checkAttached reads all input before anything is started.
func (c *captureCmd) checkAttached(e *cli.Env) (*omni.Plan, error) {
	o, err := c.Override(e)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Pipeline != "" || c.Prompts != "" || c.TP != 0:
		return nil, cli.Usage("%s runs no model: leave out --pipeline, --prompts and --tensor-parallel-size", c.how())
	case c.Duration < 0:
		return nil, cli.Usage("--duration %v: 0 or more", c.Duration)
	case c.Iterations < 0:
		return nil, cli.Usage("--iterations %d: 0 or more", c.Iterations)
	case c.Ranks < 0:
		return nil, cli.Usage("--ranks %d: 0 or more", c.Ranks)
	}
	if err := c.checkKineto(); err != nil {
		return nil, err
	}
	if err := child.Check(c.Command); err != nil {
		return nil, err
	}
	if err := child.CheckAddress(c.Ready); err != nil {
		return nil, err
	}
	q := c.startRequest()
	if err := q.Validate(); err != nil {
		return nil, flags.FieldError(err)
	}
	cfg := omni.Config{Attached: true, Profiler: o, RunsDir: c.RunsDir, Logger: e.Log}
	if c.Command != nil || len(c.Targets) > 0 && !c.Attach {
		cfg.Listen = "127.0.0.1:0" // the command is told where; the ranks of targets are in this process
	}
	if err := c.Hub.Set(&cfg); err != nil {
		return nil, err
	}
	plan, err := cfg.Plan(e.Ctx)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	return plan, nil
}

// checkKineto refuses options that Kineto cannot follow.
func (c *captureCmd) checkKineto() error {
	switch {
	case c.Kineto && c.Iterations > 0:
		return cli.Usage("--iterations: Kineto counts none from outside of a process; give a --duration")
	case c.Kineto && c.Duration >= protocol.DefaultMaxDuration:
		return cli.Usage("--duration %v: less than %v with --kineto, for Kineto has to know it when it begins",
			c.Duration, protocol.DefaultMaxDuration)
	}
	return nil
}

// captureAttached waits for the ranks, records them and collects what they recorded. The
// result is nil if nothing was recorded.
func (c *captureCmd) captureAttached(e *cli.Env, eng *omni.Engine, cmd *child.Program) (*captureResult, error) {
	p := cli.NewProgress(e.Err)
	defer p.End()
	url := eng.Hub().ClientURL()
	switch {
	case c.Command != nil:
	case c.Kineto:
		fmt.Fprintln(e.Err, "processes are found if they were started with KINETO_USE_DAEMON=1")
	default:
		fmt.Fprintf(e.Err, "processes attach at %s: KINETOSCOPE_NATS=%s python -m kinetoscope run script.py\n", url,
			url)
	}
	p.Say("waiting for processes to attach")
	ctx, cancel := context.WithCancelCause(e.Ctx)
	defer cancel(nil)
	stopWatch := context.AfterFunc(cmd.Ended(), func() { cancel(errCommandEnded) })
	defer stopWatch()
	err := c.awaitReady(ctx, p)
	if err == nil {
		err = c.awaitRanks(ctx, eng)
	}
	if errors.Is(err, errCommandEnded) && c.Kineto {
		return nil, fmt.Errorf("%w: it runs for less than some ten seconds, or imports no torch of 2.7 or newer", err)
	} else if errors.Is(err, errCommandEnded) {
		return nil, fmt.Errorf("%w: run it as python -m kinetoscope run, or call kinetoscope.attach in it", err)
	} else if err != nil {
		return nil, err
	}
	if c.Kineto {
		p.Say("waiting for %d processes to be told to record", len(eng.Ranks()))
	}
	if _, err := eng.StartProfile(e.Ctx, c.startRequest()); err != nil {
		return nil, cli.StartError(err)
	}
	p.Say("recording %d ranks; Ctrl-C stops", len(eng.Ranks()))
	c.awaitEnd(ctx, eng)
	p.Say("stopping, collecting and converting")
	bound := stopTimeout
	if c.Kineto { // a process may write its trace for minutes
		bound = serverStop
	}
	stopCtx, cancelStop := context.WithTimeout(context.WithoutCancel(e.Ctx), bound)
	defer cancelStop()
	st, err := stopFollowed(stopCtx, eng, p)
	if err != nil {
		return nil, fmt.Errorf("stop the session: %w", err)
	}
	res := &captureResult{SchemaVersion: captureSchema, Session: st, Outputs: load.Paths(st)}
	if res.Report, err = runs.Report(st.RunDir); err != nil {
		return res, err
	}
	return res, outcome.Error(st)
}

// awaitEnd returns when the recording is to end or has ended on all ranks.
func (c *captureCmd) awaitEnd(ctx context.Context, eng *omni.Engine) {
	if c.Duration > 0 && !c.Kineto { // Kineto's processes end by themselves
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	awaitRecorded(ctx, eng)
}

// steady is how long the set of a server's ranks must not change before recording: launchers appear
// before their workers, which replace them a moment later.
const steady = 3 * time.Second

// awaitReady returns when the server serves.
func (c *captureCmd) awaitReady(ctx context.Context, p *cli.Progress) error {
	if c.Ready == "" {
		return nil
	}
	p.Say("waiting for %s to serve", c.Ready)
	return child.AwaitServing(ctx, c.Ready)
}

// awaitRanks returns when the ranks are present. Those of a server must not have changed for a
// while, so that none is recorded which another is about to replace.
func (c *captureCmd) awaitRanks(ctx context.Context, eng *omni.Engine) error {
	for {
		if err := eng.WaitAttached(ctx, c.Ranks); err != nil || c.Ready == "" {
			return err
		}
		before := incarnations(eng.Ranks())
		if err := wait.For(ctx, steady); err != nil {
			return err
		}
		if slices.Equal(before, incarnations(eng.Ranks())) {
			return nil
		}
	}
}

func incarnations(ranks []protocol.RankInfo) []string {
	var out []string
	for _, r := range ranks {
		out = append(out, r.Incarnation)
	}
	slices.Sort(out)
	return out
}
