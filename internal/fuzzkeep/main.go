// Command fuzzkeep keeps some of what fuzzing has found: from Go's cache, where inputs that reach new code
// are gathered and forgotten, it copies a few of each fuzz target to testdata/fuzz, so that every go test
// tries them. Inputs that failed are there already: fuzzing itself writes them.
package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxKept is how many inputs a target has: enough for each kind of input that a decoder tells
	// apart, few enough to be read by every clone.
	maxKept = 8
	// maxSize leaves out inputs that are large by accident, in bytes.
	maxSize = 1 << 10
)

const module = "github.com/kinetoscope/kinetoscope"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzkeep:", err)
		os.Exit(1)
	}
}

func run() error {
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return fmt.Errorf("ask for Go's cache: %w", err)
	}
	cache := filepath.Join(strings.TrimSpace(string(out)), "fuzz", filepath.FromSlash(module))
	targets := map[string]bool{}
	err = filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(filepath.Base(filepath.Dir(path)), "Fuzz") {
			targets[filepath.Dir(path)] = true
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read Go's cache: %w", err)
	}
	for from := range targets {
		rel, err := filepath.Rel(cache, from)
		if err != nil {
			return err
		}
		pkg, target := filepath.Split(rel)
		if _, err := os.Stat(pkg); err != nil {
			continue // it was there once
		}
		if err := keep(from, filepath.Join(pkg, "testdata", "fuzz", target)); err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
	}
	return nil
}

// keep fills a target's directory with inputs of all sizes.
func keep(from, to string) error {
	type input struct {
		name string
		size int64
	}
	var found []input
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Size() <= maxSize {
			found = append(found, input{e.Name(), st.Size()})
		}
	}
	slices.SortFunc(found, func(a, b input) int {
		return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.name, b.name))
	})
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	free := maxKept - len(there)
	for i := range min(free, len(found)) {
		in := found[i*len(found)/min(free, len(found))]
		b, err := os.ReadFile(filepath.Join(from, in.name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, in.name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
