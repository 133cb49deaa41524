package main

import (
	"github.com/kinetoscope/kinetoscope/omni/worker"
)

type workerCmd struct {
	NATS     string `name:"nats" required:"" help:"URL of the hub's NATS server." placeholder:"URL"`
	Pipeline string `default:"omni" help:"Name of the pipeline."`
	Stage    int    `required:"" help:"stage_id."`
	Replica  int    `help:"Replica of the stage."`
	Rank     int    `help:"Rank in the replica."`
	Host     string `default:"127.0.0.1" help:"Address on which the replica's other ranks reach this host."`
	SpoolDir string `help:"Where recordings wait until they are collected; a temporary directory without it." type:"path"`
}

func (c *workerCmd) Run(e *env) error {
	return worker.Run(e.ctx, worker.Options{NATS: c.NATS, Pipeline: c.Pipeline, Stage: c.Stage, Replica: c.Replica,
		Rank: c.Rank, Host: c.Host, SpoolDir: c.SpoolDir, Logger: e.log})
}
