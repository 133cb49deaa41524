package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/httpd"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/catalog"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web"
	"github.com/kinetoscope/kinetoscope/web/view"
)

type viewCmd struct {
	Paths []string `arg:"" optional:"" help:"Traces, directories of ranks, runs (path, beginning of the id, latest); all on one clock. Without any the page of the runs in --runs-dir, to which traces can be dropped."`
	reading.Options
	reading.Choice
	Addr      string   `default:"127.0.0.1:0" help:"Address to serve HTTP on; port 0 takes a free one." placeholder:"HOST:PORT"`
	NoOpen    bool     `help:"Print the URL and open no browser."`
	Compare   bool     `help:"Compare what the first path means with what the second does."`
	At        string   `help:"Show this slice first: TRACE.SLICE, or SLICE of the first trace, as report --brief names it." placeholder:"ID"`
	Place     string   `default:"auto" enum:"auto,clock,start" help:"Lay traces where they lie on the common clock, or let each begin at 0; auto does the latter for files of different occasions."`
	APIKeys   []string `name:"api-key" sep:"none" env:"KINETOSCOPE_API_KEY" help:"Key that clients must show; one is made up without it." placeholder:"KEY"`
	ReadyFile string   `help:"Write the URL to this file once it serves, for scripts that wait for it." type:"path"`
}

// Run serves the page until the user ends it.
func (c *viewCmd) Run(e *cli.Env) error {
	at, err := c.at()
	if err != nil {
		return err
	}
	of, page, err := c.shelves(e)
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
	runs, done, err := c.runs()
	if err != nil {
		return err
	}
	defer done()
	parts := int64(max(1, len(of)))
	opts.Memory /= parts // the sides share the limit
	lib := &paths{cmd: c, env: e, of: of, opts: opts, bar: b, runs: view.Runs{Root: runs.Root(), Reading: opts}}
	api := view.New(view.Config{Library: lib, Memory: opts.Memory * parts, Runs: true})
	defer api.Close()
	srv := httpd.New(ln, web.Config{View: api, Catalog: runs, Front: page, APIKeys: keys, Logger: e.Log,
		ShutdownGrace: httpd.QuickShutdown})
	page = srv.URL + page
	if made != "" {
		at.Set("key", made) // browsers do not send what follows #
	}
	if len(at) > 0 {
		page += "#" + at.Encode()
	}
	fmt.Fprintln(e.Out, page)
	if c.ReadyFile != "" {
		if err := httpd.WriteURL(c.ReadyFile, page); err != nil {
			return err
		}
		defer os.Remove(c.ReadyFile)
	}
	for id := range of {
		if err := api.Begin(id); err != nil { // reading begins before the browser asks
			return err
		}
	}
	if !c.NoOpen {
		openBrowser(e, page)
	}
	return errors.Join(srv.Serve(e.Ctx), c.Full(e))
}

// at returns what the address says of the slice to show.
func (c *viewCmd) at() (url.Values, error) {
	id := c.At
	if id == "" {
		return url.Values{}, nil
	}
	if !strings.Contains(id, ".") {
		id = "0." + id
	}
	if !timeline.ValidSliceID(id) {
		return nil, cli.Usage("--at %s: want TRACE.SLICE or SLICE, numbers from 0", c.At)
	}
	if c.Compare || len(c.Paths) == 0 {
		return nil, cli.Usage("--at shows a slice of the timeline: give paths, and no --compare")
	}
	return url.Values{"s": {id}}, nil
}

// runs are the runs of --runs-dir, to which the page brings what is dropped on it. Who looks at
// files in a directory without runs gets none there: what they drop is kept until the viewer
// ends, when done takes it away.
func (c *viewCmd) runs() (list *catalog.Catalog, done func(), err error) {
	dir, done := c.RunsDir, func() {}
	limits := catalog.Limits{}
	if _, err := os.Stat(dir); err != nil && len(c.Paths) > 0 {
		if dir, err = os.MkdirTemp("", "kinetoscope-view-"); err != nil {
			return nil, nil, err
		}
		limits.Temporary = true
		done = func() { _ = os.RemoveAll(dir) } // what is left lies where the system clears up
	}
	s, err := store.Open(dir)
	if err != nil {
		done()
		return nil, nil, err
	}
	return catalog.New(s, nil, limits), done, nil
}

// Ids of the two sides that --compare shows.
const (
	sideA = "a"
	sideB = "b"
)

// shelf is the input of one view.
type shelf struct {
	ins   []view.Input
	found *view.Opened // title and failures, known before anything is read
}

// shelves finds what there is to show before anything is served, so that a wrong path is exit code
// 2. It returns the shelves by the ids of their views, and the page to open.
func (c *viewCmd) shelves(e *cli.Env) (of map[string]*shelf, page string, err error) {
	ids, page := []string{web.ViewID}, "/view/"+web.ViewID
	if c.Compare {
		ids, page = []string{sideA, sideB}, "/compare?a="+sideA+"&b="+sideB
		if len(c.Paths) != len(ids) {
			return nil, "", cli.Usage("--compare takes two paths, there are %d", len(c.Paths))
		}
	}
	if len(c.Paths) == 0 {
		return nil, "/runs", nil
	}
	of = map[string]*shelf{}
	for i, id := range ids {
		paths := c.Paths
		if c.Compare {
			paths = c.Paths[i : i+1]
		}
		s := &shelf{}
		if s.found, s.ins, err = c.find(e, paths); err != nil {
			return nil, "", err
		}
		of[id] = s
	}
	return of, page, nil
}

// find returns the traces that paths mean, as one view.
func (c *viewCmd) find(e *cli.Env, paths []string) (out *view.Opened, ins []view.Input, err error) {
	out = &view.Opened{Place: timeline.Placement(c.Place)}
	var files []string
	for _, p := range paths {
		if p == open.Stdin {
			return nil, nil, cli.Usage("view shows files, directories and runs; standard input is none of them")
		}
		run, err := c.FindRun(p)
		if err != nil {
			return nil, nil, err
		}
		if run == nil {
			files = append(files, p)
			out.Title, out.Detail = filepath.Base(p), filepath.Dir(p)
			continue
		}
		defer run.Close()
		m, err := run.Manifest()
		if err != nil {
			return nil, nil, cli.UsageError{Err: err}
		}
		list, lost, err := view.RunInputs(run, m)
		if err != nil {
			return nil, nil, cli.UsageError{Err: err}
		}
		ins, out.Failed = append(ins, list...), append(out.Failed, lost...)
		out.Title, out.Detail = cmp.Or(m.Session.Prefix, "session "+m.Session.ID), filepath.Base(run.Dir())
		out.Session = view.SessionOf(m)
	}
	before := len(e.Left)
	found, err := c.Inputs(e, files)
	if err != nil {
		return nil, nil, err
	}
	for _, in := range found {
		ins = append(ins, view.Input(in))
	}
	for _, l := range e.Left[before:] {
		out.Left = append(out.Left, view.Failure{Path: l.Path, Error: l.Reason})
	}
	if len(paths) > 1 {
		names := make([]string, len(paths))
		for i, p := range paths {
			names[i] = filepath.Base(p)
		}
		out.Session = view.Session{} // of one run
		out.Title, out.Detail = strings.Join(names[:min(3, len(names))], ", "), fmt.Sprintf("%d traces", len(ins))
	}
	return out, ins, nil
}

// paths is the library of the traces that the user named: one view, or two to compare.
type paths struct {
	cmd  *viewCmd
	env  *cli.Env
	of   map[string]*shelf
	opts open.Options
	runs view.Runs // what was not named, by its id

	reading sync.Mutex // views are read one after the other, each by all cores, under one bar
	bar     *cli.Bar
}

// Open implements view.Library.
func (l *paths) Open(ctx context.Context, id string, progress func(open.Progress)) (*view.Opened, error) {
	s := l.of[id]
	if s == nil {
		return l.runs.Open(ctx, id, progress)
	}
	l.reading.Lock()
	defer l.reading.Unlock()
	out := *s.found
	out.Failed, out.Left = slices.Clone(out.Failed), slices.Clone(out.Left)
	err := out.Read(ctx, s.ins, l.opts, func(p open.Progress) {
		l.bar.Update(p)
		progress(p)
	})
	l.bar.End()
	if err != nil {
		return nil, err
	}
	l.sayLeft(&out)
	out.Sources = slices.DeleteFunc(out.Sources, func(s timeline.Source) bool { return !l.cmd.Wanted(s.Trace) })
	if len(out.Sources) == 0 {
		return nil, errors.New("no trace of that rank and stage")
	}
	return &out, nil
}

// sayLeft tells the user on stderr what the page does not show.
func (l *paths) sayLeft(o *view.Opened) {
	e := *l.env
	e.Left = nil
	for _, f := range o.Left {
		e.Left = append(e.Left, open.Left{Path: f.Path, Reason: f.Error})
	}
	reading.NoteLeft(&e)
}

// openBrowser shows url to the user. A failure is only noted: the user can open the URL by hand.
func openBrowser(e *cli.Env, url string) {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	cmd := exec.Command(name, args...) // not bound to ctx: it hands the URL to the browser and ends
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(e.Err, "note: no browser was opened (%v); open the URL above\n", err)
		return
	}
	go func() { _ = cmd.Wait() }() // reaped when it ends, at the latest with this process
}
