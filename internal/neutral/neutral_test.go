package neutral

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the copy of neutral.go in the sql module")

// hostile are names that do something where they are shown.
var hostile = []string{
	"\x1b[2J", "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "a\x9b31mb", "a\rb", "a\nb", "a\bb", "a\x7fb",
	"\x1b[8mhidden",
	"\u2028x", "\u2029", "\u009b31m", "\u202eexe.fdp", "\u2066x", "\x1bP1$r\x1b\\",
}

func TestPlain(t *testing.T) {
	for _, s := range hostile {
		if got := Plain(s); strings.ContainsFunc(got, Command) {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	for _, s := range []string{"", "aten::mm", "void gemm<float>(int)", "größe — 数", "a b"} {
		if Plain(s) != s {
			t.Errorf("%q becomes %q", s, Plain(s))
		}
	}
}

// What is JSON stays JSON that says the same, whatever texts are in it, and holds nothing
// that a terminal obeys.
func TestJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.OneOf(rapid.SampledFrom(hostile), rapid.String())).Draw(t, "texts")
		in, err := json.MarshalIndent(map[string]any{"list": text, strings.Join(text, ""): 1.5}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		out := JSON(in)
		if i := bytes.IndexFunc(out, escaped); i >= 0 {
			t.Fatalf("%q is in %q", out[i:], out)
		}
		var got, want any
		if err := errors.Join(json.Unmarshal(out, &got), json.Unmarshal(in, &want)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestCSV(t *testing.T) {
	for in, want := range map[string]string{
		"=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0", "+1+1": "'+1+1", "-1+1": "'-1+1", "@SUM(A1)": "'@SUM(A1)",
		"\t=1+1": "' =1+1", "\r=1": "' =1", "＝1+1": "'＝1+1", "\x1b[2J": " [2J",
		"-5": "-5", "+0.25": "+0.25", "-1e9": "-1e9", "aten::mm": "aten::mm", "": "", "a=b": "a=b",
	} {
		if got := CSV(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestCopy: the sql module has this package as it is.
func TestCopy(t *testing.T) {
	const path = "../../sql/internal/neutral/neutral.go"
	own, err := os.ReadFile("neutral.go")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, own, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(own, copied) {
		t.Errorf("%s is not a copy of neutral.go: run go test ./internal/neutral -update", path)
	}
}
