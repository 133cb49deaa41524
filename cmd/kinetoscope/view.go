package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/httpd"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web"
	"github.com/kinetoscope/kinetoscope/web/view"
)

type viewCmd struct {
	Paths []string `arg:"" help:"Traces, directories of ranks, runs (path, beginning of the id, latest); all on one clock."`
	reading.Options
	reading.Choice
	Addr      string   `default:"127.0.0.1:0" help:"Address to serve HTTP on; port 0 takes a free one." placeholder:"HOST:PORT"`
	NoOpen    bool     `help:"Print the URL and open no browser."`
	Place     string   `default:"auto" enum:"auto,clock,start" help:"Lay traces where they lie on the common clock, or let each begin at 0; auto does the latter for files of different occasions."`
	APIKeys   []string `name:"api-key" sep:"none" env:"KINETOSCOPE_API_KEY" help:"Key that clients must show; one is made up without it." placeholder:"KEY"`
	ReadyFile string   `help:"Write the URL to this file once it serves, for scripts that wait for it." type:"path"`
}

// Run serves the page until the user ends it.
func (c *viewCmd) Run(e *cli.Env) error {
	ins, title, detail, missing, err := c.find()
	if err != nil {
		return err
	}
	opts, b, err := c.Opening(e)
	if err != nil {
		return err
	}
	opts.Progress = nil
	if opts.Index == (index.Cache{}) {
		opts.Index = index.UserCache()
	}
	if err := httpd.CheckKeys(c.APIKeys); err != nil {
		return err
	}
	keys, made := c.APIKeys, ""
	if len(keys) == 0 {
		made = rand.Text()
		keys = []string{made}
	}
	ln, err := httpd.Bind(e.Ctx, c.Addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	lib := &paths{cmd: c, ins: ins, title: title, detail: detail, missing: missing, opts: opts, bar: b}
	api := view.New(view.Config{Library: lib, Memory: opts.Memory})
	defer api.Close()
	srv := httpd.New(ln, web.Config{View: api, APIKeys: keys, Logger: e.Log, ShutdownGrace: httpd.QuickShutdown})
	url := srv.URL + "/view/" + web.ViewID
	if made != "" {
		url += "#key=" + made // the part behind # stays in the browser
	}
	fmt.Fprintln(e.Out, url)
	if c.ReadyFile != "" {
		if err := httpd.WriteURL(c.ReadyFile, url); err != nil {
			return err
		}
		defer os.Remove(c.ReadyFile)
	}
	if err := api.Begin(web.ViewID); err != nil { // before the browser is there
		return err
	}
	if !c.NoOpen {
		openBrowser(e, url)
	}
	return errors.Join(srv.Serve(e.Ctx), c.Full(e))
}

// find lists what there is to show before anything is served, so that a wrong path is
// exit code 2.
func (c *viewCmd) find() (ins []view.Input, title, detail string, missing []view.Failure, err error) {
	for _, p := range c.Paths {
		if p == open.Stdin {
			return nil, "", "", nil, cli.Usage("view shows files, directories and runs; standard input is none of them")
		}
		run, err := c.FindRun(p)
		if err != nil {
			return nil, "", "", nil, err
		}
		if run != nil {
			defer run.Close()
			m, err := run.Manifest()
			if err != nil {
				return nil, "", "", nil, cli.UsageError{Err: err}
			}
			list, lost, err := view.RunInputs(run, m)
			if err != nil {
				return nil, "", "", nil, cli.UsageError{Err: err}
			}
			ins, missing = append(ins, list...), append(missing, lost...)
			title, detail = cmp.Or(m.Session.Prefix, "session "+m.Session.ID), filepath.Base(run.Dir())
			continue
		}
		found, err := open.Find([]string{p})
		if err != nil {
			return nil, "", "", nil, cli.UsageError{Err: err}
		}
		for _, s := range found {
			ins = append(ins, view.Input{Path: s.Path})
		}
		title, detail = filepath.Base(p), filepath.Dir(p)
	}
	if len(c.Paths) > 1 {
		names := make([]string, len(c.Paths))
		for i, p := range c.Paths {
			names[i] = filepath.Base(p)
		}
		title, detail = strings.Join(names[:min(3, len(names))], ", "), fmt.Sprintf("%d traces", len(ins))
	}
	return ins, title, detail, missing, nil
}

// paths is the library of what the user has named: one view.
type paths struct {
	cmd           *viewCmd
	ins           []view.Input
	title, detail string
	missing       []view.Failure
	opts          open.Options
	bar           *cli.Bar
}

// Open implements view.Library.
func (l *paths) Open(ctx context.Context, id string, progress func(open.Progress)) (*view.Opened, error) {
	if id != web.ViewID {
		return nil, fmt.Errorf("this viewer shows /view/%s: %w", web.ViewID, fs.ErrNotExist)
	}
	out := &view.Opened{Title: l.title, Detail: l.detail, Place: timeline.Placement(l.cmd.Place)}
	var err error
	out.Sources, out.Failed, err = view.Read(ctx, l.ins, l.opts, func(p open.Progress) {
		l.bar.Update(p)
		progress(p)
	})
	l.bar.End()
	if err != nil {
		return nil, err
	}
	out.Sources = slices.DeleteFunc(out.Sources, func(s timeline.Source) bool { return !l.cmd.Wanted(s.Trace) })
	out.Failed = append(slices.Clone(l.missing), out.Failed...)
	if len(out.Sources) == 0 {
		return nil, errors.New("no trace of that rank and stage")
	}
	return out, nil
}

// openBrowser shows url to the user; that it could not is no error of the verb.
func openBrowser(e *cli.Env, url string) {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	cmd := exec.Command(name, args...) // it outlives nobody: it hands the URL to a browser and ends
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(e.Err, "note: no browser was opened (%v); open the URL above\n", err)
		return
	}
	go func() { _ = cmd.Wait() }() // reaped when it ends, at the latest with this process
}
