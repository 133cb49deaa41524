package analysis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/docpart"
)

// oracleTable is the result of all comparisons.
type oracleTable struct {
	rows, cols []string
	cell       map[[2]string]string
}

func newOracleTable() *oracleTable { return &oracleTable{cell: map[[2]string]string{}} }

func (o *oracleTable) set(row, col, verdict string) {
	if verdict == "" {
		verdict = "–"
	}
	if !slices.Contains(o.rows, row) {
		o.rows = append(o.rows, row)
	}
	if !slices.Contains(o.cols, col) {
		o.cols = append(o.cols, col)
	}
	o.cell[[2]string{row, col}] = verdict
}

// text draws the table, one trace a line, with numbered reasons below.
func (o *oracleTable) text() string {
	var b strings.Builder
	var why []string
	b.WriteString("| trace |")
	for k := range o.rows {
		b.WriteString(" " + strconv.Itoa(k+1) + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(o.rows)) + "\n")
	for _, c := range o.cols {
		b.WriteString("| " + c + " |")
		for _, r := range o.rows {
			v := o.cell[[2]string{r, c}]
			switch {
			case v == "":
				v = "–"
			case v == "agrees":
				v = "✓"
			case v == "HTA fails":
				v = "E"
			case strings.HasPrefix(v, "differs"):
				k := slices.Index(why, v)
				if k < 0 {
					k = len(why)
					why = append(why, v)
				}
				v = string(rune('a' + k))
			}
			b.WriteString(" " + v + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for k, r := range o.rows {
		fmt.Fprintf(&b, "%d %s. ", k+1, r)
	}
	b.WriteString("\n\n✓ agrees, E HTA itself fails, – nothing to compare.")
	for k, w := range why {
		fmt.Fprintf(&b, " (%c) %s.", 'a'+k, w)
	}
	return b.String() + "\n"
}

// golden compares the table with the one in the docs, or writes it there.
func (o *oracleTable) golden(t *testing.T) {
	t.Helper()
	docpart.Part{Page: "../docs/analyses.md", Name: "oracles", Make: "go test ./analysis -run Oracles -update"}.
		Keep(t, o.text(), *update)
}
