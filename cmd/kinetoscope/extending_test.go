package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// TestToyAnalysis asks the analysis of toy_analysis_test.go as a user would: nothing but
// that file knows of it.
func TestToyAnalysis(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rank0.json")
	if err := os.WriteFile(file, []byte(`{"schemaVersion": 1, "traceEvents": [
		{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 5},
		{"ph": "X", "cat": "cpu_op", "name": "aten::softmax", "pid": 1, "tid": 1, "ts": 10, "dur": 90}]}`),
		0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out,
			Err: &errs}); code != cli.ExitOK {
			t.Fatalf("%q: exit code %d: %s", args, code, &errs)
		}
		return out.String()
	}
	for want, got := range map[string]string{
		"toy-longest":                                ask("--help"),
		"--at-least":                                 ask("toy-longest", "--help"),
		"aten::softmax":                              ask("toy-longest", file),
		"rank,name,ns\n0,aten::softmax,90000\n":      ask("toy-longest", file, "--csv"),
		"Nothing is that long":                       ask("toy-longest", file, "--at-least", "1ms"),
		"Longest operator":                           ask("report", file),
		"rank 0: aten::softmax is most of the trace": ask("report", file),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	var doc struct {
		Command string
		Ranks   []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(ask("toy-longest", file, "--json")), &doc); err != nil || len(doc.Ranks) != 1 ||
		doc.Ranks[0].Name != "aten::softmax" {
		t.Errorf("JSON: %+v, %v", doc, err)
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"toy-longest", file, "--at-least", "-1s"},
		cli.Streams{Out: &errs, Err: &errs}); code != cli.ExitUsage {
		t.Errorf("a negative length: exit code %d: %s", code, &errs)
	}
}

// TestToyFormat writes and reads the format of toy_format_test.go as a user would.
func TestToyFormat(t *testing.T) {
	dir := t.TempDir()
	file, toy, back := filepath.Join(dir, "rank0.json"), filepath.Join(dir, "rank0.toy"),
		filepath.Join(dir, "back.json")
	if err := os.WriteFile(file, []byte(`{"schemaVersion": 1, "traceEvents": [
		{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 1000, "dur": 5},
		{"ph": "X", "cat": "cpu_op", "name": "a name", "pid": 1, "tid": 1, "ts": 1010, "dur": 90}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out,
			Err: &errs}); code != cli.ExitOK {
			t.Fatalf("%q: exit code %d: %s", args, code, &errs)
		}
		return out.String(), errs.String()
	}
	if _, said := ask("convert", file, "-o", toy); !strings.Contains(said, "not in it: tracks") {
		t.Errorf("convert does not say what is not in the file: %s", said)
	}
	text, err := os.ReadFile(toy)
	if err != nil || string(text) != "toy trace\n1000 5 aten::mm\n1010 90 a_name\n" {
		t.Errorf("written: %q, %v", text, err)
	}
	if out, _ := ask("inspect", toy); !strings.Contains(out, "toy trace") {
		t.Errorf("inspect does not name the format: %s", out)
	}
	if out, _ := ask("ops", toy, "--csv"); !strings.Contains(out, "a_name") {
		t.Errorf("ops of it: %s", out)
	}
	ask("convert", toy, "-o", back)
	if text, err := os.ReadFile(back); err != nil || !bytes.Contains(text, []byte(`"a_name"`)) {
		t.Errorf("written back: %s, %v", text, err)
	}
}

// TestExtendingShowsTheToy holds docs/extending.md to the files that compile.
func TestExtendingShowsTheToy(t *testing.T) {
	doc, err := os.ReadFile("../../docs/extending.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"toy_analysis_test.go", "toy_format_test.go"} {
		toy, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), "```go\n"+string(toy)+"```\n") {
			t.Errorf("docs/extending.md does not show cmd/kinetoscope/%s as it is", file)
		}
	}
}
