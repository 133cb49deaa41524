package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried and did not work
	exitUsage  = 2 // the input is wrong; nothing was started
	// exitPartial: the run is there and lacks something, a rank's trace say.
	exitPartial = 3
)

// streams are what a command reads and writes: stdout is the answer, stderr the rest.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// cli is every verb with its flags, but for those of package analyses.
type cli struct {
	Capture    captureCmd    `cmd:"" help:"Run a pipeline, capture all its stages, and report where the time went."`
	Overhead   overheadCmd   `cmd:"" help:"Run a pipeline and say what profiling costs it: states of the profiler take turns under one load."`
	Serve      serveCmd      `cmd:"" help:"Serve a pipeline over an OpenAI-compatible API with profile endpoints."`
	Worker     workerCmd     `cmd:"" help:"Run one rank of a native stage, on any host that reaches the hub."`
	Agent      agentCmd      `cmd:"" help:"Let the PyTorch processes of this host take part as they are, over Kineto's daemon protocol."`
	Credential credentialCmd `cmd:"" help:"Print the token that lets one rank or agent join a server, for other hosts."`
	Start      startCmd      `cmd:"" help:"Start a session on a running server."`
	Stop       stopCmd       `cmd:"" help:"Stop the running session and wait for its artifacts."`
	Status     statusCmd     `cmd:"" help:"Show a server's stages and its running session."`
	Sessions   sessionsCmd   `cmd:"" help:"List a server's sessions, or show one and download its artifacts."`
	Recover    recoverCmd    `cmd:"" help:"Make runs of recordings that never came home: of a server or capture that was killed, of a full disk."`
	View       viewCmd       `cmd:"" help:"Look at traces and runs on a timeline in the browser."`
	Report     reportCmd     `cmd:"" help:"Say where the time went in runs or traces, on one page."`
	Steps      stepsCmd      `cmd:"" help:"Steps of inference or training: prefill, decode, denoise; host-bound or device-bound."`
	Diff       diffCmd       `cmd:"" help:"What changed between two traces: added, removed, slower, with significance."`
	SQL        sqlCmd        `cmd:"" name:"sql" help:"Ask traces in SQL: slices, tracks, flows, counters, ops as tables; DuckDB answers."`
	Convert    convertCmd    `cmd:"" aliases:"merge" help:"Write traces in another format, several on one clock in one file, or a part of them."`
	Inspect    inspectCmd    `cmd:"" help:"Say what is in a recording or a trace, and what had to be repaired."`
	MCP        mcpCmd        `cmd:"" name:"mcp" help:"Offer these verbs to agents over the Model Context Protocol."`
	Skill      skillCmd      `cmd:"" help:"Agent skill: when and how an agent calls this program."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	Verbose bool `short:"v" help:"Log what happens, the ranks' logs too, on stderr."`
}

// usageError is a mistake in the input: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// env is what every verb runs with.
type env struct {
	streams
	ctx  context.Context
	log  *slog.Logger
	left []open.Left // what was not read
}

// run is the program but for the process.
func run(ctx context.Context, args []string, s streams) int {
	var c cli
	exited := -1
	args, dotted, command, err := splitArgs(args)
	if err != nil {
		fmt.Fprintln(s.err, "kinetoscope: error:", err)
		return exitUsage
	}
	parser, err := kong.New(&c, append(analysisVerbs(), kong.Name("kinetoscope"),
		kong.Description("One profiler for every stage of a generative pipeline."),
		kong.Writers(s.out, s.err), kong.Exit(func(code int) { exited = code }), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"builtins": strings.Join(deploy.Builtins, ", ")})...)
	if err != nil {
		fmt.Fprintln(s.err, "kinetoscope: internal error:", err)
		return exitFailed
	}
	c.Capture.dotted, c.Capture.Command = dotted, command
	c.Serve.dotted, c.Overhead.dotted, c.Start.dotted = dotted, dotted, dotted
	k, err := parser.Parse(positionalsLast(parser, args))
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintln(s.err, "kinetoscope: error:", err)
		return exitUsage
	}
	verb := strings.Fields(k.Command())[0]
	if len(dotted) > 0 && verb != "capture" && verb != "serve" && verb != "overhead" && verb != "start" {
		fmt.Fprintf(s.err, "kinetoscope: error: %s has no --profiler-config\n", verb)
		return exitUsage
	}
	if command != nil && verb != "capture" {
		fmt.Fprintf(s.err, "kinetoscope: error: %s takes no command after --\n", verb)
		return exitUsage
	}
	warnOfSecrets(s.err, args)
	e := &env{streams: s, ctx: ctx, log: slog.New(slog.DiscardHandler)}
	if c.Verbose {
		e.log = slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	} else {
		e.log = slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	if err := k.Run(e); err != nil {
		var said silentExit
		if !errors.As(err, &said) {
			fmt.Fprintln(report.Terminal(s.err), "kinetoscope: error:", err)
		}
		return exitCode(err)
	}
	return exitOK
}

// exitCode tells wrong input from what failed.
func exitCode(err error) int {
	var u usageError
	if errors.As(err, &u) {
		return exitUsage
	}
	var code interface{ ExitCode() int }
	if errors.As(err, &code) {
		return code.ExitCode()
	}
	return exitFailed
}

const dottedPrefix = "--profiler-config."

// splitArgs takes the dotted flags and the command after -- out of args, neither of
// which fits a flag parser's idea of a flag.
func splitArgs(args []string) (rest []string, dotted map[string]string, command []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return rest, dotted, append([]string{}, args[i+1:]...), nil
		}
		if !strings.HasPrefix(a, dottedPrefix) {
			rest = append(rest, a)
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(a, dottedPrefix), "=")
		if !ok {
			if i+1 >= len(args) {
				return nil, nil, nil, fmt.Errorf("%s needs a value", a)
			}
			i++
			value = args[i]
		}
		if dotted == nil {
			dotted = map[string]string{}
		}
		dotted[name] = value
	}
	return rest, dotted, nil, nil
}

// profilerFlags are how the profiler is configured from the command line.
type profilerFlags struct {
	ProfilerConfig string `help:"profiler_config as JSON, for every stage; --profiler-config.FIELD=VALUE sets one field." placeholder:"JSON"`
	ProfilerDir    string `help:"Deprecated: use --profiler-config.torch_profiler_dir." hidden:""`

	dotted map[string]string
}

// override reads the flags and the environment, and warns of old spellings.
func (f *profilerFlags) override(e *env) (*deploy.ProfilerOverride, error) {
	old := map[string]string{}
	if dir := os.Getenv("VLLM_TORCH_PROFILER_DIR"); dir != "" {
		fmt.Fprintln(e.err, "warning: VLLM_TORCH_PROFILER_DIR is deprecated: use --profiler-config.torch_profiler_dir=DIR")
		old["torch_profiler_dir"] = dir
	}
	if f.ProfilerDir != "" {
		fmt.Fprintln(e.err, "warning: --profiler-dir is deprecated: use --profiler-config.torch_profiler_dir=DIR")
		old["torch_profiler_dir"] = f.ProfilerDir
	}
	return parseOverride(f.ProfilerConfig, old, f.dotted)
}

// parseOverride reads --profiler-config and dotted flags, later ones over earlier ones.
func parseOverride(text string, dotted ...map[string]string) (*deploy.ProfilerOverride, error) {
	o, err := deploy.ParseProfilerJSON(cmp.Or(text, "{}"))
	if err != nil {
		return nil, usage("--profiler-config: %w", err)
	}
	for _, fields := range dotted {
		if err := o.SetDotted(fields); err != nil {
			return nil, usageError{err}
		}
	}
	return o, nil
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	fmt.Fprintln(e.out, "kinetoscope", version())
	return nil
}

// version returns the module's version.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
