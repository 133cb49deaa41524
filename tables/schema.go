package tables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// Makers returns what makes the tables of one trace: those of package table, kernels, steps.
func Makers() []table.Maker {
	return append(table.Makers(), table.Maker{Name: "kernels", Make: kernelsOf},
		table.Maker{Name: "steps", Make: stepsOf})
}

// Schema returns the tables without rows: their names, columns and docs.
func Schema() (out []table.Table) {
	for _, m := range Makers() {
		out = append(out, m.Make(table.Rank{Trace: trace.New()}))
	}
	for _, m := range answerMakers {
		t, _ := m.make(&Answers{}) // of nothing, which cannot fail
		out = append(out, t)
	}
	return out
}

// Names returns the names of the tables in the order of Schema.
func Names() []string {
	var names []string
	for _, t := range Schema() {
		names = append(names, t.Name)
	}
	return names
}

// Version identifies the tables' and views' definition: what was written under another one
// is not what would be written now.
func Version() string {
	h := sha256.New()
	for _, t := range Schema() {
		fmt.Fprintf(h, "%s\n", t.Name)
		for _, c := range t.Columns {
			fmt.Fprintf(h, " %s %s %s\n", c.Name, c.Type, c.Doc)
		}
	}
	fmt.Fprint(h, Views)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

var (
	word     = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	viewText = regexp.MustCompile(`(?s)CREATE (?:OR REPLACE )?VIEW (\w+)(.*?);`)
)

// Needs returns the tables that a question mentions, by themselves or behind views, in the
// order of Names. A question that mentions none may mean any: all are returned.
func Needs(question string) []string {
	mentioned := map[string]bool{}
	for _, w := range word.FindAllString(strings.ToLower(question), -1) {
		mentioned[w] = true
	}
	views := viewText.FindAllStringSubmatch(Views, -1)
	// A view stands after those that it is made of.
	for _, v := range slices.Backward(views) {
		if mentioned[v[1]] {
			for _, w := range word.FindAllString(strings.ToLower(v[2]), -1) {
				mentioned[w] = true
			}
		}
	}
	var needs []string
	for _, n := range Names() {
		if mentioned[n] {
			needs = append(needs, n)
		}
	}
	if len(needs) == 0 {
		return Names()
	}
	return needs
}
