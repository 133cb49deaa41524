package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReleased(t *testing.T) {
	for version, want := range map[string]string{
		"v0.0.0-20261105234957-e22db6528018":         "2026-11-05",
		"v1.2.4-0.20260908200009-22c9c6c9d4da":       "2026-09-08",
		"v2.0.0-rc.1.0.20260908200009-22c9c6c9d4da1": "2026-09-08",
	} {
		if got, err := released(version); err != nil || got.Format("2006-01-02") != want {
			t.Errorf("%s: %v %v, want %s", version, got, err, want)
		}
	}
	if _, err := released("v1.2.3"); err == nil {
		t.Error("a tag has no time")
	}
}

// Without a network nothing is scanned, and that is said; it does not pass for a scan.
func TestNothingIsScannedInSilence(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "go")
	script := "#!/bin/sh\n[ \"$1\" = env ] && echo go1.99 && exit\necho no network >&2\nexit 1\n"
	if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // whether the site answers is not asked here
	err := run(context.Background(), "scanner@v1", []string{"."})
	if !errors.Is(err, errNoScan) || !strings.Contains(err.Error(), "no network") {
		t.Errorf("%v", err)
	}
}
