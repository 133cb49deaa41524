// Package answer prints the answer of a verb that reads traces: as tables for people, as one table
// in CSV, or as JSON.
package answer

import (
	"bufio"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Flags select the form of an answer.
type Flags struct {
	JSON    bool   `name:"json" xor:"form" help:"Print everything as JSON."`
	CSV     bool   `name:"csv" xor:"form" help:"Print one table as CSV, with a header row: durations in ns, shares in 0…1."`
	Table   string `help:"Only this table; a wrong name lists them." placeholder:"NAME"`
	Top     int    `help:"Rows of a table; 0 is all. CSV has all rows without it." default:"-1" placeholder:"N"`
	Sort    string `help:"Sort the table by this column of its CSV form, largest first, texts from a to z." placeholder:"COLUMN"`
	Reverse bool   `help:"Sort the other way round."`
}

// Schema is the version of what --json prints; docs/cli.md describes it.
const Schema = 1

// Answer is the answer of a verb, in all its forms.
type Answer struct {
	Title, Note string
	Lines       []string        // above the tables
	Tables      []*report.Table // the first is the verb's own, and what CSV prints
	Above       []*report.Table // printed before Tables, for people only
	Asked       []*report.Table // printed only if --table names them: series over time
	JSON        map[string]any  // members beside schema_version, command and traces
}

// Print writes a in the form that was asked for.
func (f *Flags) Print(e *cli.Env, command string, infos []reading.Info, a Answer) error {
	if f.JSON {
		if f.Top >= 0 || f.Sort != "" || f.Table != "" {
			return cli.Usage("--json prints everything: leave out --top, --sort and --table")
		}
		doc := map[string]any{"schema_version": Schema, "command": command, "traces": infos}
		if len(e.Left) > 0 {
			doc["not_read"] = e.Left
		}
		for k, v := range a.JSON {
			doc[k] = v
		}
		return cli.JSON(e.Out, doc)
	}
	tables := append(slices.Clone(a.Tables), a.Above...)
	if f.Table != "" {
		tables = append(tables, a.Asked...)
	}
	tables, err := f.Choose(tables)
	if err != nil {
		return err
	}
	if f.CSV {
		w := bufio.NewWriter(e.Out)
		if err := tables[0].CSV(w); err != nil {
			return err
		}
		return w.Flush()
	}
	o := e.Text()
	if n := len(tables) - len(a.Above); n > 0 && f.Table == "" {
		tables = slices.Concat(tables[n:], tables[:n])
	}
	empty := true
	for _, t := range tables {
		empty = empty && t.Len() == 0
	}
	lines := a.Lines
	if empty && len(lines) == 0 {
		lines = append(lines, nothing(infos))
	}
	return report.Page(e.Out, a.Title, a.Note, []report.Section{{Lines: lines, Tables: tables}}, o)
}

// nothing says that an answer is empty, what kind of files it was asked of, and which question to
// ask instead.
func nothing(infos []reading.Info) string {
	if len(infos) == 1 && reading.Foreign(&infos[0]) {
		return fmt.Sprintf(
			"There is nothing of this in the trace, which is %s. The verb report shows its tracks and slices by name.",
			format.Title(infos[0].Format))
	}
	if len(infos) > 1 {
		return "There is nothing of this in the traces. The verb inspect lists what they hold."
	}
	return "There is nothing of this in the trace. The verb inspect lists what it holds."
}

// Choose applies --table, --sort and --top.
func (f *Flags) Choose(tables []*report.Table) ([]*report.Table, error) {
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
			return nil, cli.Usage("--table %s: this verb has %s", f.Table, strings.Join(names, ", "))
		}
	}
	if f.Reverse && f.Sort == "" {
		return nil, cli.Usage("--reverse: by which column? --sort names it")
	}
	if f.Sort != "" {
		if err := tables[0].Sort(f.Sort, !f.Reverse); err != nil {
			return nil, cli.Usage("--sort: %w", err)
		}
	}
	for i, t := range tables {
		switch {
		case f.Top == 0:
			t.Limit = max(1, t.Len())
		case f.Top > 0 && f.CSV:
			t.Cut(f.Top)
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

// How many rows people see of a verb's first table, and of a table that stands alone.
const (
	mainTable = 20
	longTable = 40
)

// MaxNamed bounds the traces that a heading names.
const MaxNamed = 8

// Title names what an answer is about.
func Title(infos []reading.Info) (title, note string) {
	if len(infos) == 1 {
		i := infos[0]
		title = filepath.Base(i.File)
		if i.File == open.Stdin {
			title = "standard input"
		}
		var parts []string
		if who := identity.Name(i.Meta); who != "" {
			parts = append(parts, who)
		}
		return title, strings.Join(append(parts, fmt.Sprintf("%d slices", i.Slices)), ", ")
	}
	names := reading.Labels(infos)
	if len(names) > MaxNamed {
		names = append(names[:MaxNamed-1:MaxNamed-1], "…", names[len(names)-1])
	}
	return fmt.Sprintf("%d traces", len(infos)), strings.Join(names, ", ")
}

// Verb is what all verbs that analyse traces share.
type Verb struct {
	Paths []string `arg:"" help:"Trace, directory of ranks, or run (path, beginning of its id, latest); - is stdin."`
	reading.Options
	reading.Choice
	Flags
}
