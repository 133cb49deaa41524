package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestNewFile: what could not be written whole leaves nothing that stands in the way of the next try, and
// what is there stays.
func TestNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.md")
	full := errors.New("no space left on device")
	half := func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, full)
	}
	if err := newFile(path, 0o600, half); !errors.Is(err, full) {
		t.Errorf("half a file: %v", err)
	}
	whole := func(w io.Writer) error {
		_, err := io.WriteString(w, "whole")
		return err
	}
	if err := newFile(path, 0o600, whole); err != nil {
		t.Errorf("the next try: %v", err)
	}
	if err := newFile(path, 0o600, half); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "whole" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestReplaceFile: only what begins alike is replaced, and a file that could not be written stays as it was.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "memory.svg")
	for _, c := range []struct {
		name, there, want string
		ok                bool
	}{
		{"an earlier picture", "<svg old>", "<svg new>", true},
		{"an empty file", "", "<svg new>", true},
		{"a trace", `{"traceEvents":[]}`, `{"traceEvents":[]}`, false},
		{"a text", "no", "no", false},
	} {
		if err := os.WriteFile(path, []byte(c.there), 0o600); err != nil {
			t.Fatal(err)
		}
		err := replaceFile(path, []byte("<svg new>"))
		if b, rerr := os.ReadFile(path); string(b) != c.want || rerr != nil || (err == nil) != c.ok {
			t.Errorf("%s: %q, %v, %v", c.name, b, err, rerr)
		}
	}
	if err := os.Mkdir(path+".part", 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("<svg old>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(path, []byte("<svg new>")); err == nil {
		t.Error("no error of a file that cannot be written")
	}
	if b, err := os.ReadFile(path); string(b) != "<svg old>" {
		t.Errorf("what was there is %q, %v", b, err)
	}
}
