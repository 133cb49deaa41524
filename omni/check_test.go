package omni

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An interpreter that cannot run a torch stage is known before a rank is started, and the
// error says where it is named and what it lacks.
func TestInterpreterOfTorchStagesIsChecked(t *testing.T) {
	file := filepath.Join("..", "examples", "torch", "diffusion", "diffusion.yaml")
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "python")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ python, want string }{
		"not there":       {filepath.Join(t.TempDir(), "no-python"), "no-python: "},
		"fails":           {script("echo 'ImportError: torn' >&2; exit 1"), "exit status 1: ImportError: torn; name another interpreter"},
		"lacks a package": {script("echo diffusers torch"), "has no module diffusers, torch: install"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(pythonEnv, c.python)
			cfg := Config{Pipeline: file}
			_, err := Open(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "diffusion.yaml:") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q with file and line", err, c.want)
			}
			cfg.NoLaunch = true // its ranks are started elsewhere
			p, err := cfg.Check()
			if err != nil || !p.Stages[0].Torch() {
				t.Errorf("without launching: %v", err)
			}
		})
	}
}

// The error that names a dead rank has what it said last.
func TestLastWordsOfARank(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"log\nerror: no card\nmore log\n":     "error: no card",
		"goroutine 1\npanic: x\nexit\n":       "panic: x",
		"Traceback\nModuleNotFoundError: y\n": "ModuleNotFoundError: y",
	} {
		w := &tailWriter{log: slog.New(slog.DiscardHandler)}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := w.String(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
