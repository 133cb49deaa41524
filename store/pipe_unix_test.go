//go:build unix

package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe in the place of a run's file or manifest is no file of the run, and nobody waits for who writes to it.
func TestPipesAreNoFilesOfARun(t *testing.T) {
	s := newStore(t)
	r := create(t, s, "", 1)
	name := finish(t, r, "x").Artifacts()[0].Name
	replace := func(name string) {
		t.Helper()
		path := filepath.Join(r.Dir(), filepath.FromSlash(name))
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	replace(name)
	if _, err := r.Open(name); !errors.Is(err, ErrNotFound) {
		t.Errorf("an artifact: %v", err)
	}
	if err := r.Verify(); !errors.Is(err, ErrNotFound) {
		t.Errorf("verified: %v", err)
	}
	replace(ManifestName)
	if _, err := OpenRun(r.Dir()); err == nil {
		t.Error("a pipe is a manifest")
	}
}
