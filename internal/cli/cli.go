// Package cli is what every verb of the command line runs with: its streams and log, exit
// codes and the errors that choose them, the order of arguments, and progress on a terminal.
package cli

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Streams are what a verb reads and writes: Out is the answer, Err the rest.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Env is the environment of a verb.
//
// Err is for sentences: control characters in names that they contain are replaced. Raw returns the
// stream without that.
type Env struct {
	Streams
	Ctx  context.Context // ends when the user interrupts the program
	Log  *slog.Logger
	Left []open.Left // what was found and not read
}

// NewEnv returns an environment of s whose Err is for sentences.
func NewEnv(ctx context.Context, s Streams) *Env {
	e := &Env{Streams: s, Ctx: ctx, Log: slog.New(slog.DiscardHandler)}
	e.Err = report.Terminal(s.Err)
	return e
}

// Raw returns the stream below one that is for sentences. It is for progress bars, which draw on
// the terminal, and for child processes, which write to it by themselves.
func Raw(w io.Writer) io.Writer { return report.Under(w) }

// terminal returns the terminal that w writes to, nil if it is another stream.
func terminal(w io.Writer) *os.File {
	if f, ok := Raw(w).(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// Watched reports whether what is said on Err is for the user's eyes alone: a terminal, and not a log, which others
// may read. Secrets are said nowhere else.
func (e *Env) Watched() bool { return terminal(e.Err) != nil }

// Text returns the options of text on Out: the width and colours of the terminal, if Out is one.
func (e *Env) Text() report.TextOptions {
	if f, ok := e.Out.(*os.File); ok {
		return report.Detect(f, os.Getenv)
	}
	return report.TextOptions{}
}

// JSON writes v as every verb's --json does, with control characters in names replaced.
// Of a map, lists are written entry by entry, so that the text of an answer about many ranks is never
// in memory as a whole; it is the same text.
func JSON(w io.Writer, v any) error {
	if doc, ok := v.(map[string]any); ok && len(doc) > 0 {
		return jsonMembers(report.JSONWriter(w), doc)
	}
	enc := json.NewEncoder(report.JSONWriter(w))
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// ShortPath writes a path relative to the working directory if that is below it.
func ShortPath(p string) string {
	wd, err := os.Getwd()
	if err != nil {
		return p
	}
	if rel, err := filepath.Rel(wd, p); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return p
}
