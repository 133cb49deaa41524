package finding

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is a row of a table of docs/troubleshooting.md: its code and its other cells.
var row = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|(.*)\\|$")

// TestEveryCodeIsExplained holds docs/troubleshooting.md to the codes: each has a row with every
// cell filled, the cause and the cure among them, and no row has a code that does not exist.
func TestEveryCodeIsExplained(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[Code]bool{}
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		code := Code(m[1])
		explained[code] = true
		if !slices.Contains(Codes(), code) {
			t.Errorf("troubleshooting.md explains %s, which is no code", code)
		}
		cells := strings.Split(m[2], " | ")
		if len(cells) < 3 {
			t.Errorf("%s: %d cells, want what is found, the cause and the cure", code, len(cells))
		}
		for _, c := range cells {
			if strings.TrimSpace(c) == "" {
				t.Errorf("%s: an empty cell in %q", code, m[0])
			}
		}
	}
	for _, c := range Codes() {
		if !explained[c] {
			t.Errorf("troubleshooting.md does not explain %s", c)
		}
		if c.Unit() == "" {
			t.Errorf("%s has no unit", c)
		}
		if c.Verb() == "" {
			t.Errorf("no verb shows more of %s", c)
		}
	}
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| code |") && !row.MatchString(line) {
			t.Errorf("a row without a code: %s", line)
		}
	}
}

// TestEveryFindingHasACode reads the project's source: no finding is made without a code, and no
// code is there that nothing uses.
func TestEveryFindingHasACode(t *testing.T) {
	root := filepath.Join("..", "..")
	used := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "finding" {
					used[n.Sel.Name] = true
				}
			case *ast.CompositeLit:
				if keys := keysOf(n); slices.Contains(keys, "Severity") && slices.Contains(keys, "Evidence") &&
					!slices.Contains(keys, "Code") {
					t.Errorf("%s: a finding without a code", path)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Those of package plausible come from the names of its kinds; its own test holds them.
	doubts := []string{"NoTime", "Overrun", "SharedLane", "Clock", "EarlyWork", "NoWork", "MissingWork", "UnmatchedIDs",
		"Dominant", "NoDuration", "Sums", "Merged"}
	for _, name := range constants(t) {
		if !used[name] && !slices.Contains(doubts, name) {
			t.Errorf("finding.%s is in no finding", name)
		}
	}
}

func keysOf(n *ast.CompositeLit) (keys []string) {
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok {
				keys = append(keys, id.Name)
			}
		}
	}
	return keys
}

// constants are the names of the codes in codes.go.
func constants(t *testing.T) (names []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				names = append(names, v.Names[0].Name)
			}
		}
		return true
	})
	if len(names) != len(Codes()) {
		t.Errorf("%d constants, %d codes with a unit", len(names), len(Codes()))
	}
	return names
}
