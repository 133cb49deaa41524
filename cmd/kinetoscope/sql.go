package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/tables"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

type sqlCmd struct {
	Args     []string `arg:"" name:"paths" help:"Traces, directories of ranks or runs, or one directory of tables, and last the question: kinetoscope sql trace.json.gz 'select name, sum(dur) from slices group by name'. Without a question it asks for one."`
	CSV      bool     `help:"The answer as CSV." xor:"form"`
	JSON     bool     `name:"json" help:"The answer as a JSON array of objects." xor:"form"`
	Parquet  string   `help:"Write the answer to this Parquet file." placeholder:"FILE" xor:"form" type:"path"`
	Session  string   `help:"Keep what questions create (tables, views) under this name for the next one." placeholder:"NAME"`
	ReadOnly bool     `help:"Run only what reads, and read only the tables: for questions of others."`
	Declare  string   `help:"Ask nothing: print the statements that make the tables of a directory of tables or bucket of runs known to another engine: athena, clickhouse, spark or trino." placeholder:"ENGINE"`
	At       string   `help:"Where that engine finds the directory: s3://bucket/traces; where it lies here without it." placeholder:"LOCATION"`
	Cache    string   `help:"Where the tables of traces are kept; the user's cache directory without it." placeholder:"DIR" type:"path"`
	reading.Options
	reading.Choice
}

// Memory of DuckDB under --memory: the limit less the code of both programs and their fixed needs.
// With less than leastDuckDB it cannot answer.
const (
	besideDuckDB = 160 << 20
	leastDuckDB  = 64 << 20
)

// sqlHelper is the program that answers. It is a program of its own because it needs cgo.
const sqlHelper = "kinetoscope-sql"

func (c *sqlCmd) Run(e *cli.Env) error {
	paths, question := splitQuestion(c.Args)
	if len(paths) == 0 {
		return cli.Usage("sql: of which traces? Give files, a directory or a run before the question")
	}
	if c.Declare != "" || c.At != "" {
		return c.declare(e)
	}
	helper, err := findHelper(sqlHelper)
	if err != nil {
		return err
	}
	database, err := c.database()
	if err != nil {
		return err
	}
	if err := c.Bound(e); err != nil {
		return err
	}
	args, done, err := c.source(e, paths, question)
	if err != nil {
		return err
	}
	defer done()
	if c.Memory > 0 {
		debug.FreeOSMemory() // the helper needs the memory in which the tables were made
		args = append(args, fmt.Sprintf("--memory-mb=%d", max(leastDuckDB, int64(c.Memory)-besideDuckDB)/1e6))
	}
	if question != "" {
		args = append(args, question)
	}
	switch {
	case c.CSV:
		args = append(args, "--csv")
	case c.JSON:
		args = append(args, "--json")
	case c.Parquet != "":
		args = append(args, "--parquet="+c.Parquet)
	}
	if c.ReadOnly {
		args = append(args, "--read-only")
	}
	if database != "" {
		args = append(args, "--database="+database)
	}
	cmd := exec.CommandContext(e.Ctx, helper, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.In, e.Out, cli.Raw(e.Err)
	if question == "" { // an interrupt of the terminal ends a question of the prompt, and neither program
		signal.Ignore(os.Interrupt)
		defer signal.Reset(os.Interrupt)
	}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return cli.SilentError{Program: sqlHelper, Code: exit.ExitCode()}
	} else if err != nil {
		return fmt.Errorf("run %s: %w", helper, err)
	}
	return nil
}

// declare prints the statements with which another engine reads the tables.
func (c *sqlCmd) declare(e *cli.Env) error {
	if c.Declare == "" {
		return cli.Usage("sql --at says where the engine of --declare finds the tables: give --declare too")
	}
	if len(c.Args) != 1 || !tables.IsDir(c.Args[0]) {
		return cli.Usage("sql --declare: of one directory of tables, without a question; `kinetoscope convert PATHS… -o DIR/ --run NAME` makes one")
	}
	at := c.At
	if at == "" {
		var err error
		if at, err = filepath.Abs(c.Args[0]); err != nil {
			return fmt.Errorf("find %s: %w", c.Args[0], err)
		}
	}
	statements, err := tables.Declare(c.Declare, c.Args[0], at)
	if err != nil {
		return cli.Usage("sql --declare: %w", err)
	}
	fmt.Fprint(e.Out, statements)
	return nil
}

// source returns what tells the helper which tables to ask, and what to call when it has ended.
func (c *sqlCmd) source(e *cli.Env, paths []string, question string) (args []string, done func(), err error) {
	done = func() {}
	at := slices.IndexFunc(paths, tables.IsDir)
	switch {
	case at < 0:
		dir, err := c.tables(e, paths, question)
		return []string{dir}, done, err
	case len(paths) > 1:
		return nil, done, cli.Usage("%s is a directory of tables: ask it alone", paths[at])
	case len(c.Rank) > 0 || c.Stage != "":
		return nil, done, cli.Usage("%s is a directory of tables: --rank and --stage choose among traces; say `where rank = 0`",
			paths[at])
	}
	// The directory may be a stranger's, and its file of views any SQL.
	views, done, err := format.Spool(strings.NewReader(tables.Views))
	if err != nil {
		return nil, func() {}, fmt.Errorf("write views: %w", err)
	}
	return []string{paths[at], "--views=" + views}, done, nil
}

// splitQuestion parts the arguments: the last one is a question if it has white space and
// no file has that name.
func splitQuestion(args []string) (paths []string, question string) {
	last := args[len(args)-1]
	if !strings.ContainsAny(last, " \t\n") {
		return args, ""
	}
	if _, err := os.Lstat(last); err == nil {
		return args, ""
	}
	return args[:len(args)-1], last
}

// findHelper finds a program beside this one or in PATH.
func findHelper(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if st, err := os.Stat(beside); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "",
			fmt.Errorf("%s is not beside kinetoscope nor in PATH; get it by `go install github.com/kinetoscope/kinetoscope/sql/%s@latest` (needs a C compiler)", name, name)
	}
	return path, nil
}

func (c *sqlCmd) cacheDir() (string, error) {
	if c.Cache != "" {
		return c.Cache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", cli.Usage("no cache directory: give --cache (%w)", err)
	}
	return filepath.Join(dir, "kinetoscope"), nil
}

// database returns the file of the named session, "" without one.
func (c *sqlCmd) database() (string, error) {
	if c.Session == "" {
		return "", nil
	}
	if strings.ContainsAny(c.Session, `/\`) || strings.HasPrefix(c.Session, ".") {
		return "", cli.Usage("--session %q: a name without slashes that does not begin with a dot", c.Session)
	}
	dir, err := c.cacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "sql-sessions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory of sessions: %w", err)
	}
	return filepath.Join(dir, c.Session+".duckdb"), nil
}

// tables returns a directory with the tables that the question needs, of the traces at paths. They
// are made now, or were made for an earlier question.
func (c *sqlCmd) tables(e *cli.Env, paths []string, question string) (string, error) {
	ins, err := c.Inputs(e, paths)
	if err != nil {
		return "", err
	}
	cache, err := c.cacheDir()
	if err != nil {
		return "", err
	}
	var only []string
	if question != "" {
		only = tables.Needs(question)
	}
	sources := make([]tables.Source, len(ins))
	for i, in := range ins {
		if in.Source.Path == open.Stdin {
			return "", cli.Usage("sql: standard input cannot be asked twice; give a file")
		}
		if sources[i], err = sourceOf(in.Source.Path); err != nil {
			return "", cli.UsageError{Err: err}
		}
	}
	// Another version may answer otherwise, and with less memory arguments are left out.
	key := tables.Key(sources, append(only, fmt.Sprint(c.Rank), c.Stage, cli.Version(), fmt.Sprint(int64(c.Memory))))
	made := false
	dir, err := tables.Cache{Path: filepath.Join(cache, "tables")}.Get(e.Ctx, key,
		func(ctx context.Context, dir string) error {
			made = true
			return c.write(ctx, e, paths, dir, only)
		})
	if err == nil && !made {
		err = repeatNotes(e, dir)
	}
	return dir, err
}

// notesFile holds, beside the tables of traces, what stderr said when these were read: a question that is answered from
// them rests on no less.
const notesFile = "notes.txt"

// keepNotes writes notesFile.
func keepNotes(e *cli.Env, dir string, infos []reading.Info) error {
	var notes bytes.Buffer
	said := *e
	said.Err = &notes
	reading.NoteRepairs(&said, infos)
	reading.NoteDoubts(&said, infos)
	reading.NoteLeft(&said)
	return os.WriteFile(filepath.Join(dir, notesFile), notes.Bytes(), 0o600)
}

// repeatNotes says what notesFile has.
func repeatNotes(e *cli.Env, dir string) error {
	notes, err := os.ReadFile(filepath.Join(dir, notesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = e.Err.Write(notes)
	}
	return err
}

func sourceOf(path string) (tables.Source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return tables.Source{}, err
	}
	st, err := os.Stat(abs)
	if err != nil {
		return tables.Source{}, err
	}
	return tables.Source{Path: abs, Size: st.Size(), ModTime: st.ModTime().UnixNano()}, nil
}

func (c *sqlCmd) write(ctx context.Context, e *cli.Env, paths []string, dir string, only []string) error {
	d, err := tables.Create(dir, only...)
	if err != nil {
		return err
	}
	pages := pageOf{answer.Verb{Paths: paths, Options: c.Options, Choice: c.Choice}}
	list, infos, err := reading.RankedBy(e, &c.Options, &c.Choice, paths, reading.Asker[tablesPart]{
		Ask: func(i int, s *analysis.Subject, info reading.Info) (tablesPart, error) {
			r := tables.RankOf(s, info.File)
			r.Alone = info.Alone
			p := tablesPart{at: i, part: d.PartOf(r), trace: pages.keep(d.Wanted, s.Trace)}
			return p, d.Add(ctx, i, r, 1)
		},
		Dropped: func(p tablesPart) error { return d.Drop(p.at) },
	})
	if err == nil {
		err = keepNotes(e, dir, infos)
	}
	if err == nil {
		var a *tables.Answers
		if a, err = pages.answers(e, d.Wanted, list, infos); err == nil {
			err = d.Finish(ctx, a)
		}
	}
	return errors.Join(err, d.Close())
}
