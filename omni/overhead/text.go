package overhead

import (
	"fmt"
	"io"
	"strings"

	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/units"
)

// noiseMark stands behind a ratio that is within noise.
const noiseMark = "~"

// Text writes r for a reader at a terminal. title names what ran.
func Text(w io.Writer, r *Report, title string, o report.TextOptions) error {
	base := r.States[0]
	lines := []string{
		fmt.Sprintf("%d rounds; in each, every state serves %s, %d at a time.", r.Rounds, requests(r.Requests),
			r.Concurrency),
		fmt.Sprintf("Ratios to %s: the median of the rounds, behind it where it lies with %s confidence. %s is within noise: that may be 1.", base, units.Share(Confidence), noiseMark),
	}
	for i := range r.States[1:] {
		lines = append(lines, r.summary(i+1))
	}
	for _, u := range r.Unmeasured {
		lines = append(lines, fmt.Sprintf("Stage %d (%s) does not say how long its steps take (%s).", u.StageID,
			u.Stage, u.Reason))
	}
	if r.Drops > 0 {
		lines = append(lines,
			fmt.Sprintf("%d spans were dropped for want of memory: recording costs more than this says.", r.Drops))
	}
	return report.Page(w, "What profiling costs", title,
		[]report.Section{{Lines: lines, Tables: []*report.Table{r.table()}}}, o)
}

func requests(n int) string {
	if n == 1 {
		return "the same request"
	}
	return fmt.Sprintf("the same %d requests", n)
}

// summary says in a sentence what state i costs.
func (r *Report) summary(i int) string {
	var effects []string
	for _, p := range r.Phases {
		if q := p.States[i].Ratio; q != nil && !q.WithinNoise {
			effects = append(effects, fmt.Sprintf("%s %s %s", p.Stage, p.Phase, percent(q.Median)))
		}
	}
	if q := r.Latency[i].Ratio; q != nil && !q.WithinNoise {
		effects = append(effects, "a request "+percent(q.Median))
	}
	if len(effects) == 0 {
		effects = []string{"within noise everywhere"}
	}
	return r.States[i] + ": " + strings.Join(effects, ", ") + "."
}

// percent writes a ratio as the percentage that it adds.
func percent(ratio float64) string { return fmt.Sprintf("%+.1f%%", (ratio-1)*100) }

// table has a row a phase, and the requests' last.
func (r *Report) table() *report.Table {
	t := &report.Table{Name: "overhead", Title: "Steps and requests", What: "phase", Limit: len(r.Phases) + 2}
	t.Columns = []report.Column{{Title: "stage", Left: true}, {Title: "engine", Left: true, Drop: 2},
		{Title: "phase", Left: true},
		{Title: "steps", Drop: 1}, {Title: r.States[0]}}
	for _, s := range r.States[1:] {
		t.Columns = append(t.Columns, report.Column{Title: s + " ", Left: true})
	}
	for _, p := range r.Phases {
		row := []report.Cell{report.Str(p.Stage), report.Str(string(p.Engine)), report.Str(p.Phase), steps(p.States),
			seconds(p.States[0].Median)}
		for _, s := range p.States[1:] {
			row = append(row, ratio(s.Ratio))
		}
		t.Add(row...)
	}
	for _, end := range []struct {
		name   string
		values []Value
		write  func(float64) report.Cell
	}{
		{"latency", r.Latency, seconds},
		{"requests/s", r.Throughput, report.Num},
	} {
		row := []report.Cell{report.Str("end to end"), report.NoValue, report.Str(end.name), report.NoValue,
			end.write(end.values[0].Median)}
		for _, v := range end.values[1:] {
			row = append(row, ratio(v.Ratio))
		}
		t.Add(row...)
	}
	return t
}

// steps are those of one state, from the fewest to the most if the states differ.
func steps(all []Step) report.Cell {
	least, most := all[0].Steps, all[0].Steps
	for _, s := range all {
		least, most = min(least, s.Steps), max(most, s.Steps)
	}
	if least == most {
		return report.Str(fmt.Sprint(most))
	}
	return report.Str(fmt.Sprintf("%d–%d", least, most))
}

func seconds(v float64) report.Cell {
	return report.If(v > 0, report.MeanNs(v*1e9))
}

// ratio has the same width whatever it is, but for ratios of ten and more.
func ratio(r *Ratio) report.Cell {
	if r == nil {
		return report.NoValue
	}
	mark := " "
	if r.WithinNoise {
		mark = noiseMark
	}
	return report.Str(fmt.Sprintf("%.3f%s %.2f–%.2f", r.Median, mark, r.Low, r.High))
}
