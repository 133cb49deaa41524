package main

import "github.com/kinetoscope/kinetoscope/session"

type stopCmd struct {
	serverFlags
	NoWait bool `help:"Return at once; status shows the progress."`
}

// Run stops the running session. It fails if a rank's part of it is not whole.
func (c *stopCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	st, err := server.Stop(e.ctx, !c.NoWait)
	if err != nil {
		return serverError(err)
	}
	if err := c.printStatus(e, st); err != nil {
		return err
	}
	if c.NoWait || st.State == session.StateIdle {
		return nil
	}
	return sessionError(st)
}
