package analyses

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/units"
)

var _ = RegisterComparison(Analysis{
	Name: "diff", Order: 70, HTA: true,
	Help:    "What changed between two traces: added, removed, slower, with significance; or between two runs, as pipelines.",
	Answers: "added, removed, slower, with significance; of two runs latencies, steps, bottleneck, side by side",
	Tables:  []string{"diff", "latency", "steps", "time"},
	JSON: []Field{
		{"diff", "analysis.TraceDiff, of two runs compare.Report"},
		{"compared_by", "how steps were found, `whole_trace`, or of two runs `pipelines`"},
		{"verdict", "one sentence; of two runs in `diff`"},
		{"steps", "[]compare.TraceSteps, of traces"},
		{"made", "cards and versions of traces `a` and `b`, and how they differ"},
	},
}, Comparison[diffOptions]{Compare: compareTraces})

type diffOptions struct {
	Steps       string `default:"auto" enum:"auto,profiler,all" help:"Compare by step: auto finds steps by their labels, profiler takes ProfilerStep, all compares the whole traces."`
	Only        string `default:"all" enum:"all,host,device" help:"Compare only host or device."`
	Change      string `default:"" enum:",added,removed,increased,decreased,unchanged,slower,faster" help:"Only these: added, removed, increased, decreased, unchanged, slower, faster." placeholder:"CHANGE"`
	Significant bool   `help:"Only differences that are no chance."`
	ShortNames  bool   `help:"Join names that differ in template arguments and parameters only."`
	Unchanged   bool   `help:"Rows without any difference, too."`
}

// oneTrace is the trace of a side that has no others, ready for questions.
func oneTrace(s Input) (*analysis.Subject, error) {
	if len(s.Traces) > 1 {
		labels := make([]string, len(s.Traces))
		for i := range s.Traces {
			labels[i] = s.Traces[i].Label
		}
		return nil, wrong("%s has %d traces (%v): choose one with --rank and --stage", s.Path, len(labels), labels)
	}
	return analysis.NewSubject(s.Traces[0].Value), nil
}

// comparePipelines compares two runs as wholes. What chooses among the names of two traces
// has no meaning there.
func comparePipelines(before, after Input, o *diffOptions, asked Asked) (Answer, error) {
	if asked.HTA || *o != (diffOptions{Steps: o.Steps, Only: "all"}) || o.Steps != "auto" {
		return Answer{},
			wrong("%s and %s are runs and compared as pipelines: --hta, --steps, --only, --change, --significant, "+
				"--short-names and --unchanged need one trace of each, chosen with --rank and --stage", before.Path,
				after.Path)
	}
	r := compare.Pipelines(*before.Pipeline, *after.Pipeline)
	return Answer{
		JSON:   map[string]any{"diff": r, "compared_by": "pipelines"},
		Lines:  report.CompareLines(r),
		Tables: report.CompareTables(r),
	}, nil
}

func compareTraces(before, after Input, o *diffOptions, asked Asked) (Answer, error) {
	if before.Pipeline != nil && after.Pipeline != nil {
		return comparePipelines(before, after, o, asked)
	}
	a, err := oneTrace(before)
	if err != nil {
		return Answer{}, err
	}
	b, err := oneTrace(after)
	if err != nil {
		return Answer{}, err
	}
	r, err := compare.Traces(a, b, compare.TraceOptions{Steps: compare.StepChoice(o.Steps), Options: asked.Options(),
		Diff: analysis.DiffOptions{ShortNames: o.ShortNames, HostOnly: o.Only == "host",
			DeviceOnly: o.Only == "device"}})
	if errors.Is(err, compare.ErrNoProfilerSteps) {
		return Answer{}, wrong("--steps profiler: %w", err)
	}
	if errors.Is(err, compare.ErrNoSlices) {
		empty := after.Path
		if a.Trace.Slices.Len() == 0 {
			empty = before.Path
		}
		return Answer{}, fmt.Errorf("%s: %w", empty, err)
	}
	if err != nil {
		return Answer{}, err
	}
	filter := report.DiffFilter{All: o.Unchanged, SignificantOnly: o.Significant, Change: o.Change}
	out := Answer{
		JSON: map[string]any{"diff": r.Diff, "compared_by": r.ComparedBy, "verdict": r.Verdict, "steps": r.Steps,
			"made": map[string]any{"a": r.A, "b": r.B, "differs": r.Differs}},
		Lines:  append(report.CompareTraceLines(r), diffSummary(&r.Diff, r.ComparedBy)),
		Tables: []*report.Table{report.DiffTable(&r.Diff, filter)},
	}
	if out.Tables[0].Len() == 0 {
		out.Lines = append(out.Lines,
			"No row to show: nothing differs, or no difference fits --change and --significant.")
	}
	return out, nil
}

func diffSummary(d *analysis.TraceDiff, how string) string {
	counts := map[analysis.Change]int{}
	sure := 0
	var device float64
	for i := range d.Rows {
		r := &d.Rows[i]
		counts[r.Change]++
		if r.Significant {
			sure++
		}
		if r.Device {
			device += r.DeltaNs
		}
	}
	s := fmt.Sprintf("%s: %d added, %d removed, %d more often, %d less often.", units.Plural(len(d.Rows), "name"),
		counts[analysis.Added], counts[analysis.Removed], counts[analysis.Increased], counts[analysis.Decreased])
	if slices.ContainsFunc(d.Rows, func(r analysis.DiffRow) bool { return r.Device }) {
		takes, per := report.MeanNs(max(device, -device)).Text, " a step in B."
		switch {
		case device > 0:
			takes += " more"
		case device < 0:
			takes += " less"
		default:
			takes = "as long"
		}
		if how == compare.ByWholeTrace {
			per = " in B."
		}
		s += " Device work takes " + takes + per
	}
	if d.Test == analysis.NoTest {
		s += " Too few steps or calls to tell differences from chance."
	} else {
		s += fmt.Sprintf(" %d differences are no chance (tested over %s, q < %g).", sure, d.Test,
			analysis.SignificanceLevel)
	}
	if how != compare.ByWholeTrace {
		s += fmt.Sprintf(" Compared: %d steps of A, %d of B (%s).", d.StepsA, d.StepsB, how)
	}
	return s
}
