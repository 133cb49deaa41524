package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/timeline"
)

// briefFlags ask for a report in 4 KiB.
type briefFlags struct {
	Brief    bool   `xor:"form" help:"Print what stands out, in 4 KiB at most: findings, the command that shows the slice behind each, and what to ask next."`
	Save     string `help:"Write that into a new Markdown file, with the question and what was not covered." type:"path" placeholder:"FILE"`
	Question string `help:"The question that --save answers; it is the title." default:"Where did the time go?" placeholder:"TEXT"`
}

func (f *briefFlags) brief() bool { return f.Brief || f.Save != "" }

// checkBrief refuses forms that a Brief does not have, before anything is read.
func (c *reportCmd) checkBrief() error {
	if c.brief() && (c.JSON || c.CSV || c.Table != "" || c.Sort != "" || c.Top >= 0) {
		return cli.Usage("--brief and --save take no --json, --csv, --table, --sort and --top")
	}
	return nil
}

// printBrief prints or saves a Brief, or does both.
func (c *reportCmd) printBrief(e *cli.Env, b *report.Brief) error {
	b.Paths = c.Paths
	for _, l := range e.Left {
		b.NotCovered = append(b.NotCovered, l.Path+": "+l.Reason)
	}
	if c.Save != "" {
		err := newFile(c.Save, 0o644, func(w io.Writer) error { return b.Markdown(w, c.Question) })
		if errors.Is(err, os.ErrExist) {
			return cli.Usage("--save %s: there is such a file already; choose another name", c.Save)
		}
		if err != nil {
			return fmt.Errorf("save the report: %w", err)
		}
	}
	if c.Brief {
		return b.Text(e.Out)
	}
	fmt.Fprintln(report.Terminal(e.Out), c.Save)
	return nil
}

// briefTraces is the Brief of traces.
func briefTraces(page *report.TraceReport, infos []reading.Info) *report.Brief {
	b := page.Brief()
	for i := range b.Findings {
		f := &b.Findings[i]
		if at := f.Evidence.Rank; at >= 0 && at < len(infos) {
			locate(f, infos[at].File, infos[at].Seq)
		}
	}
	return b
}

// locate says where the slice behind a finding is, if its trace is a file that can be opened.
func locate(f *report.BriefFinding, file string, trace int) {
	if _, err := os.Stat(file); err != nil || f.Evidence.Slice == finding.NoSlice {
		return
	}
	f.Path, f.ID = cli.ShortPath(file), timeline.SliceID(trace, f.Evidence.Slice)
}

func files(infos []reading.Info) []string {
	var out []string
	for i := range infos {
		out = append(out, infos[i].File)
	}
	return out
}

// briefPipeline is the Brief of a pipeline whose ranks' traces are in files.
func briefPipeline(rep *pipeline.Report, files []string) *report.Brief {
	b := report.PipelineBrief(rep)
	for i := range b.Findings {
		f := &b.Findings[i]
		if at := f.Evidence.Rank; at >= 0 && at < len(files) {
			locate(f, files[at], 0)
		}
	}
	return b
}

// briefRuns prints or saves the Brief of one run.
func (c *reportCmd) briefRuns(e *cli.Env, list []*store.Run, all []runReport) error {
	if len(all) != 1 {
		return cli.Usage("--brief and --save: of one run, there are %d", len(all))
	}
	m, err := list[0].Manifest()
	if err != nil {
		return cli.UsageError{Err: err}
	}
	var paths []string
	if ins, err := runs.Inputs(list[0]); err == nil { // without the traces there are no slices to show
		for _, in := range ins {
			paths = append(paths, in.Path)
		}
	}
	b := briefPipeline(all[0].Report, paths)
	b.Note = filepath.Base(all[0].Dir) + ", " + b.Note
	for _, r := range runs.Incomplete(&m.Session) {
		b.NotCovered = append(b.NotCovered, fmt.Sprintf("%s rank %d is %s: %s", r.StageName, r.Rank, r.State, r.Reason))
	}
	return c.printBrief(e, b)
}
