package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/web/api"
)

type statusCmd struct{ flags.Server }

// statusAnswer is what --json prints.
type statusAnswer struct {
	SchemaVersion int             `json:"schema_version"`
	Health        *api.Health     `json:"health"`
	Sessions      api.SessionList `json:"sessions"` // the last one
}

// Run shows a server's stages and its last session. It fails if the server does not serve.
func (c *statusCmd) Run(e *cli.Env) error {
	server, err := c.Client()
	if err != nil {
		return err
	}
	h, err := server.Health(e.Ctx)
	if err != nil {
		return flags.ServerError(err)
	}
	list, err := server.Sessions(e.Ctx, 1)
	if err != nil {
		return flags.ServerError(err)
	}
	if c.JSON {
		err = cli.JSON(e.Out, statusAnswer{1, h, api.Sessions(list)})
	} else {
		err = c.print(e, h)
		switch {
		case err != nil:
		case len(list) == 0:
			fmt.Fprintln(e.Out, "no session yet")
		default:
			err = outcome.Print(e.Out, list[0])
		}
	}
	if err == nil && h.Status != api.HealthOK {
		err = fmt.Errorf("the server is %s: %s", h.Status, h.Reason)
	}
	return err
}

func (c *statusCmd) print(e *cli.Env, h *api.Health) error {
	fmt.Fprintf(report.Terminal(e.Out), "server %s: %s", c.URL, h.Status)
	if h.Reason != "" {
		fmt.Fprintf(report.Terminal(e.Out), ", %s", h.Reason)
	}
	fmt.Fprintln(e.Out)
	w := tabwriter.NewWriter(report.Terminal(e.Out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tNAME\tTYPE\tREPLICAS\tRANKS\tPROFILER")
	for _, s := range h.Stages {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%v\n", s.ID, s.Name, s.Type, s.Replicas, s.Ranks, s.Profiler)
	}
	return w.Flush()
}
