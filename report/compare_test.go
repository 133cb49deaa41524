package report

import (
	"bytes"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
)

// TestCompare is the page of `diff RUN_A RUN_B`: the same pipeline on another card, whose talker
// takes three times as long a step, and of whose thinker a rank was lost.
func TestCompare(t *testing.T) {
	a, b := omni(), pipeline.Analyze(pipetest.Omni(), pipeline.Options{Outcomes: []pipeline.Outcome{
		{Stage: "thinker", Rank: 1, State: "lost", Reason: "no presence for 5 s", Trace: -1}}})
	a.Made, b.Made = &made.Made{Cards: []string{"2 × X"}}, &made.Made{Cards: []string{"4 × Y"}}
	for i := range b.Stages[1].Steps {
		s := &b.Stages[1].Steps[i]
		s.P50Ns, s.P99Ns = 3*s.P50Ns, 30*s.P99Ns
		for k := range s.Sample {
			s.Sample[k] = 3*s.Sample[k] + int64(k)
		}
	}
	r := compare.Pipelines(compare.Side{Name: "one", Report: a, Versions: []string{"kinetoscope 1"}},
		compare.Side{Name: "two", Report: b, Versions: []string{"kinetoscope 2"}})
	for name, width := range map[string]int{"compare_120.txt": 120, "compare_80.txt": 80} {
		var out bytes.Buffer
		sections := []Section{{CompareLines(r), CompareTables(r)}}
		if err := Page(&out, "A one", "B two", sections, TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.Bytes())
	}
}
