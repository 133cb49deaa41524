package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/kinetoscope/kinetoscope/analyses"
)

// asked is the input that most tools have in common.
type asked struct {
	Paths []string `json:"paths" jsonschema:"traces, directories of ranks, or runs (id or latest)"`
	Rank  *int     `json:"rank,omitempty" jsonschema:"only this rank"`
	Stage string   `json:"stage,omitempty" jsonschema:"only this stage, by number or name"`
}

// tabled is the further input of tools that answer with tables.
type tabled struct {
	asked
	Top   int    `json:"top,omitempty" jsonschema:"rows of a table; 10 without it"`
	Table string `json:"table,omitempty" jsonschema:"only this table; a wrong name lists them"`
	Sort  string `json:"sort,omitempty" jsonschema:"column to sort by, largest first"`
}

func (s *server) args(verb string, in asked) ([]string, error) {
	paths, err := s.paths(in.Paths)
	if err != nil {
		return nil, err
	}
	args := append([]string{verb}, paths...)
	if in.Rank != nil {
		args = append(args, "--rank="+strconv.Itoa(*in.Rank))
	}
	if in.Stage != "" {
		args = append(args, "--stage="+in.Stage)
	}
	return args, nil
}

// defaultTop keeps tables to what fits a page.
const defaultTop = 10

func readOnly(name, doc string) *mcp.Tool {
	return &mcp.Tool{Name: name, Description: doc, Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}}
}

func (s *server) addVerbs(m *mcp.Server) {
	mcp.AddTool(m, readOnly("report", "Where the time went, on one page, findings first. Begin here."),
		func(ctx context.Context, _ *mcp.CallToolRequest, in asked) (*mcp.CallToolResult, Answer, error) {
			return s.ask(ctx, "report", in)
		})
	mcp.AddTool(m,
		readOnly("inspect", "What is in a trace: ranks, tracks, cards, versions, and what had to be repaired."),
		func(ctx context.Context, _ *mcp.CallToolRequest, in asked) (*mcp.CallToolResult, Answer, error) {
			in.Rank, in.Stage = nil, "" // this verb shows every file
			return s.ask(ctx, "inspect", in)
		})
	for _, a := range analyses.All() {
		if a.Compares() {
			s.addComparison(m, a)
			continue
		}
		mcp.AddTool(m, readOnly(toolName(a), a.Help),
			func(ctx context.Context, _ *mcp.CallToolRequest, in tabled) (*mcp.CallToolResult, Answer, error) {
				more, err := in.flags()
				if err != nil {
					return nil, Answer{}, err
				}
				return s.ask(ctx, a.Name, in.asked, more...)
			})
	}
	s.addSQL(m)
	mcp.AddTool(m, readOnly("more", "The next page of an answer that ended with a cursor."),
		func(_ context.Context, _ *mcp.CallToolRequest, in struct {
			Cursor string `json:"cursor"`
		}) (*mcp.CallToolResult, Answer, error) {
			a, err := s.pages.more(in.Cursor)
			if err != nil {
				return nil, Answer{}, err
			}
			return result(a)
		})
}

func (t tabled) flags() ([]string, error) {
	if t.Top < 0 {
		return nil, errors.New("top: 0 or more rows")
	}
	top := t.Top
	if top == 0 {
		top = defaultTop
	}
	flags := []string{"--top=" + strconv.Itoa(top)}
	if t.Table != "" {
		flags = append(flags, "--table="+t.Table)
	}
	if t.Sort != "" {
		flags = append(flags, "--sort="+t.Sort)
	}
	return flags, nil
}

func (s *server) ask(ctx context.Context, verb string, in asked, more ...string) (*mcp.CallToolResult, Answer, error) {
	args, err := s.args(verb, in)
	if err != nil {
		return nil, Answer{}, err
	}
	return s.verb(ctx, append(args, more...)...)
}

type diffed struct {
	Before string `json:"before" jsonschema:"trace, directory or run"`
	After  string `json:"after" jsonschema:"trace, directory or run"`
	Top    int    `json:"top,omitempty" jsonschema:"rows; 10 without it"`
}

func (s *server) addComparison(m *mcp.Server, a *analyses.Analysis) {
	mcp.AddTool(m, readOnly(toolName(a), a.Help),
		func(ctx context.Context, _ *mcp.CallToolRequest, in diffed) (*mcp.CallToolResult, Answer, error) {
			paths, err := s.paths([]string{in.Before, in.After})
			if err != nil {
				return nil, Answer{}, err
			}
			top, err := tabled{Top: in.Top}.flags()
			if err != nil {
				return nil, Answer{}, err
			}
			return s.verb(ctx, append([]string{a.Name, paths[0], paths[1]}, top...)...)
		})
}

type questioned struct {
	asked
	Question string `json:"question" jsonschema:"DuckDB SQL over the tables slices, tracks, flows, counters, instants, ops and the views kernels, by_name, streams; describe NAME lists columns; times are ns"`
}

func (s *server) addSQL(m *mcp.Server) {
	mcp.AddTool(m, readOnly("sql", "Ask traces in SQL. Use LIMIT."),
		func(ctx context.Context, _ *mcp.CallToolRequest, in questioned) (*mcp.CallToolResult, Answer, error) {
			args, err := s.args("sql", in.asked)
			if err != nil {
				return nil, Answer{}, err
			}
			// The space before it makes the verb take it for a question, whatever it says.
			return s.verb(ctx, append(args, "--read-only", " "+in.Question)...)
		})
}

type captured struct {
	Pipeline string `json:"pipeline,omitempty" jsonschema:"built-in pipeline: omni or diffusion; omni without it"`
	Stages   string `json:"stages,omitempty" jsonschema:"only these stages, as 0,2"`
	Seconds  int    `json:"seconds,omitempty" jsonschema:"how long to capture under load; until the prompts are answered without it"`
}

// builtin are the pipelines that an agent may start: they run no code from outside the program.
var builtin = map[string]bool{"": true, "omni": true, "diffusion": true}

// maxCaptureSeconds bounds a capture that an agent asks for.
const maxCaptureSeconds = 120

// checkURL refuses servers elsewhere than the usual one and this host: they would be sent the user's key,
// and who talks an agent into naming one has it then.
func (s *server) checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("url %q: write http://HOST:PORT", text)
	}
	usual, err := url.Parse(s.o.Server)
	if err == nil && usual.Host != "" && u.Scheme == usual.Scheme && u.Host == usual.Host {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("url %q: only servers of this host and the usual one may be named; "+
		"start the MCP server with KINETOSCOPE_URL for another", text)
}

type running struct {
	URL string `json:"url,omitempty" jsonschema:"the server, on this host or the usual one; the usual one without it"`
}

func (s *server) addCaptures(m *mcp.Server) {
	mcp.AddTool(m, &mcp.Tool{Name: "capture",
		Description: "Run a built-in pipeline, capture all its stages, and report where the time went."},
		func(ctx context.Context, _ *mcp.CallToolRequest, in captured) (*mcp.CallToolResult, Answer, error) {
			if !builtin[in.Pipeline] {
				return nil, Answer{}, fmt.Errorf("pipeline %q: omni or diffusion", in.Pipeline)
			}
			if in.Seconds < 0 || in.Seconds > maxCaptureSeconds {
				return nil, Answer{}, fmt.Errorf("seconds: 0 to %d", maxCaptureSeconds)
			}
			args := []string{"capture"}
			if in.Pipeline != "" {
				args = append(args, "--pipeline="+in.Pipeline)
			}
			if in.Stages != "" {
				args = append(args, "--stages="+in.Stages)
			}
			if in.Seconds > 0 {
				args = append(args, fmt.Sprintf("--duration=%ds", in.Seconds))
			}
			return s.verb(ctx, args...)
		})
	for _, t := range []struct{ name, doc string }{
		{"start", "Start a session on a running server."},
		{"stop", "Stop the running session and wait for its artifacts."},
		{"status", "Show a server's stages and its running session."},
	} {
		mcp.AddTool(m, &mcp.Tool{Name: t.name, Description: t.doc,
			Annotations: &mcp.ToolAnnotations{ReadOnlyHint: t.name == "status"}},
			func(ctx context.Context, _ *mcp.CallToolRequest, in running) (*mcp.CallToolResult, Answer, error) {
				args := []string{t.name}
				if in.URL != "" {
					if err := s.checkURL(in.URL); err != nil {
						return nil, Answer{}, err
					}
					args = append(args, "--url="+in.URL)
				}
				return s.verb(ctx, args...)
			})
	}
}
