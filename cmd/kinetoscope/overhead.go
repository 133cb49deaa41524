package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/load"
	"github.com/kinetoscope/kinetoscope/omni/overhead"
)

type overheadCmd struct {
	flags.Profiler
	flags.Hub
	Pipeline    string   `default:"omni" help:"${builtins}, or a deployment file." placeholder:"NAME|FILE"`
	Stages      []int    `help:"Stages to profile, all without it. Every stage that times its steps is measured, profiled or not." placeholder:"0,2"`
	Rounds      int      `default:"8" help:"Rounds; every state has one turn in each." placeholder:"N"`
	Prompts     string   `help:"Prompts to send, one a line or one JSON object a line; - is stdin." placeholder:"FILE"`
	Requests    int      `help:"Requests in each turn, the prompts over and over; each prompt once without it." placeholder:"N"`
	Concurrency int      `default:"1" help:"Requests on their way at once. With more than one, batches differ from turn to turn."`
	TP          int      `name:"tensor-parallel-size" help:"Ranks of every stage, in place of the deployment's: 1, 2 or 4." placeholder:"N"`
	Also        []string `sep:"none" help:"One more state: record with these fields of profiler_config changed, too. May be repeated." placeholder:"NAME=JSON"`
	JSON        bool     `name:"json" help:"Print the answer as JSON."`
}

// Limits of a measurement: beyond them it takes hours and is no more precise.
const (
	maxRequests = 1000 // a turn
	maxAlso     = 8    // further states; each has a turn in every round, and a column
)

// overheadReady bounds the start: every torch rank imports torch, on a small machine one
// after the other. A rank that dies ends the wait.
const overheadReady = 10 * time.Minute

func (c *overheadCmd) Run(e *cli.Env) (err error) {
	plan, o, err := c.check(e)
	if err != nil {
		return err
	}
	// All files of the sessions lie here, recordings on their way to the hub too.
	dir, err := os.MkdirTemp("", "kinetoscope-overhead-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := &plan.Config
	cfg.DataDir, cfg.RunsDir = filepath.Join(dir, "data"), filepath.Join(dir, "runs")
	if err := os.Mkdir(cfg.DataDir, 0o700); err != nil {
		return err
	}
	p := cli.NewProgress(e.Err)
	p.Say("starting %s", c.Pipeline)
	eng, err := plan.Open(e.Ctx)
	p.End()
	if err != nil {
		return cli.StartError(err)
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	if o.Load == nil {
		o.Load = load.Default(eng.Stages())
	}
	o.Load = overhead.Fixed(o.Load, c.requests(len(o.Load)))
	bar := cli.NewBar(e.Err)
	o.Progress = bar.Count
	r, err := overhead.Measure(e.Ctx, eng, *o)
	bar.End()
	switch {
	case e.Ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		return cli.StartError(err)
	case c.JSON:
		return cli.JSON(e.Out, r)
	}
	return overhead.Text(e.Out, r, pipelineTitle(eng), e.Text())
}

func (c *overheadCmd) requests(prompts int) int {
	if c.Requests > 0 {
		return c.Requests
	}
	return prompts
}

// check reads all input before anything is started.
func (c *overheadCmd) check(e *cli.Env) (*omni.Plan, *overhead.Options, error) {
	switch {
	case c.Rounds < overhead.MinRounds || c.Rounds > overhead.MaxRounds:
		return nil, nil, cli.Usage("--rounds %d: %d to %d", c.Rounds, overhead.MinRounds, overhead.MaxRounds)
	case c.Requests < 0 || c.Requests > maxRequests:
		return nil, nil, cli.Usage("--requests %d: 1 to %d", c.Requests, maxRequests)
	case c.Concurrency < 1:
		return nil, nil, cli.Usage("--concurrency %d: 1 or more", c.Concurrency)
	}
	o := &overhead.Options{Rounds: c.Rounds, Concurrency: c.Concurrency, Stages: c.Stages}
	cc := captureCmd{Profiler: c.Profiler, Hub: c.Hub, Pipeline: c.Pipeline, Prompts: c.Prompts,
		Session: flags.Session{Stages: c.Stages}, Concurrency: c.Concurrency, TP: c.TP}
	plan, requests, err := cc.check(e)
	if err != nil {
		return nil, nil, err
	}
	overhead.Prepare(plan.Pipeline)
	plan.Config.NoConvert, plan.Config.ReadyTimeout = true, overheadReady
	o.Load = requests
	if o.Also, err = c.also(plan.Pipeline); err != nil {
		return nil, nil, err
	}
	return plan, o, nil
}

// also reads the further states. They change the configuration that all stages share, because a
// session has one configuration for all of them.
func (c *overheadCmd) also(p *deploy.Pipeline) ([]overhead.Recording, error) {
	if len(c.Also) > maxAlso {
		return nil, cli.Usage("--also: %d times, %d at most", len(c.Also), maxAlso)
	}
	var common *deploy.Stage
	for i := range p.Stages {
		s := &p.Stages[i]
		if !s.Profiled() || c.Stages != nil && !slices.Contains(c.Stages, s.ID) {
			continue
		}
		if common != nil && !reflect.DeepEqual(s.Profiler, common.Profiler) && len(c.Also) > 0 {
			return nil,
				cli.Usage("--also: stages %d (%s) and %d (%s) have different profiler_configs: choose one with --stages", common.ID, common.Name, s.ID, s.Name)
		}
		common = s
	}
	taken := []string{overhead.StateOff, overhead.StateFlight, overhead.StateArmed, overhead.StateRecording}
	var out []overhead.Recording
	for _, text := range c.Also {
		name, fields, ok := strings.Cut(text, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, cli.Usage("--also %s: write NAME=JSON", text)
		}
		if slices.Contains(taken, name) {
			return nil, cli.Usage("--also %s: there is a state of this name already", name)
		}
		taken = append(taken, name)
		o, err := deploy.ParseProfilerJSON(fields)
		if err != nil {
			return nil, cli.Usage("--also %s: %w", name, err)
		}
		cfg := o.Apply(common.Profiler)
		overhead.WholeLoad(&cfg)
		cfg.TorchProfilerDir = "" // the runs of a measurement are removed
		if err := cfg.Validate(); err != nil {
			return nil, cli.Usage("--also %s: %w", name, err)
		}
		if cfg.Profiler == "" {
			return nil, cli.Usage("--also %s: it has no profiler", name)
		}
		out = append(out, overhead.Recording{Name: name, Config: cfg})
	}
	return out, nil
}

// pipelineTitle names the stages in order, as the pipeline's report does.
func pipelineTitle(eng *omni.Engine) string {
	var names []string
	for _, s := range eng.Stages() {
		name := s.Name
		if n := s.Replicas * s.Ranks; n > 1 {
			name = fmt.Sprintf("%s ×%d", name, n)
		}
		names = append(names, name)
	}
	return strings.Join(names, " → ")
}
