package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// answerFlags say in which form a verb answers.
type answerFlags struct {
	JSON    bool   `name:"json" xor:"form" help:"Print everything as JSON."`
	CSV     bool   `name:"csv" xor:"form" help:"Print one table as CSV, with a header row: durations in ns, shares in 0…1."`
	Table   string `help:"Only this table; a wrong name lists them." placeholder:"NAME"`
	Top     int    `help:"Rows of a table; 0 is all. CSV has all rows without it." default:"-1" placeholder:"N"`
	Sort    string `help:"Sort the table by this column of its CSV form, largest first, texts from a to z." placeholder:"COLUMN"`
	Reverse bool   `help:"Sort the other way round."`
}

// answerSchema is the version of what --json prints; docs/cli.md describes it.
const answerSchema = 1

// answer is what a verb found, in all its forms.
type answer struct {
	title, note string
	lines       []string        // above the tables
	tables      []*report.Table // the first is the verb's own, and what CSV prints
	above       []*report.Table // what a reader sees first
	asked       []*report.Table // only by --table: series over time
	json        map[string]any  // beside schema_version, command and traces
}

// perRank is the "ranks" of an answer.
func perRank[T any](list []report.Ranked[T]) []T {
	out := make([]T, len(list))
	for i := range list {
		out[i] = list[i].Value
	}
	return out
}

// print writes a in the form that was asked for.
func (f *answerFlags) print(e *env, command string, infos []traceInfo, a answer) error {
	if f.JSON {
		if f.Top >= 0 || f.Sort != "" || f.Table != "" {
			return usage("--json prints everything: leave out --top, --sort and --table")
		}
		doc := map[string]any{"schema_version": answerSchema, "command": command, "traces": infos}
		if len(e.left) > 0 {
			doc["not_read"] = e.left
		}
		for k, v := range a.json {
			doc[k] = v
		}
		return printJSON(e.out, doc)
	}
	tables := append(slices.Clone(a.tables), a.above...)
	if f.Table != "" {
		tables = append(tables, a.asked...)
	}
	tables, err := f.choose(tables)
	if err != nil {
		return err
	}
	if f.CSV {
		w := bufio.NewWriter(e.out)
		if err := tables[0].CSV(w); err != nil {
			return err
		}
		return w.Flush()
	}
	o := textOptions(e)
	if n := len(tables) - len(a.above); n > 0 && f.Table == "" {
		tables = slices.Concat(tables[n:], tables[:n])
	}
	empty := true
	for _, t := range tables {
		empty = empty && len(t.Rows) == 0
	}
	lines := a.lines
	if empty && len(lines) == 0 {
		lines = append(lines, "There is nothing of this in the trace.")
	}
	return report.Page(e.out, a.title, a.note, []report.Section{{Lines: lines, Tables: tables}}, o)
}

// choose applies --table, --sort and --top.
func (f *answerFlags) choose(tables []*report.Table) ([]*report.Table, error) {
	if f.Table != "" {
		var names []string
		for _, t := range tables {
			if t.Name == f.Table {
				tables = []*report.Table{t}
				names = nil
				break
			}
			names = append(names, t.Name)
		}
		if names != nil {
			return nil, usage("--table %s: this verb has %s", f.Table, strings.Join(names, ", "))
		}
	}
	if f.Reverse && f.Sort == "" {
		return nil, usage("--reverse: by which column? --sort names it")
	}
	if f.Sort != "" {
		if err := tables[0].Sort(f.Sort, !f.Reverse); err != nil {
			return nil, usage("--sort: %w", err)
		}
	}
	for i, t := range tables {
		switch {
		case f.Top == 0:
			t.Limit = max(1, len(t.Rows))
		case f.Top > 0 && f.CSV:
			t.Rows = t.Rows[:min(f.Top, len(t.Rows))]
		case f.Top > 0:
			t.Limit = f.Top
		case f.Table != "" || len(tables) == 1:
			t.Limit = max(t.Limit, longTable)
		case i == 0:
			t.Limit = max(t.Limit, mainTable)
		}
	}
	return tables, nil
}

// Rows of a verb's first table, and of a table that stands alone, for a reader.
const (
	mainTable = 20
	longTable = 40
)

// textOptions suit stdout.
func textOptions(e *env) report.TextOptions {
	if f, ok := e.out.(*os.File); ok {
		return report.Detect(f, os.Getenv)
	}
	return report.TextOptions{}
}

// maxNamed bounds the traces that a heading names.
const maxNamed = 8

// pageTitle names what an answer is about.
func pageTitle(infos []traceInfo) (title, note string) {
	if len(infos) == 1 {
		i := infos[0]
		title = filepath.Base(i.File)
		if i.File == open.Stdin {
			title = "standard input"
		}
		var parts []string
		if who := identity.Name(i.meta); who != "" {
			parts = append(parts, who)
		}
		return title, strings.Join(append(parts, fmt.Sprintf("%d slices", i.Slices)), ", ")
	}
	names := labels(infos)
	if len(names) > maxNamed {
		names = append(names[:maxNamed-1:maxNamed-1], "…", names[len(names)-1])
	}
	return fmt.Sprintf("%d traces", len(infos)), strings.Join(names, ", ")
}
