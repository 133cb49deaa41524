// Command kinetoscope-sql answers questions in SQL about a directory of tables. It is the
// part of `kinetoscope sql` that needs cgo; kinetoscope finds it beside itself or in PATH,
// makes the tables and runs it.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/chzyer/readline"
	"golang.org/x/term"

	"github.com/kinetoscope/kinetoscope/sql"
)

// Exit codes, as those of kinetoscope.
const (
	exitFailed = 1
	exitUsage  = 2
)

type options struct {
	Tables   string   `arg:"" help:"Directory of NAME.parquet." type:"existingdir"`
	Question []string `arg:"" optional:"" help:"Questions; without one, and on a terminal, they are asked one after the other."`
	CSV      bool     `help:"The answer as CSV." xor:"format"`
	JSON     bool     `help:"The answer as a JSON array of objects." xor:"format"`
	Parquet  string   `help:"Write the answer to this Parquet file." placeholder:"FILE" xor:"format"`
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
		return exitFailed
	}
	return 0
}

func ask(ctx context.Context, o *options, in io.Reader, out, errs io.Writer) (err error) {
	e, err := sql.Open(ctx, o.Tables, sql.Options{Database: o.Database, MemoryMB: o.MemoryMB, ReadOnly: o.ReadOnly})
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

func answer(ctx context.Context, e *sql.Engine, o *options, question string, out io.Writer) (err error) {
	if strings.TrimSpace(question) == "" {
		return fmt.Errorf("the question is empty; the tables are %s", strings.Join(e.Tables(), ", "))
	}
	if o.Parquet != "" {
		return e.Export(ctx, question, o.Parquet)
	}
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

// interactive asks for questions until the end of input. A question ends with ";", so that
// it may have many lines.
func interactive(ctx context.Context, e *sql.Engine, o *options, out, errs io.Writer) error {
	words, err := e.Words(ctx)
	if err != nil {
		return err
	}
	rl, err := readline.NewEx(&readline.Config{
		Prompt: "sql> ", HistoryFile: historyFile(), AutoComplete: completer(words), Stdout: out, Stderr: errs,
	})
	if err != nil {
		return fmt.Errorf("read from the terminal: %w", err)
	}
	defer rl.Close()
	fmt.Fprintf(errs, "tables: %s; DESCRIBE NAME shows columns; a question ends with \";\"; ^D ends\n",
		strings.Join(e.Tables(), ", "))
	var question strings.Builder
	for {
		line, err := rl.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			question.Reset()
			rl.SetPrompt("sql> ")
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read from the terminal: %w", err)
		}
		question.WriteString(line + "\n")
		if question.Len() > maxQuestion || strings.HasSuffix(strings.TrimSpace(line), ";") {
			b := bufio.NewWriter(out)
			if err := errors.Join(answer(ctx, e, o, question.String(), b), b.Flush()); err != nil {
				fmt.Fprintln(errs, "error:", err)
			}
			question.Reset()
		}
		rl.SetPrompt("sql> ")
		if question.Len() > 0 {
			rl.SetPrompt("...> ")
		}
	}
}

// historyFile is where questions are remembered; "" if there is no place.
func historyFile() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "kinetoscope")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ""
	}
	return filepath.Join(dir, "sql_history")
}

// completer completes the word before the cursor.
type completer []string

// Do implements readline.AutoCompleter.
func (c completer) Do(line []rune, pos int) (more [][]rune, length int) {
	from := pos
	for from > 0 && (line[from-1] == '_' || line[from-1] >= '0' && line[from-1] <= '9' || line[from-1]|32 >= 'a' &&
		line[from-1]|32 <= 'z') {
		from--
	}
	prefix := string(line[from:pos])
	for _, w := range c {
		if prefix != "" && strings.HasPrefix(w, prefix) {
			more = append(more, []rune(strings.TrimPrefix(w, prefix)))
		}
	}
	return more, pos - from
}
