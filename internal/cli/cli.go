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

	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Streams are what a verb reads and writes: Out is the answer, Err the rest.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Env is what a verb runs with.
//
// Its Err is for sentences: names in them do nothing to a terminal. Raw gives the stream.
type Env struct {
	Streams
	Ctx  context.Context // ends when the user interrupts
	Log  *slog.Logger
	Left []open.Left // what was found and not read
}

// NewEnv returns an environment of s whose Err is for sentences.
func NewEnv(ctx context.Context, s Streams) *Env {
	e := &Env{Streams: s, Ctx: ctx, Log: slog.New(slog.DiscardHandler)}
	e.Err = report.Terminal(s.Err)
	return e
}

// Raw returns the stream below one that is for sentences, for what draws on a terminal and
// for programs that write to it by themselves.
func Raw(w io.Writer) io.Writer { return report.Under(w) }

// Text is how text on Out is to look: of a terminal's width and colours where it is one.
func (e *Env) Text() report.TextOptions {
	if f, ok := e.Out.(*os.File); ok {
		return report.Detect(f, os.Getenv)
	}
	return report.TextOptions{}
}

// JSON writes v as every verb's --json does; names in it do nothing to a terminal.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(report.JSONWriter(w))
	enc.SetIndent("", "  ")
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
