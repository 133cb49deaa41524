package report_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

// rankedOf takes one analysis out of a report.
func rankedOf[T any](r *report.TraceReport, f func(*analysis.RankReport) T) []report.Ranked[T] {
	out := make([]report.Ranked[T], len(r.Report.Ranks))
	for i := range out {
		out[i] = report.Ranked[T]{Label: r.Labels[i], Value: f(&r.Report.Ranks[i])}
	}
	return out
}

// traceReport makes the page of traces as the verb does; labels are their numbers without it.
func traceReport(t testing.TB, labels []string, traces ...*trace.Trace) *report.TraceReport {
	t.Helper()
	subjects := analysis.NewSubjects(traces)
	all := analysis.AllOf(subjects, analysis.Options{})
	r := &report.TraceReport{Title: fmt.Sprintf("%d traces", len(traces)), Note: "Test Card", Labels: labels,
		Report: &all, Names: report.NamesOf(traces)}
	page := analyses.NewPage(analyses.Asked{})
	found := make([]analyses.Found, len(traces))
	for i, s := range subjects {
		if len(r.Labels) == i {
			r.Labels = append(r.Labels, fmt.Sprint(i))
		}
		var err error
		if found[i], err = page.Rank(s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := page.Build(r, found); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTraces(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *report.TraceReport
		o    report.TextOptions
	}{
		{"traces_one_100.txt", traceReport(t, nil, report.RankTrace(0)), report.TextOptions{}},
		{"traces_two_100.txt", traceReport(t, nil, report.RankTrace(0), report.RankTrace(1)), report.TextOptions{}},
		{"traces_two_ascii_80.txt", traceReport(t, nil, report.RankTrace(0), report.RankTrace(1)),
			report.TextOptions{Width: 80, ASCII: true}},
		{"traces_host_100.txt", traceReport(t, nil, pipetest.Diffusion()[0]), report.TextOptions{}},
		{"traces_empty.txt", traceReport(t, nil, trace.New()), report.TextOptions{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := report.Traces(&b, c.r, c.o); err != nil {
				t.Fatal(err)
			}
			report.Golden(t, c.name, b.Bytes())
			report.CheckShape(t, b.String(), report.Filled(c.o))
		})
	}
}

func TestTracesEveryWidth(t *testing.T) {
	r := traceReport(t, []string{"an_unreasonably_long_rank_name_of_a_file", "\x1b[31mred"}, report.RankTrace(0),
		report.RankTrace(1))
	for w := report.MinWidth; w <= report.MaxWidth; w += 3 {
		for _, ascii := range []bool{false, true} {
			o := report.TextOptions{Width: w, ASCII: ascii, Rows: -1}
			var b bytes.Buffer
			if err := report.Traces(&b, r, o); err != nil {
				t.Fatal(err)
			}
			report.CheckShape(t, b.String(), o)
			if strings.Contains(b.String(), "\x1b") {
				t.Fatal("a control character of a name reached the terminal")
			}
		}
	}
	var b bytes.Buffer
	if err := report.Traces(&b, r, report.TextOptions{Color: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\x1b[38;5;33m") {
		t.Error("no colours")
	}
}

// every table of every verb, on traces of both kinds.
func allTables(t testing.TB, traces ...*trace.Trace) []*report.Table {
	r := traceReport(t, nil, traces...)
	out := r.Tables
	list := make([]report.Ranked[*steps.Report], len(traces))
	seq := make([]report.Ranked[[]analysis.Sequence], len(traces))
	for i, tr := range traces {
		list[i] = report.Ranked[*steps.Report]{Label: r.Labels[i], Value: steps.Find(tr, steps.Options{})}
		seq[i] = report.Ranked[[]analysis.Sequence]{Label: r.Labels[i],
			Value: analysis.Sequences(tr, analysis.Options{}, "", 1)}
		out = append(out, report.CountTable(tr), report.TrackTable(tr), report.GroupTable(tr),
			report.FactTable(report.MetaFacts(tr)))
	}
	idle := rankedOf(r, func(k *analysis.RankReport) analysis.Idle { return k.Idle })
	launch := rankedOf(r, func(k *analysis.RankReport) analysis.LaunchStats { return k.Launches })
	out = append(out, report.StepTable(list), report.SequenceTable(seq), report.GapTable(idle, r.Names),
		report.CallTable(launch),
		report.QueueTable(rankedOf(r, func(k *analysis.RankReport) analysis.Queue { return k.Queue })),
		report.OverlapTable(rankedOf(r, func(k *analysis.RankReport) analysis.Overlap { return k.Overlap })),
		report.RooflineTable(rankedOf(r, func(k *analysis.RankReport) analysis.RooflineReport { return k.Roofline })),
		report.MemorySeriesTable(rankedOf(r, func(k *analysis.RankReport) analysis.MemoryReport { return k.Memory })),
		report.BandwidthSeriesTable(rankedOf(r,
			func(k *analysis.RankReport) analysis.MemoryBandwidth { return k.Bandwidth })),
		report.QueueSeriesTable(rankedOf(r, func(k *analysis.RankReport) analysis.Queue { return k.Queue })),
		report.AnnotationTable(rankedOf(r, func(k *analysis.RankReport) analysis.Annotations { return k.Annotations })),
		report.CollectiveTable(rankedOf(r, func(k *analysis.RankReport) analysis.CommTable { return k.Comms })),
		report.RepairTable([]report.Ranked[map[string]int]{{Label: "a", Value: map[string]int{"x": 1}}}))
	if p, err := analysis.FindCriticalPath(traces[0], analysis.Options{}, analysis.CriticalOptions{}); err == nil {
		out = append(out, report.PathBoundTable(&p), report.PathNameTable(&p), report.PathEdgeTable(&p, traces[0]))
	}
	d := analysis.Diff(traces[0], traces[len(traces)-1], analysis.Options{}, analysis.DiffOptions{})
	return append(out, report.DiffTable(&d, report.DiffFilter{All: true}))
}

func TestCSV(t *testing.T) {
	seen := map[string]int{}
	for _, tab := range append(allTables(t, report.RankTrace(0), report.RankTrace(1)),
		report.PipelineTables(report.Omni())...) {
		var b bytes.Buffer
		if err := tab.CSV(&b); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", tab.Name, err)
		}
		if len(rows) != tab.Len()+1 {
			t.Errorf("%s: %d rows, want %d and a header", tab.Name, len(rows), tab.Len())
		}
		seen[tab.Name] += tab.Len()
		keys := map[string]bool{}
		for _, k := range rows[0] {
			if keys[k] {
				t.Errorf("%s: column %s twice", tab.Name, k)
			}
			keys[k] = true
		}
		for _, row := range rows[1:] {
			for i, k := range rows[0] {
				numeric := strings.HasSuffix(k, "_ns") || strings.HasSuffix(k, "bytes") ||
					strings.HasSuffix(k, "share") || strings.HasSuffix(k, "count")
				if _, err := strconv.ParseFloat(row[i], 64); numeric && row[i] != "" && err != nil {
					t.Errorf("%s: %s is %q, no number", tab.Name, k, row[i])
				}
			}
		}
	}
	for _, name := range []string{"temporal", "kinds", "types", "kernels", "ops", "comms", "stragglers", "idle",
		"launches", "devices", "allocations", "bandwidth", "steps", "sequences",
		"gaps", "calls", "queue", "overlap", "roofline", "annotations", "collectives", "bounds", "names", "edges",
		"diff", "categories", "tracks", "groups", "facts", "time", "requests", "timeline", "bandwidth_timeline",
		"queue_timeline"} {
		if seen[name] == 0 {
			t.Errorf("table %s has no rows in any test", name)
		}
	}
}

// The parts of the table add up to what it says.
func TestTemporalTableAddsUp(t *testing.T) {
	r := traceReport(t, nil, report.RankTrace(0), report.RankTrace(1))
	tab := r.Tables[0]
	col := map[string]int{}
	for i, c := range tab.Columns {
		col[c.Key] = i
	}
	for _, row := range tab.Rows() {
		n := func(key string) int64 {
			v, err := strconv.ParseInt(row[col[key]].Raw, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if sum := n("compute_ns") + n("exposed_communication_ns") + n("exposed_memory_ns") + n("other_ns") + n(
			"idle_ns"); sum != n("span_ns") || sum == 0 {
			t.Errorf("parts add up to %d, span is %d", sum, n("span_ns"))
		}
	}
}
