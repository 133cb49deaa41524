package model

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	for _, c := range []struct {
		arch, model string
		ranks       int
		want        func(Facts) bool
	}{
		{"llm", "builtin/thinker", 4, func(f Facts) bool { return f.VocabSize > 0 && f.MaxPositions > 0 }},
		{"llm", "builtin/talker", 1, func(f Facts) bool { return f.VocabSize > 0 && f.MaxPositions > 0 }},
		{"vocoder", "builtin/code2wav", 2, func(f Facts) bool { return f == Facts{} }},
		{"text_encoder", "builtin/text_encoder", 1, func(f Facts) bool { return f.VocabSize > 0 }},
		{"dit", "builtin/dit", 2, func(f Facts) bool { return f.SizeMultiple > 0 && f.MaxSize%f.SizeMultiple == 0 }},
		{"vae", "builtin/vae", 1, func(f Facts) bool { return f == Facts{} }},
	} {
		f, err := Inspect(c.arch, Options{Model: c.model, LoadFormat: LoadDummy}, c.ranks)
		if err != nil || !c.want(f) {
			t.Errorf("Inspect(%s, %s) = %+v, %v", c.arch, c.model, f, err)
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	config, err := modelFS("builtin/thinker")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, config); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, ConfigFile), []byte(`{"hidden_size":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		arch, model, format string
		ranks               int
		want                string
	}{
		{"gpt", "builtin/thinker", LoadDummy, 1, `model_arch "gpt"`},
		{"llm", "builtin/nobody", LoadDummy, 1, "builtin/thinker"},
		{"llm", "/no/where", LoadDummy, 1, "/no/where"},
		{"llm", broken, LoadDummy, 1, "hidden_size"},
		{"llm", "builtin/thinker", LoadDummy, 3, "tensor_parallel_size"},
		{"llm", dir, LoadSafetensors, 1, "safetensors"},
		{"dit", "builtin/thinker", LoadDummy, 1, "config.json"},
	} {
		if _, err := Inspect(c.arch, Options{Model: c.model, LoadFormat: c.format}, c.ranks); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("Inspect(%s, %s, %s, %d): %v, want an error with %q", c.arch, c.model, c.format, c.ranks, err,
				c.want)
		}
	}
}
