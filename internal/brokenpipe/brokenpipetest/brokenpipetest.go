// Package brokenpipetest has, for tests, output that nobody reads.
package brokenpipetest

import (
	"os"
	"testing"
)

// Writer returns the end of a pipe whose reader is gone, open until the test ends.
func Writer(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}
