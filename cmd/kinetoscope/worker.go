package main

import (
	"errors"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/omni/worker"
)

type workerCmd struct {
	flags.Join
	Pipeline string `default:"omni" help:"Name of the pipeline."`
	Stage    int    `required:"" help:"stage_id."`
	Replica  int    `help:"Replica of the stage."`
	Rank     int    `help:"Rank in the replica."`
	Host     string `help:"Address on which the replica's other ranks reach this one; the one that this host reaches the hub from without it, and a free port." placeholder:"HOST[:PORT]"`
	SpoolDir string `help:"Where recordings wait until they are collected; a temporary directory without it." type:"path"`
}

func (c *workerCmd) Run(e *cli.Env) error {
	err := worker.Run(e.Ctx, worker.Options{NATS: c.NATS, Token: c.Token, CA: c.CA, Cert: c.Cert, Key: c.Key,
		Creds: c.Creds, Pipeline: c.Pipeline, Stage: c.Stage,
		Replica: c.Replica, Rank: c.Rank, Host: c.Host, SpoolDir: c.SpoolDir, Logger: e.Log})
	if errors.Is(err, worker.ErrNoSuchRank) {
		return cli.UsageError{Err: err}
	}
	return err
}
