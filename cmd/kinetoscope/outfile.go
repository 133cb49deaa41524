package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// newFile writes a file that is not there yet, complete or not at all. If there is one, the error wraps
// fs.ErrExist.
func newFile(path string, perm fs.FileMode, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// replaceFile writes content in the place of an earlier file that begins alike, complete or not at all; a file
// of another kind, the trace itself say, is refused. What is no plain file, a terminal or pipe, is written to.
func replaceFile(path string, content []byte) error {
	switch alike, err := beginsAs(path, content); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !alike:
		return cli.Usage("%s is there already, and is none that this wrote: choose another name", path)
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(path, content, 0o644)
	}
	part := path + ".part"
	err := newFile(part, 0o644, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

// beginsAs reports whether the file begins as content does; what is no plain file does.
func beginsAs(path string, content []byte) (bool, error) {
	const mark = 4 // "<svg"
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return true, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, mark))
	return len(head) == 0 || bytes.HasPrefix(content, head), err
}
