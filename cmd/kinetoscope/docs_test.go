package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
)

// A command in the documents: at the begin of a line of a block, behind variables and paths, or in backquotes.
var (
	docBlock   = regexp.MustCompile("(?ms)^```[^\n]*\n(.*?)^```")
	docInline  = regexp.MustCompile("`([^`\n]+)`")
	docCommand = regexp.MustCompile(`(?m)(?:^|[\s(])(?:python -m |go run \./cmd/)?kinetoscope ([a-z][^\n]*)`)
	docFlag    = regexp.MustCompile(`^--(?:\[no-\]|no-)?([a-z][a-z-]*)`)
)

// TestDocsCommands: every command that the documents show names a verb and flags that the program has.
func TestDocsCommands(t *testing.T) {
	var p program
	parser, err := p.parser(nil)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "examples/*/*.md", "python/*.md",
		"cmd/kinetoscope/skill/*.md", "cmd/kinetoscope/skill/*/*.md"} {
		list, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, list...)
	}
	commands := 0
	for _, file := range files {
		if filepath.Base(file) == "CHANGELOG.md" {
			continue // it tells of what was
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range docCommands(text) {
			commands++
			for _, wrong := range notThere(parser.Model.Node, line) {
				t.Errorf("%s: %s: no %s", file, line, wrong)
			}
		}
	}
	if commands < 120 {
		t.Errorf("%d commands in %d documents: they are not found any more", commands, len(files))
	}
}

// docCommands returns what stands behind the program's name wherever a document shows a command.
func docCommands(text []byte) (lines []string) {
	var shown []string
	for _, m := range docBlock.FindAllSubmatch(text, -1) {
		shown = append(shown, string(bytes.ReplaceAll(m[1], []byte("\\\n"), nil)))
	}
	for _, m := range docInline.FindAllSubmatch(docBlock.ReplaceAll(text, nil), -1) {
		shown = append(shown, string(m[1]))
	}
	for _, s := range shown {
		for _, m := range docCommand.FindAllStringSubmatch(s, -1) {
			if !strings.Contains(m[0], "python -m ") { // the Python package is of the same name
				lines = append(lines, m[1])
			}
		}
	}
	return lines
}

// notThere returns the verb and the flags of a command that the program does not have.
func notThere(node *kong.Node, line string) (wrong []string) {
	words := strings.Fields(line)
	for len(words) > 0 && len(node.Children) > 0 {
		i := slices.IndexFunc(node.Children, func(c *kong.Node) bool {
			return c.Name == words[0] || slices.Contains(c.Aliases, words[0])
		})
		switch {
		case i < 0 && docFlag.MatchString(words[0]):
			words = nil // what all verbs of a group have
			continue
		case i < 0 && strings.HasPrefix(words[0], "["):
			return nil // what may follow, not a word
		case i < 0:
			return []string{"verb " + words[0]}
		}
		node, words = node.Children[i], words[1:]
	}
	for _, w := range words {
		if w == "--" || strings.ContainsAny(w, "#|&;") {
			break // another program's words, or a remark
		}
		m := docFlag.FindStringSubmatch(strings.TrimLeft(w, "["))
		if m == nil {
			continue
		}
		if !slices.ContainsFunc(slices.Concat(node.AllFlags(false)...), func(f *kong.Flag) bool {
			return f.Name == m[1] || f.Name == "no-"+m[1]
		}) {
			wrong = append(wrong, "flag --"+m[1])
		}
	}
	return wrong
}

// The verb that shows more of a finding is one of the program's, and takes what is suggested with it.
func TestVerbsOfFindings(t *testing.T) {
	var p program
	parser, err := p.parser(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range finding.Codes() {
		for _, wrong := range notThere(parser.Model.Node, c.Verb()+" PATH") {
			t.Errorf("%s: no %s", c, wrong)
		}
	}
	if got := notThere(parser.Model.Node, "idle PATH --top 10"); got != nil {
		t.Errorf("%v", got)
	}
}

// TestHelpQuotes: no help has two quotation marks in a row, of which the parser makes a curved one.
func TestHelpQuotes(t *testing.T) {
	var p program
	parser, err := p.parser(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		texts := []string{leaf.Help}
		for _, f := range slices.Concat(leaf.AllFlags(false)...) {
			texts = append(texts, f.Help)
		}
		for _, a := range leaf.Positional {
			texts = append(texts, a.Help)
		}
		for _, s := range texts {
			if strings.Contains(s, "''") || strings.Contains(s, "``") {
				t.Errorf("%s: %q", leaf.Path(), s)
			}
		}
	}
}
