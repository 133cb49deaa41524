package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/docs"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/report"
)

type explainCmd struct {
	Code string `arg:"" optional:"" help:"Code of a finding, as it stands in brackets behind its sentence. Without one all are listed."`
	JSON bool   `name:"json" help:"Print the answer as JSON."`
}

// explainAnswer is what --json prints.
type explainAnswer struct {
	SchemaVersion int                `json:"schema_version"`
	Code          string             `json:"code"`
	Unit          string             `json:"unit"`   // of the number in findings of the code
	Causes        []report.Explained `json:"causes"` // a code with several rows has several causes
}

// Run prints what docs/troubleshooting.md says of a code.
func (c *explainCmd) Run(e *cli.Env) error {
	if c.Code == "" {
		if c.JSON {
			return cli.JSON(e.Out, map[string]any{"schema_version": 1, "codes": finding.Codes()})
		}
		for _, code := range finding.Codes() {
			fmt.Fprintln(e.Out, code)
		}
		return nil
	}
	code := finding.Code(strings.Trim(c.Code, "[]"))
	if !slices.Contains(finding.Codes(), code) {
		return cli.Usage("no finding has the code %q; kinetoscope explain lists them", c.Code)
	}
	out := explainAnswer{SchemaVersion: 1, Code: string(code), Unit: code.Unit(), Causes: explain(string(code))}
	if c.JSON {
		return cli.JSON(e.Out, out)
	}
	return report.Explain(report.Terminal(e.Out), string(code), out.Causes, e.Text())
}

// explain returns the rows of docs/troubleshooting.md that have the code.
func explain(code string) (out []report.Explained) {
	section, titles := "", []string(nil)
	for line := range strings.Lines(docs.Troubleshooting) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = name
		}
		inner, ok := strings.CutPrefix(line, "| ")
		if !ok {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(inner, " |"), " | ")
		switch cells[0] {
		case "code":
			titles = cells
		case "`" + code + "`":
			x := report.Explained{Section: section}
			for k, text := range cells[1:] {
				if k+1 < len(titles) {
					plain := strings.ReplaceAll(text, "`", "")
					x.Cells = append(x.Cells, report.Titled{Title: titles[k+1], Text: plain})
				}
			}
			out = append(out, x)
		}
	}
	return out
}
