// Package neutral takes from texts what a terminal or a spreadsheet would obey instead of
// showing it. Names come from traces, processes and other hosts; they are shown where some
// characters are commands.
//
// sql/internal/neutral is a copy of this file, as package sql is a module of its own that can
// be installed without this one; a test keeps the two equal.
package neutral

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain returns s without what a terminal would obey: control characters of ASCII and of
// Latin 1, and those that turn the direction of text. Each becomes a space.
func Plain(s string) string {
	if !strings.ContainsFunc(s, Command) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if Command(r) {
			return ' '
		}
		return r
	}, s)
}

// Command reports whether a terminal may obey r.
func Command(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// CSV returns a text as a cell of CSV that no spreadsheet takes for a formula and no
// terminal obeys: one that begins like a formula gets an apostrophe in front, as OWASP's page
// on CSV injection has it. Numbers are left as they are.
func CSV(s string) string {
	if s == "" {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	first, _ := utf8.DecodeRuneInString(s)
	// Asked before Plain, which would hide a tab: spreadsheets look behind it.
	formula := strings.ContainsRune("=+-@\t\r\n＝＋－＠", first)
	if s = Plain(s); formula {
		return "'" + s
	}
	return s
}
