package report

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hostile are names that do something where they are shown.
var hostile = []string{
	"\x1b[2J", "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "a\x9b31mb", "a\rb", "a\nb", "a\bb", "a\x7fb",
	"\x1b[8mhidden",
	"\u202eexe.fdp", "\u2066x", "\x1bP1$r\x1b\\",
}

func TestPlain(t *testing.T) {
	for _, s := range hostile {
		if got := Plain(s); strings.ContainsFunc(got, commands) {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	for _, s := range []string{"", "aten::mm", "void gemm<float>(int)", "größe — 数", "a b"} {
		if Plain(s) != s {
			t.Errorf("%q becomes %q", s, Plain(s))
		}
	}
}

func TestCSVText(t *testing.T) {
	for in, want := range map[string]string{
		"=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0", "+1+1": "'+1+1", "-1+1": "'-1+1", "@SUM(A1)": "'@SUM(A1)",
		"\t=1+1": "' =1+1", "\r=1": "' =1", "＝1+1": "'＝1+1", "\x1b[2J": " [2J",
		"-5": "-5", "+0.25": "+0.25", "-1e9": "-1e9", "aten::mm": "aten::mm", "": "", "a=b": "a=b",
	} {
		if got := CSVText(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// No table carries what a spreadsheet or a terminal obeys, whatever the names are.
func TestTablesAreNeutral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.SampledFrom(hostile), rapid.StringMatching(`[=+\-@\t\r\x1b][ -~]{0,12}`),
			rapid.String()).Draw(t, "name")
		tab := &Table{Name: "x", Columns: []Column{{Key: "name", Title: "name", Left: true, Flex: true}}}
		tab.Add(Str(name))
		var b bytes.Buffer
		if err := tab.CSV(&b); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) > 1 {
			cell := rows[1][0]
			if strings.ContainsFunc(cell, commands) || cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) &&
				CSVText(cell) != cell {
				t.Fatalf("%q is in CSV as %q", name, cell)
			}
		}
		for _, color := range []bool{false, true} {
			b.Reset()
			if err := Page(&b, name, name, []Section{{Lines: []string{name}, Tables: []*Table{tab}}},
				TextOptions{Color: color}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				line = strings.TrimSuffix(line, "\n")
				if color {
					line = ownStyles.ReplaceAllString(line, "")
				}
				if strings.ContainsFunc(line, commands) {
					t.Fatalf("%q is in the text as %q", name, line)
				}
			}
		}
	})
}

func TestTerminal(t *testing.T) {
	var b bytes.Buffer
	w := Terminal(&b)
	if n, err := w.Write([]byte("a\x1b[2J\tb\u009bc\n")); n != 11 || err != nil || b.String() != "a [2J\tb c\n" {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
}
