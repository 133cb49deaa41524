// Package neutral takes from texts what a terminal or a spreadsheet would obey instead of
// showing it. Names come from traces, processes and other hosts; they are shown where some
// characters are commands.
//
// sql/internal/neutral is a copy of this file, as package sql is a module of its own that can
// be installed without this one; a test keeps the two equal.
package neutral

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain returns s without characters that a terminal obeys: control characters of ASCII and of
// Latin 1, characters that change the direction of text, and those that end a line. Each becomes a
// space; bytes that are not UTF-8 become U+FFFD.
func Plain(s string) string {
	if printable(s) {
		return s
	}
	if !strings.ContainsFunc(s, Command) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.Map(func(r rune) rune {
		if Command(r) {
			return ' '
		}
		return r
	}, s)
}

// printable reports whether s is nothing but printable ASCII, as nearly all names are.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Command reports whether a terminal may obey r.
func Command(r rune) bool {
	return unicode.IsControl(r) || r > unicode.MaxLatin1 && unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// JSON returns JSON with the same meaning in which characters that a terminal obeys are escaped;
// Go's encoder only escapes the control characters of ASCII. It returns b itself if there is
// nothing to escape.
func JSON(b []byte) []byte {
	if !bytes.ContainsFunc(b, escaped) {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if escaped(r) { // none is beyond the basic plane
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}

// escaped reports whether JSON escapes r. Line ends and tabs stand between values; inside of
// texts they are escaped already.
func escaped(r rune) bool { return r > '\r' && Command(r) }

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
