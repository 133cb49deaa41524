package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/units"
	"github.com/kinetoscope/kinetoscope/web/api"
)

type sessionsCmd struct {
	flags.Server
	ID       string `arg:"" optional:"" help:"Session to show; all without it."`
	Download string `help:"Directory to put the session's artifacts into." type:"path" placeholder:"DIR"`
}

// Run lists a server's sessions, shows one, or downloads its files.
func (c *sessionsCmd) Run(e *cli.Env) error {
	server, err := c.Client()
	if err != nil {
		return err
	}
	if c.ID == "" {
		if c.Download != "" {
			return cli.Usage("--download: say which session")
		}
		return c.list(e, server)
	}
	st, err := server.Session(e.Ctx, c.ID)
	if err != nil {
		return flags.ServerError(err)
	}
	if c.Download != "" {
		return c.download(e, server, st)
	}
	return outcome.Show(e, c.JSON, st)
}

func (c *sessionsCmd) list(e *cli.Env, server *client.Client) error {
	list, err := server.Sessions(e.Ctx, 0)
	if err != nil {
		return flags.ServerError(err)
	}
	if c.JSON {
		return cli.JSON(e.Out, api.Sessions(list))
	}
	w := tabwriter.NewWriter(report.Terminal(e.Out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tSTATE\tSTARTED\tPREFIX\tRANKS\tCOMPLETE")
	for _, st := range list {
		ranks := 0
		for _, s := range st.Stages {
			ranks += len(s.Ranks)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", st.ID, st.State, st.StartedAt.Local().Format(time.DateTime),
			st.Prefix,
			ranks, ranks-len(runs.Incomplete(st)))
	}
	return w.Flush()
}

// download fetches every artifact of a session and checks its hash.
func (c *sessionsCmd) download(e *cli.Env, server *client.Client, st *session.Status) error {
	if len(store.AllArtifacts(st)) == 0 {
		return errors.New("the session has no artifacts; is it complete?")
	}
	if err := os.MkdirAll(c.Download, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.Download)
	if err != nil {
		return err
	}
	defer root.Close()
	return flags.ServerError(server.Download(e.Ctx, st, root, func(a protocol.Artifact) {
		fmt.Fprintf(report.Terminal(e.Out), "%s (%s)\n", a.Name, units.Bytes(a.Size))
	}))
}
