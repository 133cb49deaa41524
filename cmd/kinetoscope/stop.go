package main

import (
	"context"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/session"
)

type stopCmd struct {
	flags.Server
	NoWait bool `help:"Return at once; status shows the progress."`
}

// Run stops the running session. It fails if the part of any rank is incomplete.
func (c *stopCmd) Run(e *cli.Env) error {
	server, err := c.Client()
	if err != nil {
		return err
	}
	p := cli.NewProgress(e.Err)
	end := outcome.Follow(e.Ctx, p, func(ctx context.Context) *session.Status {
		if list, err := server.Sessions(ctx, 1); err == nil && len(list) > 0 {
			return list[0]
		}
		return nil
	})
	st, err := server.Stop(e.Ctx, !c.NoWait)
	end()
	p.End()
	if err != nil {
		return flags.ServerError(err)
	}
	if err := outcome.Show(e, c.JSON, st); err != nil {
		return err
	}
	if c.NoWait || st.State == session.StateIdle {
		return nil
	}
	return outcome.Error(st)
}
