package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
)

// program is what a command line is read into.
type program struct {
	all struct {
		Verbose bool `short:"v" help:"Log what happens, the ranks' logs too, on stderr."`
	}
	// The verbs that take what a flag parser does not know, see cli.SplitArgs.
	capture  captureCmd
	overhead overheadCmd
	serve    serveCmd
	start    startCmd
}

// namedVerb is what the program does by one name.
type namedVerb struct {
	name, help string
	alias      string // "" if it has one name only
	grammar    func() any
}

// option makes v a command of a parser.
func (v namedVerb) option() kong.Option {
	var tags []string
	if v.alias != "" {
		tags = append(tags, `aliases:"`+v.alias+`"`)
	}
	return kong.DynamicCommand(v.name, v.help, "", v.grammar(), tags...)
}

// fresh makes a verb's grammar when it is asked for.
func fresh[T any]() any { return new(T) }

// own is the grammar that the program has anyhow.
func own(grammar any) func() any { return func() any { return grammar } }

// verbs are all verbs in the order in which help lists them; those of package analyses follow report.
func (p *program) verbs() []namedVerb {
	return slices.Concat([]namedVerb{
		{"capture",
			"Run a pipeline, capture all its stages, and report where the time went.", "", own(&p.capture)},
		{"overhead",
			"Run a pipeline and say what profiling costs it: states of the profiler take turns under one load.", "", own(&p.overhead)},
		{"serve", "Serve a pipeline over an OpenAI-compatible API with profile endpoints.", "", own(&p.serve)},
		{"worker", "Run one rank of a native stage, on any host that reaches the hub.", "", fresh[workerCmd]},
		{"agent",
			"Let the PyTorch processes of this host take part as they are, over Kineto's daemon protocol.", "", fresh[agentCmd]},
		{"doctor", "Say what keeps a server from being profiled, and what mends it.", "", fresh[doctorCmd]},
		{"ps", "List what can be profiled on this host, and servers that are named.", "", fresh[psCmd]},
		{"watch",
			"Capture servers by itself whenever a condition on their metrics holds.", "", fresh[watchCmd]},
		{"credential",
			"Print the credential with which one rank or agent on another host joins a server.", "", fresh[credentialCmd]},
		{"start", "Start a session on a running server.", "", own(&p.start)},
		{"stop", "Stop the running session and wait for its artifacts.", "", fresh[stopCmd]},
		{"status", "Show a server's stages and its running session.", "", fresh[statusCmd]},
		{"sessions",
			"List a server's sessions, or show one and download its artifacts.", "", fresh[sessionsCmd]},
		{"runs", "Find, label, delete, archive and upload a server's runs.", "", fresh[runsCmd]},
		{"recover",
			"Make runs of recordings that never came home: of a server or capture that was killed, of a full disk.", "", fresh[recoverCmd]},
		{"view", "Look at traces and runs on a timeline in the browser.", "", fresh[viewCmd]},
		{"report", "Say where the time went in runs or traces, on one page.", "", fresh[reportCmd]},
	}, analysisVerbs(), []namedVerb{
		{"sql",
			"Ask traces in SQL: slices, tracks, flows, counters, ops as tables; DuckDB answers.", "", fresh[sqlCmd]},
		{"convert",
			"Write traces in another format, several on one clock in one file, or a part of them.", "merge", fresh[convertCmd]},
		{"inspect",
			"Say what is in a recording or a trace, and what had to be repaired.", "", fresh[inspectCmd]},
		{"explain",
			"Say what the code of a finding means: its usual causes, and what mends them.", "", fresh[explainCmd]},
		{"mcp", "Offer these verbs to agents over the Model Context Protocol.", "", fresh[mcpCmd]},
		{"skill", "Agent skill: when and how an agent calls this program.", "", fresh[skillCmd]},
		{"version", "Print the version.", "", fresh[versionCmd]},
	})
}

// parser reads a command line into p. It knows the verb that args name and no other, for making all of them takes
// nearly as long as the rest of the program's start, or all where args name none.
func (p *program) parser(args []string, options ...kong.Option) (*kong.Kong, error) {
	verbs := p.verbs()
	if verb := cli.Verb(args); verb != "" {
		named := func(v namedVerb) bool { return verb == v.name || verb == v.alias }
		if k := slices.IndexFunc(verbs, named); k >= 0 {
			verbs = verbs[k : k+1]
		}
	}
	all := []kong.Option{kong.Name("kinetoscope"),
		kong.Description("One profiler for every stage of a generative pipeline."), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"builtins": strings.Join(deploy.Builtins, ", ")}, kong.Vars(flags.Vars)}
	for _, v := range verbs {
		all = append(all, v.option())
	}
	return kong.New(&p.all, append(all, options...)...)
}

// analysisVerbs makes a verb of each registered analysis.
func analysisVerbs() []namedVerb {
	var out []namedVerb
	for _, a := range analyses.All() {
		v := namedVerb{a.Name, a.Help, "", func() any { return newAskCmd(a) }}
		if a.Compares() {
			v.grammar = func() any { return newCompareCmd(a) }
		}
		out = append(out, v)
	}
	return out
}
