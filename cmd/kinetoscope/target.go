package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/child"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

const (
	// targetStage is the first stage of targets where processes attach as well, whose
	// stages count from 0.
	targetStage = 100
	// serverStop bounds the end of a capture of processes that are not ours, which were seen
	// to write for minutes after a stop.
	serverStop = 40 * time.Minute
	// leaveTimeout bounds the goodbye of one server's rank.
	leaveTimeout = 5 * time.Second
)

// targets are servers that take part in a capture.
type targets struct {
	list []httpdriver.Target
	ids  []protocol.RankID
	join []*joined
}

// joined is one server's rank.
type joined struct {
	rank   *driver.Rank
	member *rank.Member
}

// parseTargets reads --target. Targets with the same stage are its replicas.
func (c *captureCmd) parseTargets() (*targets, error) {
	out := &targets{}
	stages, replicas := map[string]int{}, map[string]int{}
	first := 0
	if c.Attach || c.Kineto {
		first = targetStage
	}
	for _, text := range c.Targets {
		t, err := httpdriver.ParseTarget(text)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		if _, ok := stages[t.Stage]; !ok {
			stages[t.Stage] = first + len(stages)
		}
		out.list = append(out.list, t)
		out.ids = append(out.ids, protocol.RankID{Stage: stages[t.Stage], Replica: replicas[t.Stage]})
		replicas[t.Stage]++
	}
	return out, nil
}

// open asks every server what it is, says what it can and cannot, and has its rank join.
func (t *targets) open(e *cli.Env, eng *omni.Engine, p *cli.Progress) error {
	shared := map[string]bool{} // directories of vLLMs, and whether those take a prefix
	for i, to := range t.list {
		t.ids[i].Pipeline = eng.Model()
		d, err := httpdriver.Open(e.Ctx, to, t.ids[i], e.Log, httpdriver.WithProgress(func(s string) { p.Say("%s", s) }))
		if err != nil {
			return err
		}
		f := d.Facts()
		if to.Engine == protocol.EngineVLLM {
			if other, ok := shared[d.Dir()]; ok && (!f.Prefix || !other) {
				return errors.Join(cli.Usage("--target %s: it writes to the directory of another target, %s, and takes no prefix "+
					"that would tell their files apart: give it a torch_profiler_dir of its own", to, d.Dir()), d.Close())
			}
			shared[d.Dir()] = f.Prefix
		}
		can := "its ranks are known by their files"
		if f.Ranks > 0 {
			can = fmt.Sprintf("%d ranks", f.Ranks)
		}
		if !f.Prefix && to.Engine == protocol.EngineVLLM {
			can += "; it takes no prefix, so that its files stay with it"
		}
		if !f.Steps {
			can += "; it counts no steps"
		}
		release := cmp.Or(f.Version, "of an unknown version")
		fmt.Fprintf(e.Err, "%s is %s %s, writes to %s: %s\n", to, to.Engine, release, d.Dir(), can)
		if err := t.add(e, eng, to, t.ids[i], d); err != nil {
			return err
		}
	}
	return nil
}

func (t *targets) add(e *cli.Env, eng *omni.Engine, to httpdriver.Target, id protocol.RankID, d *httpdriver.Driver) error {
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler, cfg.WithStack = protocol.ProfilerTorch, false // as of processes that nobody prepared for it
	info := protocol.RankInfo{RankID: id, StageName: to.Stage, StageType: protocol.StageLLM, WorldSize: 1,
		Engine: to.Engine, Profiler: &cfg, Ready: true}
	r := driver.NewRank(d, info, driver.WithLogger(e.Log), driver.WithCalls(d.Call))
	m, err := rank.Join(e.Ctx, eng.Hub().Conn(), r.Announced(), r, rank.WithLogger(e.Log))
	if err != nil {
		return errors.Join(err, r.Close())
	}
	t.join = append(t.join, &joined{r, m})
	return nil
}

func (t *targets) close() error {
	var errs []error
	for _, j := range t.join {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		errs = append(errs, j.member.Leave(ctx), j.rank.Close())
		cancel()
	}
	return errors.Join(errs...)
}

// servers captures servers that are driven over HTTP, and whoever attaches beside them. A
// command is the load: it runs while they record.
func (c *captureCmd) servers(e *cli.Env) (err error) {
	t, err := c.parseTargets()
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
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.open(e, eng, p); err != nil {
		return cli.StartError(err)
	}
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, false)
		if err != nil {
			return err
		}
		defer k.close()
	}
	want := len(t.list)
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
func (c *captureCmd) captureServers(e *cli.Env, eng *omni.Engine, p *cli.Progress) (*captureResult, *child.Program, error) {
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
	st, stopErr := eng.StopProfile(stopCtx)
	p.End()
	if stopErr != nil {
		return nil, cmd, errors.Join(err, fmt.Errorf("stop the session: %w", stopErr))
	}
	res := &captureResult{SchemaVersion: captureSchema, Session: st, Outputs: load.Paths(st)}
	report, reportErr := runs.Report(st.RunDir)
	res.Report = report
	return res, cmd, errors.Join(err, reportErr, outcome.Error(st))
}
