package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

type diffCmd struct {
	A string `arg:"" help:"Trace or run before."`
	B string `arg:"" help:"Trace or run after; - is stdin."`
	reading.Options
	reading.Choice
	answer.Flags
	flags.Definition
	Steps       string `default:"auto" enum:"auto,profiler,all" help:"Compare by step: auto finds steps by their labels, profiler takes ProfilerStep, all compares the whole traces."`
	Only        string `default:"all" enum:"all,host,device" help:"Compare only host or device."`
	Change      string `default:"" enum:",added,removed,increased,decreased,unchanged,slower,faster" help:"Only these: added, removed, increased, decreased, unchanged, slower, faster." placeholder:"CHANGE"`
	Significant bool   `help:"Only differences that are no chance."`
	ShortNames  bool   `help:"Join names that differ in template arguments and parameters only."`
	Unchanged   bool   `help:"Rows without any difference, too."`
}

// diffSide is one of the two traces.
type diffSide struct {
	trace *trace.Trace
	steps *steps.Report
}

func (c *diffCmd) side(e *cli.Env, path string) (diffSide, reading.Info, error) {
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, []string{path}, func(t *trace.Trace) diffSide {
		return diffSide{t, steps.Find(t, steps.Options{NoPeriod: true})}
	})
	switch {
	case err != nil:
		return diffSide{}, reading.Info{}, err
	case len(list) > 1:
		return diffSide{}, reading.Info{}, cli.Usage("%s has %d traces (%v): choose one with --rank and --stage", path, len(list), reading.Labels(infos))
	}
	return list[0].Value, infos[0], nil
}

func (c *diffCmd) Run(e *cli.Env) error {
	if c.A == open.Stdin && c.B == open.Stdin {
		return cli.Usage("only one of the traces can be standard input")
	}
	a, infoA, errA := c.side(e, c.A)
	if errA != nil {
		return errA
	}
	b, infoB, errB := c.side(e, c.B)
	if errB != nil {
		return errB
	}
	infoB.Index = 1
	infos := []reading.Info{infoA, infoB}
	do := analysis.DiffOptions{ShortNames: c.ShortNames, HostOnly: c.Only == "host", DeviceOnly: c.Only == "device"}
	how, err := c.windows(a, b, &do)
	if err != nil {
		return err
	}
	d := analysis.Diff(a.trace, b.trace, c.Analysis(), do)
	out := answer.Answer{Title: "A " + infoA.File, Note: "B " + infoB.File, JSON: map[string]any{"diff": d, "compared_by": how}}
	out.Lines = append(out.Lines, diffSummary(&d, how))
	out.Tables = []*report.Table{report.DiffTable(&d, report.DiffFilter{All: c.Unchanged, SignificantOnly: c.Significant, Change: c.Change})}
	if len(out.Tables[0].Rows) == 0 {
		out.Lines = append(out.Lines, "No row to show: nothing differs, or no difference fits --change and --significant.")
	}
	return c.Print(e, "diff", infos, out)
}

// windows chooses what is compared: how says it in a word.
func (c *diffCmd) windows(a, b diffSide, do *analysis.DiffOptions) (how string, err error) {
	whole := func(t *trace.Trace) []analysis.Window {
		start, end, _ := t.Extent()
		return []analysis.Window{{StartNs: start, EndNs: end + 1}}
	}
	switch {
	case c.HTA, c.Steps == "profiler":
		if !c.HTA && (a.steps.Method != steps.ByProfilerStep || b.steps.Method != steps.ByProfilerStep) {
			return "", cli.Usage("--steps profiler: not both traces have ProfilerStep labels")
		}
		return "profiler_step", nil
	case c.Steps == "auto" && a.steps.Method == b.steps.Method && len(a.steps.Steps) > 1 && len(b.steps.Steps) > 1:
		if a.steps.Method != steps.ByProfilerStep { // which Diff finds itself
			do.StepsA, do.StepsB = a.steps.Windows(), b.steps.Windows()
		}
		return string(a.steps.Method), nil
	}
	if a.trace.Slices.Len() == 0 || b.trace.Slices.Len() == 0 {
		return "", errors.New("a trace without slices: nothing to compare")
	}
	do.StepsA, do.StepsB = whole(a.trace), whole(b.trace)
	return "whole_trace", nil
}

func diffSummary(d *analysis.TraceDiff, how string) string {
	counts := map[analysis.Change]int{}
	sure := 0
	var device, host float64
	for i := range d.Rows {
		r := &d.Rows[i]
		counts[r.Change]++
		if r.Significant {
			sure++
		}
		if r.Device {
			device += r.DeltaNs
		} else {
			host += r.DeltaNs
		}
	}
	s := fmt.Sprintf("%d names: %d added, %d removed, %d more often, %d less often.", len(d.Rows), counts[analysis.Added], counts[analysis.Removed], counts[analysis.Increased], counts[analysis.Decreased])
	if slices.ContainsFunc(d.Rows, func(r analysis.DiffRow) bool { return r.Device }) {
		sign := "less"
		if device > 0 {
			sign = "more"
		}
		s += fmt.Sprintf(" Device work takes %s %s", report.MeanNs(max(device, -device)).Text, sign)
		if how == "whole_trace" {
			s += " in B."
		} else {
			s += " a step in B."
		}
	}
	switch {
	case d.Test == analysis.NoTest:
		s += " Too few steps or calls to tell differences from chance."
	default:
		s += fmt.Sprintf(" %d differences are no chance (tested over %s, q < %g).", sure, d.Test, analysis.SignificanceLevel)
	}
	if how != "whole_trace" {
		s += fmt.Sprintf(" Compared: %d steps of A, %d of B (%s).", d.StepsA, d.StepsB, how)
	}
	return s
}
