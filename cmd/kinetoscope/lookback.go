package main

import "errors"

// lookBack captures what a running server's flight recorders hold.
func (c *captureCmd) lookBack(e *env) error {
	switch {
	case c.Command != nil || c.Prompts != "" || c.Duration != 0 || c.Iterations != 0 || c.TP != 0 || c.Attach:
		return usage(
			"--last captures what already happened on a running server: of the other flags only --stages, --prefix, --allow-partial, --url, --api-key and --json go with it",
		)
	}
	f := serverFlags{URL: c.URL, APIKey: c.APIKey, JSON: c.JSON}
	server, err := f.client()
	if err != nil {
		return err
	}
	if _, err := server.Start(e.ctx, c.startRequest()); err != nil {
		return serverError(err)
	}
	st, err := server.Stop(e.ctx, true)
	if err != nil {
		return serverError(err)
	}
	res := captureResult{SchemaVersion: captureSchema, Session: st}
	if res.Report, err = server.Report(e.ctx, st); err != nil {
		return serverError(err)
	}
	return errors.Join(c.print(e, &res), sessionError(st))
}
