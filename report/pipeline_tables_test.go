package report

import (
	"slices"
	"strconv"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// values reads one column of a table as numbers.
func values(t *testing.T, tab *Table, key string) (out []float64) {
	t.Helper()
	c := slices.IndexFunc(tab.Columns, func(c Column) bool { return c.Key == key })
	if c < 0 {
		t.Fatalf("table %s has no column %s", tab.Name, key)
	}
	for _, row := range tab.Rows() {
		v, err := strconv.ParseFloat(row[c].Raw, 64)
		if err != nil && row[c].Raw != "" {
			t.Fatalf("%s.%s: %v", tab.Name, key, err)
		}
		out = append(out, v)
	}
	return out
}

// TestPipelineTables: the tables say what the report says, and what package pipetest made.
func TestPipelineTables(t *testing.T) {
	r := omni()
	tables := map[string]*Table{}
	for _, tab := range PipelineTables(r) {
		tables[tab.Name] = tab
		for _, row := range tab.Rows() {
			if len(row) != len(tab.Columns) {
				t.Errorf("table %s: a row of %d cells under %d columns", tab.Name, len(row), len(tab.Columns))
			}
		}
	}
	// Each rank's exclusive times fill its window of 20 ms.
	sum := 0.0
	for _, ns := range values(t, tables["time"], "exclusive_ns") {
		sum += ns
	}
	if want := 4 * 20e6; sum != want {
		t.Errorf("exclusive times sum to %v ns, want the windows' %v", sum, want)
	}
	var steps, decodes int
	for i, n := range values(t, tables["steps"], "count") {
		steps += int(n)
		if tables["steps"].Rows()[i][4].Raw == pipeline.CatDecode.String() {
			decodes += int(n)
		}
	}
	// Seven decode steps on both ranks of the thinker, eight on the talker; two prefills on each of
	// the three, and two calls of the vocoder.
	if decodes != 7+7+8 || steps != decodes+3*2+2 {
		t.Errorf("%d steps, %d of them decode steps", steps, decodes)
	}
	// Request a arrives at 100 µs, has its first token at 1400 and its first audio at 7400.
	at := slices.IndexFunc(tables["requests"].Rows(), func(row []Cell) bool { return row[0].Raw == "a" })
	if at < 0 {
		t.Fatalf("no request a: %v", tables["requests"].Rows())
	}
	for key, want := range map[string]float64{"ttft_ns": 1300e3, "first_output_ns": 7300e3} {
		if got := values(t, tables["requests"], key)[at]; got != want {
			t.Errorf("%s of request a is %v, want %v", key, got, want)
		}
	}
	// Calls of an operator of a stage are those of its ranks.
	calls := map[string]float64{}
	for i, n := range values(t, tables["ops"], "calls") {
		row := tables["ops"].Rows()[i]
		calls[row[1].Raw+" "+row[2].Raw] = n
	}
	for what, want := range map[string]float64{"thinker aten::linear": 2 * 9, "code2wav aten::conv1d": 2} {
		if calls[what] != want {
			t.Errorf("%s: %v calls, want %v", what, calls[what], want)
		}
	}
}
