package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
)

// reported is the part of report --json that the tool findings shows.
type reported struct {
	Traces []struct {
		File string `json:"file"`
	} `json:"traces"`
	Report struct {
		Findings []finding.Finding `json:"findings"`
	} `json:"report"`
}

func (s *server) addFindings(m *mcp.Server) {
	mcp.AddTool(m, readOnly("findings",
		"What stands out, a line each: how severe, its code, the sentence with its number, and the slice behind it, "+
			"which the tool slices shows by its id."),
		func(ctx context.Context, _ *mcp.CallToolRequest, in asked) (*mcp.CallToolResult, Answer, error) {
			args, err := s.args("report", in)
			if err != nil {
				return nil, Answer{}, err
			}
			return s.shown(s.o.Run(ctx, append(args, "--json")), s.findings)
		})
}

// findings writes the findings of a report's JSON.
func (s *server) findings(stdout string) (string, error) {
	var r reported
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		return "", fmt.Errorf("read the report: %w", err)
	}
	if len(r.Report.Findings) == 0 {
		return "Nothing stands out.\n", nil
	}
	var b strings.Builder
	for _, f := range r.Report.Findings {
		fmt.Fprintf(&b, "%s  %s  %s\n", f.Severity, f.Code, f.Text)
		if i := f.Evidence.Rank; i >= 0 && i < len(r.Traces) && r.Traces[i].File != "" {
			fmt.Fprintf(&b, "    look at: path %s", s.named(r.Traces[i].File))
			if f.Evidence.Slice != finding.NoSlice {
				fmt.Fprintf(&b, " id %d", f.Evidence.Slice)
			}
			fmt.Fprintf(&b, " track %d, %d to %d ns of the trace's clock\n", f.Evidence.Track, f.Evidence.StartNs,
				f.Evidence.EndNs)
		}
	}
	return b.String(), nil
}

// named is a path as an agent may name it.
func (s *server) named(path string) string {
	if rel, err := filepath.Rel(s.root, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
