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
	"slices"
	"strings"

	"github.com/chzyer/readline"

	"github.com/kinetoscope/kinetoscope/sql"
)

// interactive asks for questions until the end of input. A question ends with ";", so that
// it may have many lines. An interrupt ends the question that is being answered, and no other.
func interactive(ctx context.Context, e *sql.Engine, o *options, out, errs io.Writer) error {
	words, err := e.Words(ctx)
	if err != nil {
		return err
	}
	rl, err := readline.NewEx(&readline.Config{
		Prompt: "sql> ", HistoryFile: historyFile(), DisableAutoSaveHistory: true,
		AutoComplete: completer(append(words, keywords...)), Stdout: out, Stderr: errs,
	})
	if err != nil {
		return fmt.Errorf("read from the terminal: %w", err)
	}
	defer rl.Close()
	help(e, errs)
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
		if question.Len() == 0 {
			switch strings.TrimRight(strings.TrimSpace(line), "; ") {
			case "":
				continue
			case "exit", "quit", ".exit", ".quit", `\q`:
				return nil
			case "help", ".help", ".tables", "?", `\?`, `\d`:
				help(e, errs)
				continue
			}
		}
		question.WriteString(line + "\n")
		if question.Len() > maxQuestion || strings.HasSuffix(strings.TrimSpace(line), ";") {
			remember(rl, question.String())
			b := bufio.NewWriter(out)
			if err := errors.Join(answerUnlessInterrupted(ctx, e, o, question.String(), b), b.Flush()); err != nil {
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

func help(e *sql.Engine, errs io.Writer) {
	fmt.Fprintf(errs, "tables: %s; DESCRIBE NAME shows columns; a question ends with \";\"; ^C stops one, ^D ends\n",
		strings.Join(e.Tables(), ", "))
}

// answerUnlessInterrupted is answer with an interrupt of its own: that of ctx would end the questions after it too.
func answerUnlessInterrupted(ctx context.Context, e *sql.Engine, o *options, question string, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt)
	defer stop()
	err := answer(ctx, e, o, question, out)
	if ctx.Err() != nil {
		return errors.New("stopped")
	}
	return err
}

// remember puts a question into the history as one line, as which it can be asked again. One with comments stays
// lines, for a comment ends with its line.
func remember(rl *readline.Instance, question string) {
	lines := strings.Split(strings.TrimSpace(question), "\n")
	if !strings.Contains(question, "--") {
		lines = []string{strings.Join(lines, " ")}
	}
	for _, l := range lines {
		if rl.SaveHistory(l) != nil {
			return // the history is a convenience
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

// keywords are SQL's words that questions begin with and join tables by.
var keywords = strings.Fields(`and asc avg between case count create cross desc describe distinct else end explain
	filter from group having ilike insert join left like limit max min offset order over partition qualify
	quantile_cont select show sum table tables union using view when where window with`)

// completer completes the word before the cursor.
type completer []string

// Do implements readline.AutoCompleter.
func (c completer) Do(line []rune, pos int) (more [][]rune, length int) {
	from := pos
	for from > 0 && (line[from-1] == '_' || line[from-1] >= '0' && line[from-1] <= '9' || line[from-1]|32 >= 'a' &&
		line[from-1]|32 <= 'z') {
		from--
	}
	prefix := strings.ToLower(string(line[from:pos]))
	var words []string
	for _, w := range c {
		if prefix != "" && strings.HasPrefix(w, prefix) {
			words = append(words, strings.TrimPrefix(w, prefix))
		}
	}
	slices.Sort(words)
	for _, w := range slices.Compact(words) {
		more = append(more, []rune(w))
	}
	return more, pos - from
}
