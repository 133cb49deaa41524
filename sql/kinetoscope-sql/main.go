// Command kinetoscope-sql answers questions in SQL about a directory of tables. It is the
// part of `kinetoscope sql` that needs cgo; kinetoscope finds it beside itself or in PATH,
// makes the tables and runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/kinetoscope/kinetoscope/sql"
)

// Exit codes, as those of kinetoscope.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	Tables   string   `arg:"" help:"Directory of NAME.parquet, of directories NAME of *.parquet, or of those partitioned by run=." type:"existingdir"`
	Question []string `arg:"" optional:"" help:"Questions; without one, and on a terminal, they are asked one after the other."`
	CSV      bool     `help:"The answer as CSV." xor:"format"`
	JSON     bool     `help:"The answer as a JSON array of objects." xor:"format"`
	Parquet  string   `help:"Write the answer to this Parquet file." placeholder:"FILE" xor:"format"`
	Views    string   `help:"Make the views of this file in place of the directory's views.sql." placeholder:"FILE"`
	Database string   `help:"DuckDB file that keeps what questions create." placeholder:"FILE"`
	ReadOnly bool     `help:"Run only what reads, and read only the tables: for questions of others."`
	MemoryMB int      `help:"Memory that DuckDB may take, in MB." placeholder:"N"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	var o options
	exited := -1
	parser, err := kong.New(&o, kong.Name("kinetoscope-sql"), kong.Writers(out, errs),
		kong.Exit(func(code int) { exited = code }), kong.Description("Questions in SQL about tables of traces."))
	if err != nil {
		fmt.Fprintln(errs, "kinetoscope sql: internal error:", err)
		return exitFailed
	}
	_, err = parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintln(errs, "kinetoscope sql: error:", err)
		return exitUsage
	}
	if err := ask(ctx, &o, in, out, errs); err != nil {
		fmt.Fprintln(errs, "kinetoscope sql: error:", err)
		if sql.Wrong(err) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

func ask(ctx context.Context, o *options, in io.Reader, out, errs io.Writer) (err error) {
	e, err := sql.Open(ctx, o.Tables, sql.Options{Database: o.Database, MemoryMB: o.MemoryMB, ReadOnly: o.ReadOnly,
		Views: o.Views})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if len(o.Question) > 0 {
		for _, q := range o.Question {
			if err := answer(ctx, e, o, q, out); err != nil {
				return err
			}
		}
		return nil
	}
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return interactive(ctx, e, o, out, errs)
	}
	question, err := io.ReadAll(io.LimitReader(in, maxQuestion+1))
	if err != nil {
		return fmt.Errorf("read the question: %w", err)
	}
	if len(question) > maxQuestion {
		return fmt.Errorf("the question has more than %d bytes", maxQuestion)
	}
	return answer(ctx, e, o, string(question), out)
}

// maxQuestion bounds a question read from standard input.
const maxQuestion = 1 << 20

// answer answers a question, or several with ";" between them, of which those that make something are silent, but for
// the last.
func answer(ctx context.Context, e *sql.Engine, o *options, text string, out io.Writer) error {
	questions := sql.Split(text)
	if len(questions) == 0 {
		return sql.WrongError{Err: fmt.Errorf("the question is empty; the tables are %s",
			strings.Join(e.Tables(), ", "))}
	}
	shown := 0
	for i, q := range questions {
		if i < len(questions)-1 && !e.Reads(ctx, q) {
			if err := e.Do(ctx, q); err != nil {
				return err
			}
			continue
		}
		if o.Parquet != "" {
			if i < len(questions)-1 {
				return sql.WrongError{Err: errors.New("--parquet: the answer of one question, and there are several")}
			}
			return e.Export(ctx, q, o.Parquet)
		}
		if shown++; shown > 1 && !o.JSON {
			fmt.Fprintln(out)
		}
		if err := show(ctx, e, o, q, out); err != nil {
			return err
		}
	}
	return nil
}

// show writes the answer of one question.
func show(ctx context.Context, e *sql.Engine, o *options, question string, out io.Writer) (err error) {
	rows, err := e.Query(ctx, question)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	switch {
	case o.CSV:
		return sql.CSV(out, rows)
	case o.JSON:
		return sql.JSON(out, rows)
	}
	return sql.Text(out, rows)
}
