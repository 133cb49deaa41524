package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

// lookBack captures what a running server's flight recorders hold.
func (c *captureCmd) lookBack(e *env) error {
	switch {
	case c.Command != nil || c.Prompts != "" || c.Duration != 0 || c.Iterations != 0 || c.TP != 0 || c.Attach:
		return usage("--last captures what already happened on a running server: of the other flags only --stages, --prefix, --url, --api-key and --json go with it")
	}
	body := c.startRequest()
	if err := body.Validate(); err != nil {
		return flagError(err)
	}
	f := serverFlags{URL: c.URL, APIKey: c.APIKey, JSON: c.JSON}
	var st session.Status
	if err := f.request(e.ctx, http.MethodPost, "/start_profile", body, &st); err != nil {
		return err
	}
	if err := f.request(e.ctx, http.MethodPost, "/stop_profile", nil, &st); err != nil {
		return err
	}
	res := captureResult{SchemaVersion: captureSchema, Session: &st}
	for _, a := range st.Artifacts {
		if a.Name != runs.ReportName {
			continue
		}
		res.Report = new(pipeline.Report)
		path := "/v1/sessions/" + url.PathEscape(st.ID) + "/artifacts/" + runs.ReportName
		if err := f.request(e.ctx, http.MethodGet, path, nil, res.Report); err != nil {
			return err
		}
	}
	return errors.Join(c.print(e, &res), sessionError(&st))
}
