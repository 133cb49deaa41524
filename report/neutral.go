package report

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names come from traces, processes and other hosts, and are shown where characters are
// commands: in terminals and in spreadsheets. This file is where they stop being any.

// Plain returns s without what a terminal would obey instead of showing it: control
// characters of ASCII and of Latin 1, and those that turn the direction of text. Each
// becomes a space.
func Plain(s string) string {
	if !strings.ContainsFunc(s, commands) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if commands(r) {
			return ' '
		}
		return r
	}, s)
}

// commands reports whether a terminal may obey r.
func commands(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// CSVText returns a text as a cell of CSV that no spreadsheet takes for a formula and no
// terminal obeys: one that begins like a formula has an apostrophe in front, as OWASP's page
// on CSV injection has it. Numbers are left as they are.
func CSVText(s string) string {
	if s == "" {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	// Before Plain: it would hide a tab, behind which spreadsheets look, too.
	formula := strings.ContainsRune("=+-@\t\r\n＝＋－＠", firstRune(s))
	if s = Plain(s); formula {
		return "'" + s
	}
	return s
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// ownStyles are the escape sequences that this package writes: bold, dim, colours, and
// their end.
var ownStyles = regexp.MustCompile("\x1b\\[(?:0|1|2|1;31|33|36|39|[34]8;5;[0-9]{1,3})m")

// styled is Plain but for this package's own styles.
func styled(s string) string {
	if !strings.ContainsFunc(s, commands) {
		return s
	}
	var b strings.Builder
	at := 0
	for _, m := range ownStyles.FindAllStringIndex(s, -1) {
		b.WriteString(Plain(s[at:m[0]]))
		b.WriteString(s[m[0]:m[1]])
		at = m[1]
	}
	b.WriteString(Plain(s[at:]))
	return b.String()
}

// Terminal returns a writer of plain lines to w, for lists that are written without this
// package: what goes through it is Plain but for line ends and tabs. Each write must hold
// whole characters.
func Terminal(w io.Writer) io.Writer { return terminal{w} }

type terminal struct{ w io.Writer }

// Write reports the bytes of p, as a writer must, however many go on.
func (t terminal) Write(p []byte) (int, error) {
	q := bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && commands(r) {
			return ' '
		}
		return r
	}, p)
	if _, err := t.w.Write(q); err != nil {
		return 0, err
	}
	return len(p), nil
}
