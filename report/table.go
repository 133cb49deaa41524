package report

import (
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// column is one column of a table.
type column struct {
	title string
	left  bool // align left; numbers align right
	flex  bool // may be cut to make the table fit
	drop  int  // where a table is too wide: columns with the highest drop go first; 0: never
}

// table is rows of cells that line up.
type table struct {
	cols []column
	rows [][]string
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = neutral.Plain(c)
	}
	t.rows = append(t.rows, cells)
}

// Widths to which flexible columns are cut, one after the other while a table is too
// wide: names of operators; names of stages; the least that still tells them apart.
const (
	maxName = 32
	minName = 14
	minFlex = 6
)

const tableIndent = 2

// lines lays the table out in width columns; ell marks texts that were cut.
func (t *table) lines(width int, ell string) (head string, rows []string) {
	w := make([]int, len(t.cols))
	for c := range t.cols {
		w[c] = utf8.RuneCountInString(t.cols[c].title)
		for _, r := range t.rows {
			w[c] = max(w[c], utf8.RuneCountInString(r[c]))
		}
	}
	shown := make([]bool, len(t.cols))
	for c := range shown {
		shown[c] = true
	}
	sep := 2
	total := func() int {
		n := tableIndent - sep
		for c := range w {
			if shown[c] {
				n += w[c] + sep
			}
		}
		return n
	}
	cutTo := func(least int) {
		for c := range w {
			if over := total() - width; t.cols[c].flex && over > 0 && w[c] > least {
				w[c] = max(least, w[c]-over)
			}
		}
	}
	// First what costs no information, then what costs little.
	cutTo(maxName)
	if total() > width {
		sep = 1
	}
	cutTo(minName)
	for total() > width {
		worst := -1
		for c := range w {
			if shown[c] && t.cols[c].drop > 0 && (worst < 0 || t.cols[c].drop > t.cols[worst].drop) {
				worst = c
			}
		}
		if worst < 0 {
			break
		}
		shown[worst] = false
	}
	cutTo(minFlex)
	line := func(cell func(c int) string) string {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", tableIndent))
		first := true
		for c := range w {
			if !shown[c] {
				continue
			}
			if !first {
				b.WriteString(strings.Repeat(" ", sep))
			}
			first = false
			b.WriteString(pad(cut(cell(c), w[c], ell), w[c], t.cols[c].left))
		}
		return strings.TrimRight(b.String(), " ")
	}
	head = line(func(c int) string { return t.cols[c].title })
	for _, r := range t.rows {
		rows = append(rows, line(func(c int) string { return r[c] }))
	}
	return head, rows
}

// pad fills s up to n columns.
func pad(s string, n int, left bool) string {
	k := n - utf8.RuneCountInString(s)
	if k <= 0 {
		return s
	}
	if left {
		return s + strings.Repeat(" ", k)
	}
	return strings.Repeat(" ", k) + s
}

// cut shortens s to n columns, the end replaced by ell.
func cut(s string, n int, ell string) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:max(0, n-utf8.RuneCountInString(ell))]) + ell
}

// unitWords stay on the line of their number.
var unitWords = map[string]bool{"s": true, "ms": true, "µs": true, "us": true, "ns": true, "%": true, "GFLOP/s": true}

// wrap breaks s at spaces into lines of at most width columns.
func wrap(s string, width int) []string {
	var words []string
	for _, word := range strings.Fields(s) {
		if n := len(words); n > 0 && unitWords[strings.TrimRight(word, ".,;:)")] {
			words[n-1] += " " + word
			continue
		}
		words = append(words, word)
	}
	return join(words, " ", width)
}

// join puts words into lines of at most width columns.
func join(words []string, sep string, width int) []string {
	var out []string
	line := ""
	for _, word := range words {
		if line != "" && utf8.RuneCountInString(line)+len(sep)+utf8.RuneCountInString(word) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += sep
		}
		line += word
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}
