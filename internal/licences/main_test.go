package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCheck(t *testing.T) {
	for text, want := range map[string]int{
		`{"components":[{"name":"a","evidence":{"licenses":[{"license":{"id":"MIT"}}]}}]}`:                               0,
		`{"components":[{"name":"a","licenses":[{"license":{"id":"AGPL-3.0-only"}}]}]}`:                                  1,
		`{"components":[{"name":"a"},{"name":"b","licenses":[{"license":{"id":"MIT"}},{"license":{"id":"SSPL-1.0"}}]}]}`: 2,
	} {
		path := filepath.Join(t.TempDir(), "sbom.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if bad, _, err := check(path); err != nil || len(bad) != want {
			t.Errorf("%s: %v, %v", text, bad, err)
		}
	}
	if _, _, err := check(os.DevNull); err == nil {
		t.Error("an empty file passes")
	}
}
