// Command kinetoscope profiles every stage of a generative pipeline with one start
// and one stop. Run it with --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/kinetoscope/kinetoscope/internal/brokenpipe"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/omni"
)

func main() {
	omni.WorkerMain()
	brokenpipe.Fail() // a verb that drives profilers stops them also when nobody reads its output
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first interrupt asks for an orderly end, the second ends at once
	defer stop()
	code := run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
