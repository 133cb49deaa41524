package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
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
	maxFuncLines = 70  // what a screen shows at once
	maxFileLines = 700 // some 600, with room for a test's table
	maxColumns   = 120 // what fits beside another file on a wide screen
	tabColumns   = 4
	longText     = 50 // a text of as many columns stays in one piece, so that it is found by what it says
)

// manyParams have more parameters than maxParams, each for its reason. A name stands for a function, or
// for a directory with all below it.
var manyParams = map[string]string{
	"omni/model":                  "arithmetic on matrices: sizes and strides, without a struct in the inner loop",
	"omni/collective/net.go span": "arithmetic on a span of a tensor",
}

// longFuncs have more lines than maxFuncLines, each for its reason, named as in manyParams.
var longFuncs = map[string]string{}

// excuses are the exceptions of one limit; used tells those that something needs.
type excuses struct {
	list map[string]string
	used map[string]bool
}

func newExcuses(list map[string]string) *excuses { return &excuses{list, map[string]bool{}} }

// excuse reports whether at is excepted.
func (e *excuses) excuse(at string) bool {
	for of := range e.list {
		if at == of || strings.HasPrefix(at, of+"/") {
			e.used[of] = true
			return true
		}
	}
	return false
}

// idle complains of exceptions that nothing needs any more.
func (e *excuses) idle(t *testing.T) {
	t.Helper()
	for of := range e.list {
		if !e.used[of] {
			t.Errorf("%q is excepted and needs it no more: take it out of the list", of)
		}
	}
}

// TestSizes holds functions, tests apart, to a number of parameters and of lines, and all files to a length and a
// width.
func TestSizes(t *testing.T) {
	params, length := newExcuses(manyParams), newExcuses(longFuncs)
	eachFile(t, func(rel string, src []byte) error {
		if n := bytes.Count(src, []byte{'\n'}); n > maxFileLines {
			t.Errorf("%s has %d lines: split it by what it is about", rel, n)
		}
		for _, line := range wide(src) {
			t.Errorf("%s:%d is wider than %d columns: break it where it says one thing less", rel, line, maxColumns)
		}
		if !strings.HasSuffix(rel, "_test.go") {
			return functions(t, rel, src, params, length)
		}
		return nil
	})
	params.idle(t)
	length.idle(t)
}

// eachFile calls f for every Go file of the module and of those within it, by its name from the top.
func eachFile(t *testing.T, f func(rel string, src []byte) error) {
	t.Helper()
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
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(rel), src)
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("found %d files under %s: the walk is broken", files, root)
	}
}

// functions complains of functions of a file with too many parameters or lines.
func functions(t *testing.T, rel string, src []byte, params, length *excuses) error {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, rel, src, 0)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		at := rel + " " + fn.Name.Name
		if n := fn.Type.Params.NumFields(); n > maxParams && !params.excuse(at) {
			t.Errorf("%s has %d parameters, %d at most: make a struct of those that go together", at, n, maxParams)
		}
		n := files.Position(fn.End()).Line - files.Position(fn.Pos()).Line + 1
		if n > maxFuncLines && !length.excuse(at) {
			t.Errorf("%s has %d lines, %d at most: split it by what its parts do", at, n, maxFuncLines)
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
