package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/conversion"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/outcome"
	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/internal/tempspool"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/units"
)

type recoverCmd struct {
	Dirs    []string `arg:"" optional:"" help:"Data directory, spool, or a session's directory in a spool; without it those that captures and ranks have left in the directory for temporary files." placeholder:"DIR" type:"path"`
	RunsDir string   `default:"runs" help:"Where the runs are made." type:"path"`
	JSON    bool     `name:"json" help:"Print the sessions as JSON."`
}

// recoverResult is what --json prints.
type recoverResult struct {
	SchemaVersion int                `json:"schema_version"`
	Sessions      []recoveredSession `json:"sessions"`
}

type recoveredSession struct {
	ID      string          `json:"id"`
	Dir     string          `json:"dir"` // that was searched
	Session *session.Status `json:"session,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// recoverSchema is the version of recoverResult.
const recoverSchema = 1

// Run hands over the recordings that lie in spools. A directory that a process still uses is left
// alone: with an error if the user named it, silently otherwise.
func (c *recoverCmd) Run(e *cli.Env) error {
	dirs, named := c.Dirs, true
	if len(dirs) == 0 {
		named = false
		var err error
		if dirs, err = filepath.Glob(filepath.Join(os.TempDir(), omni.TempPattern)); err != nil {
			return err
		}
	}
	held := map[string]bool{}
	if !named {
		spools, err := tempspool.Abandoned(os.TempDir())
		if err != nil {
			return err
		}
		for _, s := range spools {
			dirs, held[s.Path] = append(dirs, s.Path), true
			defer func() { _, _ = s.Leave() }() // what could not be brought home stays, and was said
		}
	}
	res := recoverResult{SchemaVersion: recoverSchema, Sessions: []recoveredSession{}}
	var errs []error
	for _, dir := range dirs {
		found, err := c.recover(e.Ctx, e, dir, named || held[dir])
		if errors.Is(err, fs.ErrNotExist) && named {
			return cli.UsageError{Err: err}
		}
		errs = append(errs, err)
		for _, r := range found {
			out := recoveredSession{ID: r.ID, Dir: dir, Session: r.Session}
			switch {
			case r.Err != nil:
				out.Error = r.Err.Error()
				errs = append(errs, fmt.Errorf("session %s: %w", r.ID, r.Err))
			default:
				errs = append(errs, outcome.Error(r.Session))
			}
			res.Sessions = append(res.Sessions, out)
		}
	}
	err := errors.Join(errs...)
	if err != nil && len(res.Sessions) == 0 && !c.JSON {
		return err
	}
	return errors.Join(c.print(e, &res, dirs), err)
}

func (c *recoverCmd) recover(ctx context.Context, e *cli.Env, dir string, named bool) ([]hub.Recovered, error) {
	if !named {
		// Other users can write to the parent, and may have made a directory of that name.
		if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
			return nil, nil
		} else if uid, _, known := plainfile.Owner(st); known && uid != os.Geteuid() {
			return nil, nil
		}
		if _, err := os.Stat(hub.SpoolDir(dir)); err != nil {
			return nil, nil // it has no spool
		}
	}
	found, err := hub.Recover(ctx, hub.RecoverConfig{Dir: dir, RunsDir: c.RunsDir, Convert: conversion.Session,
		Logger: e.Log})
	if _, used := errors.AsType[*hub.ErrDataDirTaken](err); used && !named {
		return nil, nil
	}
	if err == nil && !named {
		if left, _ := filepath.Glob(filepath.Join(hub.SpoolDir(dir), "*",
			"*")); len(left) == 0 { //nolint:errcheck // the pattern is good
			err = os.RemoveAll(dir) // the capture that made it would have removed it
		}
	}
	return found, err
}

func (c *recoverCmd) print(e *cli.Env, res *recoverResult, dirs []string) error {
	if c.JSON {
		return cli.JSON(e.Out, res)
	}
	if len(res.Sessions) == 0 {
		where := "no capture and no rank has left a recording"
		if len(c.Dirs) > 0 {
			where = fmt.Sprintf("no recording lies in %d director%s", len(dirs),
				map[bool]string{true: "y", false: "ies"}[len(dirs) == 1])
		}
		_, err := fmt.Fprintln(report.Terminal(e.Out), where)
		return err
	}
	w := tabwriter.NewWriter(report.Terminal(e.Out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tSTATE\tRANKS\tCOMPLETE\tSIZE\tRUN")
	for _, s := range res.Sessions {
		if s.Session == nil {
			fmt.Fprintf(w, "%s\tnot brought home\t\t\t\t%s\n", s.ID, s.Error)
			continue
		}
		ranks, complete, bytes := 0, 0, int64(0)
		for _, st := range s.Session.Stages {
			for _, r := range st.Ranks {
				ranks++
				if r.State == protocol.StateComplete {
					complete++
				}
			}
		}
		for _, a := range store.AllArtifacts(s.Session) {
			bytes += a.Size
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", s.ID, s.Session.State, ranks, complete, units.Bytes(bytes),
			cli.ShortPath(s.Session.RunDir))
	}
	return w.Flush()
}
