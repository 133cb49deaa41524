package tables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// Rank is one trace, for the tables that are made of it. Its subject is shared with all else
// that is asked of the trace.
type Rank struct {
	table.Rank
	Subject *analysis.Subject
	Alone   bool // no other trace is read beside it: its clock is compared with none
}

// RankOf returns the trace of s under a name for people: its file's name, say.
func RankOf(s *analysis.Subject, name string) Rank {
	return Rank{Rank: table.Rank{Trace: s.Trace, Name: name}, Subject: s}
}

// Maker makes one table of a trace.
type Maker struct {
	Name string
	Make func(Rank) table.Table
}

// Makers returns what makes the tables of one trace: those of package table, kernels, steps.
func Makers() []Maker {
	var out []Maker
	for _, m := range table.Makers() {
		out = append(out, Maker{m.Name, func(r Rank) table.Table { return m.Make(r.Rank) }})
	}
	return append(out, Maker{"kernels", kernelsOf}, Maker{"steps", stepsOf})
}

// Schema returns the tables without rows: their names, columns and docs.
func Schema() (out []table.Table) {
	for _, m := range Makers() {
		out = append(out, m.Make(RankOf(analysis.NewSubject(trace.New()), "")))
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

// Version identifies the tables' and views' definition: tables
// that were written under another version may differ from those written now.
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
