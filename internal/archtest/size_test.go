package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Limits of what a reader can hold at once.
const (
	maxParams    = 6
	maxFileLines = 700 // some 600, with room for a test's table
	maxColumns   = 120 // what fits beside another file on a wide screen
	tabColumns   = 4
	longText     = 50 // a text of as many columns stays in one piece, so that it is found by what it says
)

// manyParams have more parameters than maxParams, each for its reason.
var manyParams = map[string]string{
	"omni/model":                                        "arithmetic on matrices: sizes and strides, without a struct in the inner loop",
	"omni/collective/net.go span":                       "arithmetic on a span of a tensor",
	"omni/worker/worker.go serve":                       "the parts of a rank, each made by what starts it",
	"analysis/plausible/plausible.go doubt":             "the parts of one sentence",
	"bench/tracegen/tracegen.go slice":                  "the fields of one event, written millions of times",
	"analysis/pipeline/pipetest/pipetest.go Collective": "the fields of one collective, in tests' tables",
}

// TestSizes holds code, tests apart, to a number of parameters, and all files to a length and a width.
func TestSizes(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "runs") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if n := bytes.Count(src, []byte{'\n'}); n > maxFileLines {
			t.Errorf("%s has %d lines: split it by what it is about", rel, n)
		}
		for _, line := range wide(src) {
			t.Errorf("%s:%d is wider than %d columns: break it where it says one thing less", rel, line, maxColumns)
		}
		if !strings.HasSuffix(rel, "_test.go") {
			return params(t, rel, src)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("found %d files under %s: the walk is broken", files, root)
	}
}

// params complains of functions of a file with too many parameters.
func params(t *testing.T, rel string, src []byte) error {
	f, err := parser.ParseFile(token.NewFileSet(), rel, src, 0)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Type.Params.NumFields() <= maxParams {
			continue
		}
		at := rel + " " + fn.Name.Name
		excepted := func(of string) bool { return at == of || strings.HasPrefix(at, of+"/") }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(manyParams)), excepted) {
			t.Errorf("%s has %d parameters, %d at most: make a struct of those that go together", at,
				fn.Type.Params.NumFields(), maxParams)
		}
	}
	return nil
}

// wide gives the numbers of the lines, from 1, that are wider than maxColumns though no long text makes them so.
func wide(src []byte) []int {
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, 0)
	texts := map[int]bool{}
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok != token.STRING || utf8.RuneCountInString(lit) < longText {
			continue
		}
		for first, k := file.Line(pos), 0; k <= strings.Count(lit, "\n"); k++ {
			texts[first+k] = true
		}
	}
	var out []int
	n := 0
	for line := range bytes.Lines(src) {
		n++
		line = bytes.TrimRight(line, "\n")
		columns := utf8.RuneCount(line) + (tabColumns-1)*bytes.Count(line, []byte{'\t'})
		if columns > maxColumns && !texts[n] && !bytes.Contains(line, []byte("://")) {
			out = append(out, n)
		}
	}
	return out
}

// TestWide holds the measure itself to what it is for.
func TestWide(t *testing.T) {
	long := strings.Repeat("x", maxColumns)
	src := "package p\n\nvar a = " + long + "\n\nvar b = `" + long + "\n" + long + "`\n\n// " + long + "\n"
	if got := wide([]byte(src)); !slices.Equal(got, []int{3, 8}) {
		t.Errorf("wide lines are %v", got)
	}
}
