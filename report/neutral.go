package report

import (
	"bytes"
	"io"
	"regexp"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// ownStyles are the escape sequences that this package writes: bold, dim, colours, and
// their end.
var ownStyles = regexp.MustCompile("\x1b\\[(?:0|1|2|1;31|33|36|39|[34]8;5;[0-9]{1,3})m")

// styled is neutral.Plain but for this package's own styles.
func styled(s string) string {
	if !strings.ContainsFunc(s, neutral.Command) {
		return s
	}
	var b strings.Builder
	at := 0
	for _, m := range ownStyles.FindAllStringIndex(s, -1) {
		b.WriteString(neutral.Plain(s[at:m[0]]))
		b.WriteString(s[m[0]:m[1]])
		at = m[1]
	}
	b.WriteString(neutral.Plain(s[at:]))
	return b.String()
}

// Terminal returns a writer of plain lines to w, for lists that are written without this
// package: what goes through it is neutral but for line ends and tabs. Each write must hold
// whole characters.
func Terminal(w io.Writer) io.Writer { return filter{w, plainLines} }

// JSONWriter returns a writer to w of JSON that no terminal obeys; see neutral.JSON. Each
// write must hold whole characters.
func JSONWriter(w io.Writer) io.Writer { return filter{w, neutral.JSON} }

// Under returns the writer below one of Terminal or JSONWriter, and any other itself.
func Under(w io.Writer) io.Writer {
	if f, ok := w.(filter); ok {
		return f.w
	}
	return w
}

// filter writes what f makes of each write.
type filter struct {
	w io.Writer
	f func([]byte) []byte
}

// Write reports the bytes of p, as a writer must, however many go on.
func (t filter) Write(p []byte) (int, error) {
	if _, err := t.w.Write(t.f(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func plainLines(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && neutral.Command(r) {
			return ' '
		}
		return r
	}, p)
}
