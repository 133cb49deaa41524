package report

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
)

// many is a Brief of so many findings whose texts others have made as long as they like.
func many(n, length int) *Brief {
	b := &Brief{Title: "t", Note: strings.Repeat("n", length), Paths: []string{"trace.json"}}
	for i := range n {
		b.Findings = append(b.Findings, BriefFinding{
			Finding: finding.Finding{Code: finding.HostBound, Text: fmt.Sprint(i) + strings.Repeat("x", length)},
			Where:   strings.Repeat("w", length), Path: "trace.json", ID: "0.1"})
	}
	return b
}

// formsOf are the forms in which a Brief is written.
func formsOf(b *Brief) map[string]func(*strings.Builder) error {
	return map[string]func(*strings.Builder) error{
		"text":     func(s *strings.Builder) error { return b.Text(s) },
		"markdown": func(s *strings.Builder) error { return b.Markdown(s, "q") },
	}
}

// A Brief is never longer than a page, and what it leaves out is counted.
func TestBriefIsBrief(t *testing.T) {
	for _, b := range []*Brief{many(0, 1), many(3, 10), many(100, 10), many(9, 100_000)} {
		for name, write := range formsOf(b) {
			var s strings.Builder
			if err := write(&s); err != nil {
				t.Fatal(err)
			}
			if s.Len() > briefBytes {
				t.Errorf("%s of %d findings: %d bytes", name, len(b.Findings), s.Len())
			}
			shown := strings.Count(s.String(), "--at 0.1")
			if n := len(b.Findings); n > 3 && !strings.Contains(s.String(), "more findings: kinetoscope report trace.json --json") {
				t.Errorf("%s of %d findings shows %d and does not say that there are more", name, n, shown)
			}
		}
	}
}

// Where lines and reasons fill the page by themselves, it is cut at a line, and says so.
func TestBriefIsCutAtALine(t *testing.T) {
	b := many(1, 1000)
	for range 30 {
		b.Lines = append(b.Lines, strings.Repeat("ü", 1000))
		b.NotCovered = append(b.NotCovered, strings.Repeat("*", 1000))
	}
	for name, write := range formsOf(b) {
		var s strings.Builder
		if err := write(&s); err != nil {
			t.Fatal(err)
		}
		if s.Len() > briefBytes || !strings.HasSuffix(s.String(), "\n… the rest does not fit\n") {
			t.Errorf("%s: %d bytes, ends with %q", name, s.Len(), s.String()[max(0, s.Len()-60):])
		}
	}
}

// A shell takes every suggested command word for word, whatever a file is called.
func TestCommandsAreForShells(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	for _, name := range []string{"a.json", "a b.json", "it's.json", "$(touch x)", "`id`", "a;b", "*", "ü.json",
		"\"q\"", `a\b`} {
		line := strings.Replace(Command("view", []string{name}, "--at", "0.1"), "kinetoscope", "printf '%s|'", 1)
		out, err := exec.CommandContext(t.Context(), sh, "-c", line).Output()
		if want := "view|" + name + "|--at|0.1|"; err != nil || string(out) != want {
			t.Errorf("%s: %q, %v, not %q", line, out, err, want)
		}
	}
	if got := Command("report", []string{"--json", "-", "a\x1b[1m"}); got != "kinetoscope report ./--json - 'a [1m'" {
		t.Error(got)
	}
}

// In a report that is kept nothing of a name is markup.
func TestBriefMarkdownIsText(t *testing.T) {
	b := many(1, 1)
	b.Findings[0].Text = "<script>x</script> [a](javascript:b) | `c`\nd\x1b[1m it's"
	var s strings.Builder
	if err := b.Markdown(&s, "# <b>"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.String(), "&lt;script&gt;") || !strings.Contains(s.String(), "it's") {
		t.Errorf("not as it was:\n%s", s.String())
	}
	for _, bad := range []string{"<script", "[a](", "\x1b", "`c`\nd", "# <b>"} {
		if strings.Contains(s.String(), bad) {
			t.Errorf("%q is in\n%s", bad, s.String())
		}
	}
}
