package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

// interruptGrace is how long a command may go on after an interrupt: it hands over what
// it recorded.
const interruptGrace = 30 * time.Second

// errCommandEnded says that the command is over before anything was recorded.
var errCommandEnded = errors.New("the command has ended")

// attached captures processes that attach by themselves, those of a command or any that
// come, until the command or the time is over, the iterations are recorded, or the user
// interrupts.
func (c *captureCmd) attached(e *env) error {
	plan, err := c.checkAttached(e)
	if err != nil {
		return err
	}
	eng, err := plan.Open(e.ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	vars := []string{"KINETOSCOPE_NATS=" + eng.Hub().ClientURL()}
	if c.Name != "" {
		vars = append(vars, "KINETOSCOPE_PIPELINE="+c.Name)
	}
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, c.Command != nil)
		if err != nil {
			return err
		}
		defer k.close()
		vars = k.vars()
	}
	cmd, err := c.startCommand(e, vars)
	if err != nil {
		return err
	}
	res, err := c.captureAttached(e, eng, cmd)
	if res == nil {
		cmd.interrupt() // what it was started for has failed
		return errors.Join(err, cmd.wait(e.ctx))
	}
	if c.Ready != "" { // a server goes on for ever
		cmd.interrupt()
	} else if err != nil && c.Command != nil {
		fmt.Fprintln(e.err, "the command goes on; Ctrl-C ends it")
	}
	return errors.Join(c.print(e, res), err, cmd.wait(e.ctx))
}

// how is the flag that was given.
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
func (c *captureCmd) checkAttached(e *env) (*omni.Plan, error) {
	o, err := c.override(e)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Pipeline != defaultPipeline || c.Prompts != "" || c.TP != 0:
		return nil, usage("%s runs no model: leave out --pipeline, --prompts and --tensor-parallel-size", c.how())
	case c.Duration < 0:
		return nil, usage("--duration %v: 0 or more", c.Duration)
	case c.Iterations < 0:
		return nil, usage("--iterations %d: 0 or more", c.Iterations)
	case c.Kineto && c.Iterations > 0:
		return nil, usage("--iterations: Kineto counts none from outside of a process; give a --duration")
	case c.Kineto && c.Duration >= protocol.DefaultMaxDuration:
		return nil, usage(
			"--duration %v: less than %v with --kineto, for Kineto has to know it when it begins",
			c.Duration,
			protocol.DefaultMaxDuration,
		)
	case c.Ranks < 0:
		return nil, usage("--ranks %d: 0 or more", c.Ranks)
	case c.Command != nil && len(c.Command) == 0:
		return nil, usage("no command after --")
	case c.Command != nil && !runnable(c.Command[0]):
		return nil, usage("-- %s: no such program", c.Command[0])
	}
	if err := checkReady(c.Ready); err != nil {
		return nil, err
	}
	q := c.startRequest()
	if err := q.Validate(); err != nil {
		return nil, flagError(err)
	}
	cfg := omni.Config{Attached: true, Profiler: o, RunsDir: c.RunsDir, Logger: e.log}
	if c.Command != nil {
		cfg.Listen = "127.0.0.1:0" // the command is told where
	}
	if err := c.natsFlags.set(&cfg); err != nil {
		return nil, err
	}
	plan, err := cfg.Plan(e.ctx)
	if err != nil {
		return nil, usageError{err}
	}
	return plan, nil
}

// captureAttached waits for the ranks, records them and collects what they recorded. The
// result is nil if nothing was recorded.
func (c *captureCmd) captureAttached(e *env, eng *omni.Engine, cmd *command) (*captureResult, error) {
	p := newProgress(e.err)
	defer p.end()
	url := eng.Hub().ClientURL()
	switch {
	case c.Command != nil:
	case c.Kineto:
		fmt.Fprintln(e.err, "processes are found if they were started with KINETO_USE_DAEMON=1")
	default:
		fmt.Fprintf(e.err, "processes attach at %s: KINETOSCOPE_NATS=%s python -m kinetoscope run script.py\n", url, url)
	}
	p.say("waiting for processes to attach")
	ctx, cancel := context.WithCancelCause(e.ctx)
	defer cancel(nil)
	stopWatch := context.AfterFunc(cmd.ended, func() { cancel(errCommandEnded) })
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
		p.say("waiting for %d processes to be told to record", len(eng.Ranks()))
	}
	if _, err := eng.StartProfile(e.ctx, c.startRequest()); err != nil {
		return nil, startError(err)
	}
	p.say("recording %d ranks; Ctrl-C stops", len(eng.Ranks()))
	c.awaitEnd(ctx, eng)
	p.say("stopping, collecting and converting")
	bound := stopTimeout
	if c.Kineto { // a process may write its trace for minutes
		bound = serverStop
	}
	stopCtx, cancelStop := context.WithTimeout(context.WithoutCancel(e.ctx), bound)
	defer cancelStop()
	st, err := eng.StopProfile(stopCtx)
	if err != nil {
		return nil, fmt.Errorf("stop the session: %w", err)
	}
	res := &captureResult{SchemaVersion: captureSchema, Session: st, Outputs: load.Paths(st)}
	if res.Report, err = runs.Report(st.RunDir); err != nil {
		return res, err
	}
	return res, sessionError(st)
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

// command is the user's program beside a capture. Without one it never ends.
type command struct {
	name      string
	ended     context.Context
	interrupt context.CancelFunc
	err       error // once it has ended
}

// startCommand starts what is after --, which learns from its environment where to attach.
func (c *captureCmd) startCommand(e *env, vars []string) (*command, error) {
	if c.Command == nil {
		return &command{ended: context.Background(), interrupt: func() {}}, nil
	}
	ctx, interrupt := context.WithCancel(context.WithoutCancel(e.ctx))
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Env = append(os.Environ(), vars...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.in, e.err, e.err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	if err := cmd.Start(); err != nil {
		interrupt()
		return nil, fmt.Errorf("%s: %w", c.Command[0], err)
	}
	ended, end := context.WithCancel(context.Background())
	out := &command{name: strings.Join(c.Command, " "), ended: ended, interrupt: interrupt}
	go func() { // wait waits for it
		defer end()
		if err := cmd.Wait(); err != nil && e.ctx.Err() == nil && ctx.Err() == nil {
			// Its exit code is not passed on: 2 would say that the capture's input was wrong.
			out.err = fmt.Errorf("%s: %v", out.name, err) //nolint:errorlint // see above
		}
	}()
	return out, nil
}

// wait returns how the command ended, once it has; the end of ctx interrupts it. That comes
// after the session's end: until then it must answer.
func (c *command) wait(ctx context.Context) error {
	if c.name == "" {
		return nil
	}
	defer c.interrupt()
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	<-c.ended.Done()
	return c.err
}
