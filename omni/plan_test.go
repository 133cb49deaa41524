package omni

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
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
		"not there": {filepath.Join(t.TempDir(), "no-python"), "no-python: "},
		"fails": {script("echo 'ImportError: torn' >&2; exit 1"),
			"exit status 1: ImportError: torn; name another interpreter"},
		"lacks a package": {script("echo diffusers torch"), "has no module diffusers, torch: install"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(pythonEnv, c.python)
			cfg := Config{Pipeline: file}
			_, err := Open(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "diffusion.yaml:") ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q with file and line", err, c.want)
			}
			cfg.NoLaunch = true // its ranks are started elsewhere
			p, err := cfg.Plan(t.Context())
			if err != nil || !p.Pipeline.Stages[0].Torch() {
				t.Errorf("without launching: %v", err)
			}
		})
	}
}

// A plan knows its models: neither its requests nor its opening look at them again.
func TestPlanLooksAtModelsOnce(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p, _, err := deploy.Load("omni")
	if err != nil {
		t.Fatal(err)
	}
	model, err := os.ReadFile(filepath.Join("model", "configs", "thinker", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := write("config.json", string(model))
	p.Stages[0].Model = dir
	plan, err := Config{Deployment: p, RunsDir: t.TempDir(), Command: []string{"/no/such/program"}}.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if err := plan.CheckRequests([]Request{say("hello", 4)}); err != nil {
		t.Error(err)
	}
	if err := plan.CheckRequests([]Request{say("hello", 4), say("", 4)}); err == nil ||
		!strings.Contains(err.Error(), "prompt 2") {
		t.Errorf("%v, want that of prompt 2", err)
	}
	if _, err := plan.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("%v, want the ranks to be started", err)
	}
}

// The error that names a dead rank has what it said last.
func TestLastWordsOfARank(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"log\nerror: no card\nmore log\n":     "error: no card",
		"goroutine 1\npanic: x\nexit\n":       "panic: x",
		"Traceback\nModuleNotFoundError: y\n": "ModuleNotFoundError: y",
		"level=INFO msg=\"step done\"\n":      "", // what was logged last is no reason
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

// What a rank logs does nothing in the terminal of its server, and is one record for each line.
func TestARanksLogIsText(t *testing.T) {
	var out bytes.Buffer
	w := &tailWriter{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	text := "a\x1b]0;owned\x07b\nlevel=ERROR msg=forged\nerror: \u202e\u009b31m no card\n"
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Errorf("%d records: %q", len(lines), lines)
	}
	for _, l := range append(lines, w.String()) {
		if strings.ContainsFunc(l, neutral.Command) || strings.HasPrefix(l, "level=ERROR") {
			t.Errorf("%q", l)
		}
	}
}
