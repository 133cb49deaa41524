package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// stepLook is the category by whose glyph and colour a kind of step is drawn.
var stepLook = map[steps.Kind]pipeline.Category{
	steps.Unknown: pipeline.CatOps, steps.Prefill: pipeline.CatPrefill, steps.Decode: pipeline.CatDecode,
	steps.Mixed: pipeline.CatComm, steps.Denoise: pipeline.CatDenoise, steps.TextEncode: pipeline.CatTextEncode,
	steps.VAEDecode: pipeline.CatVAEDecode, steps.Vocode: pipeline.CatVocode, steps.Generation: pipeline.CatDenoise,
	steps.Training: pipeline.CatOps,
}

// Steps writes a rank's steps for a reader at a terminal.
func Steps(w io.Writer, r *steps.Report, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults()}
	title := "Steps"
	if r.Rank >= 0 {
		title += fmt.Sprintf(" of rank %d", r.Rank)
	}
	p.line(p.bold(title) + "  " + units.Plural(len(r.Steps), "step"))
	if len(r.Steps) > 0 {
		for _, l := range wrap("found by "+neutral.Plain(r.How), p.o.Width-tableIndent) {
			p.line("  " + cut(l, p.o.Width-tableIndent, "…"))
		}
		for _, l := range wrap(r.Verdict.Text, p.o.Width-tableIndent) {
			p.line("  " + l)
		}
		p.stepPicture(r)
		p.stepKinds(r)
		p.longestSteps(r)
		p.stepGraphs(r)
		p.stepDrifts(r)
		p.stepRequests(r)
	}
	if len(r.Findings) > 0 {
		p.section("Findings", "")
		for _, f := range r.Findings {
			where := ""
			if f.Evidence.Slice >= 0 {
				where = fmt.Sprintf("slice %d", f.Evidence.Slice)
				if len(r.Steps) > 0 {
					where += " at " + p.sinceFirst(r, f.Evidence.StartNs)
				}
			}
			p.finding(f, where)
		}
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write steps: %w", err)
	}
	return nil
}

// sinceFirst writes a time relative to the first step, which there must be.
func (p *printer) sinceFirst(r *steps.Report, at int64) string {
	d := float64(at - r.Steps[0].AtNs)
	if d < 0 {
		return "-" + units.Duration(-d)
	}
	return "+" + units.Duration(d)
}

// bars are cells of eight heights.
var bars = []rune(" ▁▂▃▄▅▆▇█")

// stepPicture draws the steps in their order, each as high as it took long. Several
// steps that share a cell show the longest.
func (p *printer) stepPicture(r *steps.Report) {
	cells := min(len(r.Steps), p.o.Width-tableIndent-2)
	var longest int64
	for i := range r.Steps {
		longest = max(longest, r.Steps[i].Ns())
	}
	if longest == 0 || len(r.Steps) < 2 {
		return
	}
	note := "one cell a step"
	if cells < len(r.Steps) {
		note = fmt.Sprintf("%.1f steps a cell, the longest of them", float64(len(r.Steps))/float64(cells))
	}
	p.section("Each step in order", note+"; full height is "+units.Duration(float64(longest)))
	var b strings.Builder
	for c := range cells {
		lo, hi := c*len(r.Steps)/cells, (c+1)*len(r.Steps)/cells
		worst := lo
		for i := lo; i < hi; i++ {
			if r.Steps[i].Ns() > r.Steps[worst].Ns() {
				worst = i
			}
		}
		st := &r.Steps[worst]
		h := 1 + int(st.Ns()*7/longest)
		switch {
		case p.o.ASCII:
			b.WriteByte(".:-=+*%#"[h-1])
		case p.o.Color:
			b.WriteString(fg(ansi(stepLook[st.Kind].Letter())) + string(bars[h]) + ansiReset)
		default:
			b.WriteRune(bars[h])
		}
	}
	p.line("  " + b.String())
}

func (p *printer) stepKinds(r *steps.Report) {
	t := &table{cols: []column{
		{title: "kind", left: true}, {title: "count"}, {title: "mean"}, {title: "p50"}, {title: "p99"},
		{title: "max", drop: 6}, {title: "on the host", drop: 7},
		{title: "device busy"}, {title: "waits for host"}, {title: "kernels", drop: 2}, {title: "launches", drop: 3},
		{title: "by graphs", drop: 4},
		{title: "batch", drop: 5}, {title: "tokens/s", drop: 1},
	}}
	for _, k := range r.Kinds {
		busy, idle, kernels, launches, graphs, batch, tokens := "–", "–", "–", "–", "–", "–", "–"
		if k.Slices > 0 {
			busy, idle, graphs = units.Share(k.BusyShare), units.Share(k.HostIdleShare), units.Share(k.GraphShare)
			kernels, launches = units.Digits(k.Slices), units.Digits(k.Launches)
		}
		if k.Batch > 0 {
			batch = units.Digits(k.Batch)
		}
		if k.Tokens > 0 {
			tokens = units.Scaled(k.TokensPerS, "")
		}
		t.add(
			k.Kind.String(), units.Count(int64(k.Count)), units.Duration(k.MeanNs), units.Duration(k.P50Ns),
			units.Duration(k.P99Ns), units.Duration(float64(k.MaxNs)), units.Duration(k.HostMeanNs), busy, idle,
			kernels,
			launches, graphs, batch, tokens,
		)
	}
	p.section("By kind", "")
	p.table(t)
}

func (p *printer) longestSteps(r *steps.Report) {
	order := make([]int, len(r.Steps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.Steps[b].Ns(), r.Steps[a].Ns()) })
	n := min(p.rows(len(order)), 5)
	if p.o.Rows < 0 {
		n = len(order)
	}
	t := &table{cols: []column{
		{title: "step"}, {title: "kind", left: true}, {title: "at"}, {title: "takes"}, {title: "device busy"},
		{title: "bound by", left: true},
		{title: "kernels", drop: 1}, {title: "batch", drop: 2}, {title: "tokens", drop: 3},
		{title: "label", left: true, flex: true, drop: 4},
	}}
	for _, i := range order[:n] {
		st := &r.Steps[i]
		busy := "–"
		if st.SpanNs > 0 {
			busy = units.Share(float64(st.BusyNs) / float64(st.SpanNs))
		}
		t.add(
			fmt.Sprint(i), st.Kind.String(), p.sinceFirst(r, st.AtNs), units.Duration(float64(st.Ns())), busy,
			st.Bound.String(), units.Count(int64(st.Slices)), units.Count(int64(st.Batch)),
			units.Count(int64(st.Tokens)),
			neutral.Plain(st.Name),
		)
	}
	p.section("Longest steps", "")
	p.table(t)
}

func (p *printer) stepGraphs(r *steps.Report) {
	if len(r.Graphs) == 0 {
		return
	}
	t := &table{cols: []column{
		{title: "graph", left: true, flex: true}, {title: "replays"}, {title: "a replay"}, {title: "launch"},
		{title: "device time"}, {title: "in", left: true},
		{title: "most time in", left: true, flex: true, drop: 1},
	}}
	n := p.rows(len(r.Graphs))
	for _, g := range r.Graphs[:n] {
		t.add(
			neutral.Plain(g.Name), units.Count(int64(g.Replays)), units.Duration(g.MeanNs), units.Duration(g.LaunchNs),
			units.Duration(float64(g.DeviceNs)), g.Kind.String(), neutral.Plain(g.Top),
		)
	}
	p.section("Graphs replayed", units.Share(r.GraphShare)+" of the device's slices")
	p.table(t)
	p.more(len(r.Graphs)-n, "graph")
}

func (p *printer) stepDrifts(r *steps.Report) {
	if len(r.Drifts) == 0 {
		return
	}
	t := &table{cols: []column{
		{title: "at"}, {title: "steps"}, {title: "mean"}, {title: "first step"}, {title: "first quarter"},
		{title: "last quarter"}, {title: "change"}, {title: "a step"},
		{title: "variation", drop: 1},
	}}
	n := p.rows(len(r.Drifts))
	for _, d := range r.Drifts[:n] {
		slope := "+" + units.Duration(d.SlopeNs)
		if d.SlopeNs < 0 {
			slope = "-" + units.Duration(-d.SlopeNs)
		}
		t.add(
			p.sinceFirst(r, d.StartNs), units.Count(int64(d.Steps)), units.Duration(d.MeanNs),
			units.Duration(float64(d.FirstStepNs)), units.Duration(d.HeadNs), units.Duration(d.TailNs),
			fmt.Sprintf("%+.1f%%", 100*d.Change), slope, units.Share(d.VariationCoef),
		)
	}
	p.section("Denoise loops", "")
	p.table(t)
	p.more(len(r.Drifts)-n, "loop")
}

func (p *printer) stepRequests(r *steps.Report) {
	if len(r.Requests) == 0 {
		return
	}
	t := &table{cols: []column{
		{title: "request", left: true, flex: true}, {title: "at"}, {title: "first step"}, {title: "from first to last"},
		{title: "not in a step"}, {title: "steps", left: true, flex: true},
	}}
	n := p.rows(len(r.Requests))
	for _, q := range r.Requests[:n] {
		parts := make([]string, len(q.Kinds))
		for i, k := range q.Kinds {
			parts[i] = fmt.Sprintf("%d %s %s", k.Steps, k.Kind, units.Duration(float64(k.Ns)))
		}
		t.add(
			neutral.Plain(q.ID), p.sinceFirst(r, q.FirstNs), units.Duration(float64(q.FirstStepNs)),
			units.Duration(float64(q.LastNs-q.FirstNs)), units.Duration(float64(q.GapNs)), strings.Join(parts, ", "),
		)
	}
	p.section("Requests", "")
	p.table(t)
	p.more(len(r.Requests)-n, "request")
}
