package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/brokenpipe"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/report"

	"github.com/alecthomas/kong"
)

// run is the whole program, apart from the process it runs in: it returns the exit code.
func run(ctx context.Context, args []string, s cli.Streams) int {
	var p program
	exited := -1
	args, help := cli.AskedForHelp(args)
	args, dotted, command, err := cli.SplitArgs(args)
	if err != nil {
		fmt.Fprintln(report.Terminal(s.Err), "kinetoscope: error:", err)
		return cli.ExitUsage
	}
	parser, err := p.parser(args, kong.Writers(help.Stream(s), report.Terminal(s.Err)),
		kong.Exit(func(code int) { exited = code }))
	if err != nil {
		fmt.Fprintln(s.Err, "kinetoscope: internal error:", err)
		return cli.ExitFailed
	}
	p.capture.Dotted, p.capture.Command = dotted, command
	p.serve.Dotted, p.overhead.Dotted, p.start.Dotted = dotted, dotted, dotted
	line := cli.PositionalsLast(parser, args)
	if verb := cli.Verb(args); command != nil && verb != "capture" { // no other runs a command: these are paths
		if !cli.TakesArguments(parser, verb) {
			fmt.Fprintf(s.Err, "kinetoscope: error: %s takes no command after --\n", verb)
			return cli.ExitUsage
		}
		line = append(append(line, "--"), command...)
	}
	k, err := parser.Parse(line)
	if exited >= 0 {
		return help.Code(exited)
	}
	if err != nil {
		fmt.Fprintf(report.Terminal(s.Err), "kinetoscope: error: %v (%s)\n", err, cli.WhereHelpIs(err))
		return cli.ExitUsage
	}
	verb := strings.Fields(k.Command())[0]
	if len(dotted) > 0 && verb != "capture" && verb != "serve" && verb != "overhead" && verb != "start" {
		fmt.Fprintf(s.Err, "kinetoscope: error: %s has no --profiler-config\n", verb)
		return cli.ExitUsage
	}
	flags.WarnOfSecrets(s.Err, args)
	e := cli.NewEnv(ctx, s)
	if p.all.Verbose {
		e.Log = slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	} else {
		e.Log = slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	if err := k.Run(e); brokenpipe.Unread(err, os.Stdout) {
		return brokenpipe.ExitCode
	} else if err != nil {
		if _, said := errors.AsType[cli.SilentError](err); !said {
			fmt.Fprintln(e.Err, "kinetoscope: error:", cli.Interrupted(ctx, err))
		}
		return cli.ExitCode(err)
	}
	return cli.ExitOK
}
