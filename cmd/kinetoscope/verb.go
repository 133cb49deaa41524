package main

import (
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

// traceVerb is what all verbs that analyse traces share.
type traceVerb struct {
	Paths []string `arg:"" help:"Trace, directory of ranks, or run (path, beginning of its id, latest); - is stdin."`
	openFlags
	rankFlags
	answerFlags
}

// byRankFlag keeps the ranks apart in tables that sum over them.
type byRankFlag struct {
	ByRank bool `help:"One row a rank, in place of sums over ranks."`
}

// part takes one analysis out of the results of several.
func part[T, U any](list []report.Ranked[T], f func(*T) U) []report.Ranked[U] {
	out := make([]report.Ranked[U], len(list))
	for i := range list {
		out[i] = report.Ranked[U]{Label: list[i].Label, Value: f(&list[i].Value)}
	}
	return out
}

// sliceNames keeps the names of a few slices beyond their trace's life.
type sliceNames map[int]string

func (n sliceNames) add(t *trace.Trace, slices ...int) {
	for _, i := range slices {
		if i >= 0 && i < t.Slices.Len() {
			n[i] = t.String(t.Slices.Name[i])
		}
	}
}
