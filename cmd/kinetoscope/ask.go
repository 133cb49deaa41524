package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/alecthomas/kong"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/nodes"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// askCmd is the verb of a registered analysis.
type askCmd struct {
	answer.Verb
	nodes.Server
	kong.Plugins // the analysis' own options, and those of the flags below that apply to it

	hta    flags.Definition
	byRank flags.ByRank
	q      *analyses.Question
}

func newAskCmd(a *analyses.Analysis) *askCmd {
	c := &askCmd{q: a.Ask()}
	if a.Sums {
		c.Plugins = append(c.Plugins, &c.byRank)
	}
	if a.HTA {
		c.Plugins = append(c.Plugins, &c.hta)
	}
	c.Plugins = append(c.Plugins, c.q.Options())
	return c
}

// compareCmd is the verb of a registered comparison.
type compareCmd struct {
	A string `arg:"" help:"Trace or run before."`
	B string `arg:"" help:"Trace or run after; - is stdin."`
	reading.Options
	reading.Choice
	answer.Flags
	kong.Plugins // the comparison's own options, and --hta if it has it

	hta flags.Definition
	q   *analyses.Pair
}

func newCompareCmd(a *analyses.Analysis) *compareCmd {
	c := &compareCmd{q: a.Pair()}
	if a.HTA {
		c.Plugins = append(c.Plugins, &c.hta)
	}
	c.Plugins = append(c.Plugins, c.q.Options())
	return c
}

// asked is what the user chose.
func (c *askCmd) asked() analyses.Asked {
	return analyses.Asked{HTA: c.hta.HTA, ByRank: c.byRank.ByRank, Everything: c.JSON || c.Table != ""}
}

// Run asks the question of every trace and prints the answer.
func (c *askCmd) Run(e *cli.Env) error {
	if err := inputError(c.q.Check(c.asked())); err != nil {
		return err
	}
	c.Doubted, c.Appetite = c.hta.HTA || c.q.Doubts, c.q.Appetite
	list, infos, err := c.ranked(e)
	if err != nil {
		return inputError(err)
	}
	found, err := c.q.Answer(list, c.asked())
	if err != nil {
		return inputError(err)
	}
	if err := beside(e, &found); err != nil {
		return err
	}
	if found.Each != nil && !c.JSON && !c.CSV && c.Table == "" {
		return c.each(e, &found, infos)
	}
	a := answerOf(c.q.Analysis, &found)
	a.Title, a.Note = answer.Title(infos)
	return c.Print(e, c.q.Name, infos, a)
}

// ranked asks the question of every trace, here or on the nodes where they are.
func (c *askCmd) ranked(e *cli.Env) ([]report.Ranked[any], []reading.Info, error) {
	at, err := nodes.Places(c.Paths)
	if err != nil {
		return nil, nil, err
	}
	if len(at) > 0 {
		if err := c.q.Travels(); err != nil {
			return nil, nil, err
		}
		return nodes.Ranked(e, &c.Server, &c.Options, &c.Choice, at, nodes.Question[any]{
			Verb: c.q.Name, Options: c.q.Options(), Asked: c.asked(), Unpack: c.q.Unpack})
	}
	var failed firstError
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, c.Paths, func(s *analysis.Subject) any {
		r, err := c.q.Rank(s, c.asked())
		if err != nil {
			failed.note(fmt.Errorf("%s: %w", s.Trace.Meta.File, err))
		}
		return r
	})
	return list, infos, cmp.Or(err, failed.get())
}

// each prints the traces one below the other.
func (c *askCmd) each(e *cli.Env, found *analyses.Answer, infos []reading.Info) error {
	if c.Sort != "" {
		return cli.Usage("--sort: only with --csv or --table %s", c.q.Tables[0])
	}
	o := e.Text()
	switch {
	case c.Top > 0:
		o.Rows = c.Top
	case c.Top == 0:
		o.Rows = -1
	}
	for i := range infos {
		if i > 0 {
			if err := report.Page(e.Out, " ", "", nil, o); err != nil {
				return err
			}
		}
		title, note := answer.Title(infos[i : i+1])
		if err := report.Page(e.Out, title, note, nil, o); err != nil {
			return err
		}
		if err := found.Each(e.Out, i, o); err != nil {
			return err
		}
	}
	return nil
}

// compareAppetite keeps both sides in memory, and reserves as much again for comparing them.
const compareAppetite = 2

// Run reads both sides and prints what changed.
func (c *compareCmd) Run(e *cli.Env) error {
	if c.A == open.Stdin && c.B == open.Stdin {
		return cli.Usage("only one of the traces can be standard input")
	}
	asked := analyses.Asked{HTA: c.hta.HTA, Everything: c.JSON || c.Table != ""}
	if err := inputError(c.q.Check(asked)); err != nil {
		return err
	}
	c.Doubted, c.Appetite = c.q.Doubts, compareAppetite
	side := c.side
	whole, err := c.pipelines()
	if err != nil {
		return err
	}
	if whole {
		side = c.pipeline
	}
	before, infos, err := side(e, c.A)
	if err != nil {
		return err
	}
	after, more, err := side(e, c.B)
	if err != nil {
		return err
	}
	for i := range more {
		more[i].Index += len(infos)
	}
	found, err := c.q.Compare(before, after, asked)
	if err != nil {
		return inputError(err)
	}
	if err := beside(e, &found); err != nil {
		return err
	}
	a := answerOf(c.q.Analysis, &found)
	if whole {
		a.Title, a.Note = "A "+before.Pipeline.Name, "B "+after.Pipeline.Name
	} else {
		a.Title, a.Note = "A "+infos[0].File, "B "+more[0].File
	}
	return c.Print(e, c.q.Name, append(infos, more...), a)
}

func (c *compareCmd) side(e *cli.Env, path string) (analyses.Input, []reading.Info, error) {
	keep := func(s *analysis.Subject) *trace.Trace { return s.Trace }
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, []string{path}, keep)
	return analyses.Input{Path: path, Traces: list}, infos, err
}

// beside writes what comes with an answer but is not part of it: files and notes.
func beside(e *cli.Env, found *analyses.Answer) error {
	for _, f := range found.Files {
		if err := replaceFile(f.Path, f.Content); err != nil {
			return fmt.Errorf("%s: %w", f.Flag, err)
		}
	}
	for _, n := range found.Notes {
		fmt.Fprintln(e.Err, "note:", n)
	}
	return nil
}

// answerOf is what an analysis has found, to be printed.
func answerOf(a *analyses.Analysis, found *analyses.Answer) answer.Answer {
	out := answer.Answer{Lines: found.Lines, Tables: found.Tables, Above: found.Above, Asked: found.Asked,
		JSON: found.JSON}
	some := func(t *report.Table) bool { return t.Len() > 0 }
	if a.Needs != "" && len(out.Lines) == 0 && !slices.ContainsFunc(found.Tables, some) {
		out.Lines = append(out.Lines, a.Needs)
	}
	return out
}

// inputError makes a UsageError of an analysis' error about its input.
func inputError(err error) error {
	var wrong *analyses.InputError
	if errors.As(err, &wrong) {
		return cli.UsageError{Err: err}
	}
	return err
}

// firstError keeps the first error that any of several goroutines reports.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
