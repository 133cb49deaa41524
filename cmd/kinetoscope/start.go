package main

import (
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/protocol"
)

type startCmd struct {
	flags.Server
	flags.Session
	DelayIterations *int          `help:"Iterations to let pass first; the stage's own setting without it." placeholder:"N"`
	MaxIterations   *int          `help:"Iterations to record at most; the stage's own setting without it." placeholder:"N"`
	MaxDuration     time.Duration `help:"Stop by itself after so long; 10m without it, and 5s in processes that Kineto records." placeholder:"30s"`
	ProfilerConfig  string        `help:"profiler_config as JSON, in place of the stages' own, over the defaults; --profiler-config.FIELD=VALUE sets one field." placeholder:"JSON"`

	Dotted map[string]string `kong:"-"`
}

// Run starts a session on a running server.
func (c *startCmd) Run(e *cli.Env) error {
	q := c.Request()
	q.MaxDuration = c.MaxDuration
	q.DelayIterations, q.MaxIterations = c.DelayIterations, c.MaxIterations
	if c.ProfilerConfig != "" || len(c.Dotted) > 0 {
		o, err := flags.ParseOverride(c.ProfilerConfig, c.Dotted)
		if err != nil {
			return err
		}
		cfg := protocol.DefaultProfilerConfig()
		cfg.Profiler = protocol.ProfilerTorch
		cfg = o.Apply(cfg)
		q.Config = &cfg
	}
	server, err := c.Client()
	if err != nil {
		return err
	}
	st, err := server.Start(e.Ctx, q)
	if err != nil {
		return flags.ServerError(err)
	}
	return outcome.Show(e, c.JSON, st)
}
