package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store/catalog"
	"github.com/kinetoscope/kinetoscope/units"
)

type runsCmd struct {
	List    runsListCmd    `cmd:"" default:"withargs" help:"List a server's runs: searched, filtered, sorted."`
	Label   runsLabelCmd   `cmd:"" help:"Give a run tags, a note or a pin, or take them away."`
	Delete  runsDeleteCmd  `cmd:"" help:"Delete runs with all their files."`
	Archive runsArchiveCmd `cmd:"" help:"Bring a run home as one tar archive."`
	Upload  runsUploadCmd  `cmd:"" help:"Bring a trace that was recorded elsewhere to a server, as a run of its own."`
}

type runsListCmd struct {
	flags.Server
	Search []string `arg:"" optional:"" help:"Words that must all occur in what is known of a run."`
	Tag    []string `help:"A tag that runs must have; may be given several times." placeholder:"TAG"`
	Health string   `help:"Only runs that are whole, flawed or broken." placeholder:"HEALTH"`
	Kind   string   `help:"Only what a session recorded, or what was uploaded: session, upload." placeholder:"KIND"`
	Pinned bool     `help:"Only pinned runs."`
	Sort   string   `default:"started" help:"By started, name, duration, size, health or ranks."`
	Asc    bool     `help:"The least first."`
	Limit  int      `default:"50" help:"How many at most."`
}

// Run lists a server's runs.
func (c *runsListCmd) Run(e *cli.Env) error {
	server, err := c.Client()
	if err != nil {
		return err
	}
	q := url.Values{"sort": {c.Sort}, "limit": {fmt.Sprint(c.Limit)}, "tag": c.Tag}
	for key, v := range map[string]string{"q": strings.Join(c.Search, " "), "health": c.Health, "kind": c.Kind} {
		if v != "" {
			q.Set(key, v)
		}
	}
	if c.Pinned {
		q.Set("pinned", "true")
	}
	if c.Asc {
		q.Set("order", "asc")
	}
	list, err := server.Runs(e.Ctx, q)
	if err != nil {
		return flags.ServerError(err)
	}
	if c.JSON {
		return cli.JSON(e.Out, list)
	}
	w := tabwriter.NewWriter(report.Terminal(e.Out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTARTED\tPREFIX\tRECORDED\tSIZE\tRANKS\tHEALTH\tPIN\tTAGS")
	for _, it := range list.Items {
		pin, recorded := "", "-"
		if it.Pinned {
			pin = "pinned"
		}
		if it.RecordedNs > 0 {
			recorded = units.Duration(float64(it.RecordedNs))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\t%s\n", it.ID, it.StartedAt.Local().Format(time.DateTime),
			it.Prefix, recorded, units.Bytes(it.Bytes), it.Complete, it.Ranks, it.Health, pin,
			strings.Join(it.Tags, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if n := len(list.Items); n < list.Matched {
		fmt.Fprintf(e.Err, "note: %d of %d runs; --limit shows more\n", n, list.Matched)
	}
	return nil
}

type runsLabelCmd struct {
	flags.Server
	ID   string   `arg:"" help:"The run's id."`
	Tag  []string `help:"The run's tags, in place of those that it has; may be given several times." placeholder:"TAG"`
	Bare bool     `name:"no-tags" help:"Take all tags away."`
	Note *string  `help:"What is to be said of the run; empty takes it away." placeholder:"TEXT"`
	Pin  *bool    `negatable:"" help:"Keep the run from being deleted; --no-pin takes that back."`
}

// Run labels a run.
func (c *runsLabelCmd) Run(e *cli.Env) error {
	p := catalog.Patch{Note: c.Note, Pinned: c.Pin}
	if c.Bare && len(c.Tag) > 0 {
		return cli.Usage("--tag and --no-tags: name one")
	}
	if c.Bare || len(c.Tag) > 0 {
		tags := append([]string{}, c.Tag...)
		p.Tags = &tags
	}
	if p == (catalog.Patch{}) {
		return cli.Usage("nothing to say of the run: --tag, --no-tags, --note, --pin or --no-pin")
	}
	server, err := c.Client()
	if err != nil {
		return err
	}
	it, err := server.LabelRun(e.Ctx, c.ID, p)
	if err != nil {
		return flags.ServerError(err)
	}
	return c.answer(e, it)
}

// answer prints how a run is labelled now.
func (c *runsLabelCmd) answer(e *cli.Env, it *catalog.Item) error {
	if c.JSON {
		return cli.JSON(e.Out, it)
	}
	pin := "not pinned"
	if it.Pinned {
		pin = "pinned"
	}
	_, err := fmt.Fprintf(report.Terminal(e.Out), "%s: %s; tags: %s; note: %s\n", it.ID, pin,
		cmp.Or(strings.Join(it.Tags, ", "), "none"), cmp.Or(it.Note, "none"))
	return err
}

type runsDeleteCmd struct {
	flags.Server
	IDs []string `arg:"" name:"id" help:"The runs' ids."`
}

// Run deletes runs. One that cannot be deleted does not keep the others.
func (c *runsDeleteCmd) Run(e *cli.Env) error {
	server, err := c.Client()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range c.IDs {
		if err := server.DeleteRun(e.Ctx, id); err != nil {
			errs = append(errs, flags.ServerError(err))
			continue
		}
		fmt.Fprintf(report.Terminal(e.Out), "%s is deleted\n", id)
	}
	return errors.Join(errs...)
}

type runsArchiveCmd struct {
	flags.Server
	ID     string `arg:"" help:"The run's id."`
	Output string `short:"o" help:"Where the archive goes; ID.tar without it, - is standard output." placeholder:"FILE"`
}

// Run writes the archive to a file that is not there yet, or to standard output.
func (c *runsArchiveCmd) Run(e *cli.Env) (err error) {
	server, err := c.Client()
	if err != nil {
		return err
	}
	body, err := server.ArchiveRun(e.Ctx, c.ID)
	if err != nil {
		return flags.ServerError(err)
	}
	defer body.Close()
	if c.Output == "-" {
		_, err := io.Copy(e.Out, body)
		return err
	}
	path := cmp.Or(c.Output, filepath.Base(c.ID)+".tar")
	var n int64
	err = newFile(path, 0o600, func(w io.Writer) (err error) {
		n, err = io.Copy(w, body)
		return err
	})
	if errors.Is(err, os.ErrExist) {
		return cli.Usage("%s is there already: --output names another file", path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintf(report.Terminal(e.Out), "%s (%s)\n", path, units.Bytes(n))
	return nil
}

type runsUploadCmd struct {
	flags.Server
	Files []string `arg:"" name:"file" help:"Traces, packed or not, or archives of traces." type:"existingfile"`
}

// Run uploads files one after the other.
func (c *runsUploadCmd) Run(e *cli.Env) error {
	server, err := c.Client()
	if err != nil {
		return err
	}
	var items []*catalog.Item
	for _, path := range c.Files {
		f, err := os.Open(path)
		if err != nil {
			return cli.UsageError{Err: err}
		}
		st, err := f.Stat()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		it, err := server.UploadRun(e.Ctx, filepath.Base(path), st.Size(), io.NopCloser(f))
		if err := errors.Join(err, f.Close()); err != nil {
			return flags.ServerError(err)
		}
		items = append(items, it)
		if !c.JSON {
			fmt.Fprintf(report.Terminal(e.Out), "%s is run %s (%s, %s)\n", path, it.ID, it.Upload.Format,
				units.Bytes(it.Bytes))
		}
	}
	if c.JSON {
		return cli.JSON(e.Out, items)
	}
	return nil
}
