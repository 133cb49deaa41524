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

	"github.com/kinetoscope/kinetoscope/omni/deploy"
)

// verbs has every verb with its flags, except those of package analyses.
type verbs struct {
	Capture    captureCmd    `cmd:"" help:"Run a pipeline, capture all its stages, and report where the time went."`
	Overhead   overheadCmd   `cmd:"" help:"Run a pipeline and say what profiling costs it: states of the profiler take turns under one load."`
	Serve      serveCmd      `cmd:"" help:"Serve a pipeline over an OpenAI-compatible API with profile endpoints."`
	Worker     workerCmd     `cmd:"" help:"Run one rank of a native stage, on any host that reaches the hub."`
	Agent      agentCmd      `cmd:"" help:"Let the PyTorch processes of this host take part as they are, over Kineto's daemon protocol."`
	Doctor     doctorCmd     `cmd:"" help:"Say what keeps a server from being profiled, and what mends it."`
	PS         psCmd         `cmd:"" name:"ps" help:"List what can be profiled on this host, and servers that are named."`
	Watch      watchCmd      `cmd:"" help:"Capture servers by itself whenever a condition on their metrics holds."`
	Credential credentialCmd `cmd:"" help:"Print the credential with which one rank or agent on another host joins a server."`
	Start      startCmd      `cmd:"" help:"Start a session on a running server."`
	Stop       stopCmd       `cmd:"" help:"Stop the running session and wait for its artifacts."`
	Status     statusCmd     `cmd:"" help:"Show a server's stages and its running session."`
	Sessions   sessionsCmd   `cmd:"" help:"List a server's sessions, or show one and download its artifacts."`
	Runs       runsCmd       `cmd:"" help:"Find, label, delete, archive and upload a server's runs."`
	Recover    recoverCmd    `cmd:"" help:"Make runs of recordings that never came home: of a server or capture that was killed, of a full disk."`
	View       viewCmd       `cmd:"" help:"Look at traces and runs on a timeline in the browser."`
	Report     reportCmd     `cmd:"" help:"Say where the time went in runs or traces, on one page."`
	SQL        sqlCmd        `cmd:"" name:"sql" help:"Ask traces in SQL: slices, tracks, flows, counters, ops as tables; DuckDB answers."`
	Convert    convertCmd    `cmd:"" aliases:"merge" help:"Write traces in another format, several on one clock in one file, or a part of them."`
	Inspect    inspectCmd    `cmd:"" help:"Say what is in a recording or a trace, and what had to be repaired."`
	Explain    explainCmd    `cmd:"" help:"Say what the code of a finding means: its usual causes, and what mends them."`
	MCP        mcpCmd        `cmd:"" name:"mcp" help:"Offer these verbs to agents over the Model Context Protocol."`
	Skill      skillCmd      `cmd:"" help:"Agent skill: when and how an agent calls this program."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	Verbose bool `short:"v" help:"Log what happens, the ranks' logs too, on stderr."`
}

// parser reads a command line into v and the verbs of package analyses.
func (v *verbs) parser(options ...kong.Option) (*kong.Kong, error) {
	all := append(analysisVerbs(), kong.Name("kinetoscope"),
		kong.Description("One profiler for every stage of a generative pipeline."), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"builtins": strings.Join(deploy.Builtins, ", ")}, kong.Vars(flags.Vars))
	return kong.New(v, append(all, options...)...)
}

// run is the whole program, apart from the process it runs in: it returns the exit code.
func run(ctx context.Context, args []string, s cli.Streams) int {
	var c verbs
	exited := -1
	args, help := cli.AskedForHelp(args)
	args, dotted, command, err := cli.SplitArgs(args)
	if err != nil {
		fmt.Fprintln(report.Terminal(s.Err), "kinetoscope: error:", err)
		return cli.ExitUsage
	}
	parser, err := c.parser(kong.Writers(help.Stream(s), report.Terminal(s.Err)),
		kong.Exit(func(code int) { exited = code }))
	if err != nil {
		fmt.Fprintln(s.Err, "kinetoscope: internal error:", err)
		return cli.ExitFailed
	}
	c.Capture.Dotted, c.Capture.Command = dotted, command
	c.Serve.Dotted, c.Overhead.Dotted, c.Start.Dotted = dotted, dotted, dotted
	k, err := parser.Parse(cli.PositionalsLast(parser, args))
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
	if command != nil && verb != "capture" {
		fmt.Fprintf(s.Err, "kinetoscope: error: %s takes no command after --\n", verb)
		return cli.ExitUsage
	}
	flags.WarnOfSecrets(s.Err, args)
	e := cli.NewEnv(ctx, s)
	if c.Verbose {
		e.Log = slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	} else {
		e.Log = slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	if err := k.Run(e); brokenpipe.Unread(err, os.Stdout) {
		return brokenpipe.ExitCode
	} else if err != nil {
		if _, said := errors.AsType[cli.SilentError](err); !said {
			fmt.Fprintln(e.Err, "kinetoscope: error:", err)
		}
		return cli.ExitCode(err)
	}
	return cli.ExitOK
}
