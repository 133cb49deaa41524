// Package mcpserver offers the program's verbs to agents over the Model Context Protocol: an agent
// calls a tool where a person types a verb, and gets the same text.
//
// Answers are bounded. One of more than PageBytes ends with a cursor for the tool "more". Only
// files under one directory can be asked about; a path that leads out of it, or that a shell would
// take for a flag, is refused. Nothing is started, stopped or written unless the user allowed
// captures. The protocol is that of modelcontextprotocol.io, implemented by its Go SDK.
package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/kinetoscope/kinetoscope/analyses"
)

// Result is what a verb printed, and its exit code.
type Result struct {
	Stdout, Stderr string
	Code           int
	// Partial says that the code is that of a verb which did what it was asked, and what came of it is
	// incomplete: a session without one rank's trace.
	Partial bool
}

// Runner runs one verb with its arguments, the verb first.
type Runner func(ctx context.Context, args []string) Result

// Options say what a server offers.
type Options struct {
	Run     Runner
	Root    string // files under this directory may be asked about
	Version string
	// Server is the URL of the usual server, which agents may name beside those of this host.
	Server string
	// AllowCapture adds the tools that start and stop captures.
	AllowCapture bool
}

// PageBytes bounds an answer: some thousand tokens, so that an agent's context holds the answers to
// many questions.
const PageBytes = 4096

// instructions is what an agent reads before it uses the tools; %s are the questions of package
// analyses.
const instructions = `Kinetoscope reads traces of PyTorch, vLLM, SGLang and native pipelines. Begin with "report": its findings name what to look at,
and "findings" has each with the slice behind it. Then ask %s for one of these, "slices" for what happened around a time or
a slice, "search" for where a name is,
%s for two traces, "sql" for anything else. Paths are relative to the server's directory. Durations
are as printed with their unit. A note before an answer says what the answer rests on; repeat it with the numbers. Where an answer
ends with a cursor, "more" gives the rest.`

// New returns a server of the tools.
func New(o Options) (*mcp.Server, error) {
	root, err := filepath.Abs(o.Root)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, fmt.Errorf("directory of traces: %w", err)
	}
	s := &server{o: o, root: root, pages: pages{}}
	m := mcp.NewServer(&mcp.Implementation{Name: "kinetoscope", Title: "Kinetoscope", Version: o.Version},
		&mcp.ServerOptions{Instructions: fmt.Sprintf(instructions, choice(false), choice(true))})
	s.addVerbs(m)
	s.addFindings(m)
	s.addSlices(m)
	s.addSearch(m)
	if o.AllowCapture {
		s.addCaptures(m)
	}
	return m, nil
}

// toolName is how agents call the verb of an analysis.
func toolName(a *analyses.Analysis) string { return strings.ReplaceAll(a.Name, "-", "_") }

// toolsOf are the tools of the analyses that compare two sides, or of the others.
func toolsOf(compare bool) []string {
	var out []string
	for _, a := range analyses.All() {
		if a.Compares() == compare {
			out = append(out, toolName(a))
		}
	}
	return out
}

// choice names tools in a sentence: "ops", "idle" or "memory".
func choice(compare bool) string {
	names := toolsOf(compare)
	for i, n := range names {
		names[i] = strconv.Quote(n)
	}
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

type server struct {
	o     Options
	root  string
	pages pages
}

// Answer is what every tool answers.
type Answer struct {
	Text string `json:"text" jsonschema:"the answer, or a page of it"`
	Next string `json:"next,omitempty" jsonschema:"cursor for the tool more, if there is more"`
	Note string `json:"note,omitempty" jsonschema:"what the answer rests on: repairs, files left out, warnings"`
}

// result hands an answer out as text and as a structure.
func result(a Answer) (*mcp.CallToolResult, Answer, error) {
	text := a.Text
	if a.Note != "" {
		text = "note: " + a.Note + "\n\n" + text
	}
	if a.Next != "" {
		text += fmt.Sprintf("\n… there is more: call more with cursor %q\n", a.Next)
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, a, nil
}

// maxNote bounds how much of a verb's standard error is repeated, in bytes.
const maxNote = 1000

// verb runs a verb and answers with what it printed.
func (s *server) verb(ctx context.Context, args ...string) (*mcp.CallToolResult, Answer, error) {
	return s.shown(s.o.Run(ctx, args), func(stdout string) (string, error) { return stdout, nil })
}

// shown answers with what text makes of a verb's output.
func (s *server) shown(r Result, text func(stdout string) (string, error)) (*mcp.CallToolResult, Answer, error) {
	note := strings.TrimSpace(r.Stderr)
	failed := r.Code != 0 && !r.Partial
	switch {
	case failed && note == "":
		note = fmt.Sprintf("it ended with exit code %d and said nothing", r.Code)
	case r.Code != 0 && len(note) > maxNote: // why it ended so is said last
		note = "…" + strings.ToValidUTF8(note[len(note)-maxNote:], "")
	case len(note) > maxNote:
		note = strings.ToValidUTF8(note[:maxNote], "") + "…"
	}
	if failed {
		return nil, Answer{}, errors.New(note)
	}
	answer, err := text(r.Stdout)
	if err != nil {
		return nil, Answer{}, err
	}
	a := s.pages.first(answer)
	a.Note = note
	return result(a)
}

// run matches the name of a run, where no file has that name: the beginning of an id, or latest.
var run = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// path checks a path that an agent named, and returns it as the verb's argument.
func (s *server) path(p string) (string, error) {
	if p == "" || strings.HasPrefix(p, "-") {
		return "", fmt.Errorf("path %q: give a file, a directory, or a run by its id or as latest", p)
	}
	full := p
	if !filepath.IsAbs(p) {
		full = filepath.Join(s.root, p)
	}
	real, err := filepath.EvalSymlinks(full)
	if errors.Is(err, os.ErrNotExist) && run.MatchString(p) {
		return p, nil
	}
	if err != nil {
		return "", fmt.Errorf("path %q: there is no such file under the server's directory", p)
	}
	if rel, err := filepath.Rel(s.root, real); err != nil || rel != "." && !filepath.IsLocal(rel) {
		return "", fmt.Errorf("path %q lies outside of the server's directory", p)
	}
	return real, nil
}

// maxPaths bounds the paths of one question.
const maxPaths = 1024

func (s *server) paths(list []string) ([]string, error) {
	if len(list) == 0 {
		return nil, errors.New("paths: name at least one trace, directory or run")
	}
	if len(list) > maxPaths {
		return nil, fmt.Errorf("paths: %d are more than %d; name their directory", len(list), maxPaths)
	}
	out := make([]string, len(list))
	for i, p := range list {
		var err error
		if out[i], err = s.path(p); err != nil {
			return nil, err
		}
	}
	return out, nil
}
