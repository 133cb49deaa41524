package main

import (
	"errors"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
)

// lookBack captures what a running server's flight recorders hold.
func (c *captureCmd) lookBack(e *cli.Env) error {
	switch {
	case c.Command != nil || c.Prompts != "" || c.Duration != 0 || c.Iterations != 0 || c.TP != 0 || c.Attach:
		return cli.Usage(
			"--last captures what already happened on a running server: of the other flags only --stages, --prefix, --allow-partial, --url, --api-key and --json go with it",
		)
	}
	f := flags.Server{Reach: flags.Reach{URL: c.URL, APIKey: c.APIKey}, JSON: c.JSON}
	server, err := f.Client()
	if err != nil {
		return err
	}
	if _, err := server.Start(e.Ctx, c.startRequest()); err != nil {
		return flags.ServerError(err)
	}
	st, err := server.Stop(e.Ctx, true)
	if err != nil {
		return flags.ServerError(err)
	}
	res := captureResult{SchemaVersion: captureSchema, Session: st}
	if res.Report, err = server.Report(e.Ctx, st); err != nil {
		return flags.ServerError(err)
	}
	return errors.Join(c.print(e, &res), outcome.Error(st))
}
