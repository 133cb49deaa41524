package report

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// hostile are names that do something where they are shown.
var hostile = []string{
	"\x1b[2J", "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "a\x9b31mb", "a\rb", "a\nb", "a\bb", "a\x7fb",
	"\x1b[8mhidden",
	"\u2028x", "\u009b31m", "\u202eexe.fdp", "\u2066x", "\x1bP1$r\x1b\\",
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
			if strings.ContainsFunc(cell, neutral.Command) || cell != "" &&
				strings.ContainsRune("=+-@", rune(cell[0])) &&
				neutral.CSV(cell) != cell {
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
				if strings.ContainsFunc(line, neutral.Command) {
					t.Fatalf("%q is in the text as %q", name, line)
				}
			}
		}
	})
}

func TestTerminal(t *testing.T) {
	var b bytes.Buffer
	w := Terminal(&b)
	if Under(w) != &b || Under(&b) != &b {
		t.Error("the writer below is not to be had")
	}
	if n, err := w.Write([]byte("a\x1b[2J\tb\u009bc\n")); n != 11 || err != nil || b.String() != "a [2J\tb c\n" {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
}
