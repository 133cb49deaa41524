package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// rows is how many of n rows are shown.
func (p *printer) rows(n int) int {
	if p.o.Rows < 0 {
		return n
	}
	return min(n, p.o.Rows)
}

func (p *printer) batches() {
	if len(p.r.Batches) == 0 {
		return
	}
	t := &table{cols: []column{
		{title: "requests", left: true, flex: true}, {title: "images"}, {title: "text encode"}, {title: "steps"},
		{title: "denoise"},
		{title: "step p50"}, {title: "step p99", drop: 2}, {title: "drift", drop: 1}, {title: "VAE"}, {title: "total"},
		{title: "an image", drop: 3},
	}}
	n := p.rows(len(p.r.Batches))
	for _, b := range p.r.Batches[:n] {
		drift, images := "–", "–"
		if b.Drift != 0 {
			drift = fmt.Sprintf("%+.1f%%", 100*b.Drift)
		}
		if b.Images > 0 {
			images = fmt.Sprint(b.Images)
		}
		t.add(
			neutral.Plain(strings.Join(b.Requests, ",")), images, units.Duration(float64(b.TextEncodeNs)),
			units.Count(int64(b.Steps.Count)), units.Duration(float64(b.DenoiseNs)), units.Duration(b.Steps.P50Ns),
			units.Duration(b.Steps.P99Ns), drift, units.Duration(float64(b.VAEDecodeNs)),
			units.Duration(float64(b.TotalNs)),
			units.Duration(b.PerImageNs),
		)
	}
	p.section("Batches", "")
	p.table(t)
	p.more(len(p.r.Batches)-n, "batch")
}

func (p *printer) more(n int, word string) {
	if n > 0 {
		p.line(p.dim("  … and " + units.Plural(n, "more "+word)))
	}
}

// maybe writes a duration that can be missing.
func maybe(ns int64) string {
	if ns < 0 {
		return "–"
	}
	return units.Duration(float64(ns))
}

func (p *printer) requests() {
	r := p.r
	if len(r.Requests) == 0 {
		return
	}
	first := "first output"
	for _, q := range r.Requests {
		if q.OutputKind != "" && q.OutputKind != "text" {
			first = "first " + q.OutputKind
			break
		}
	}
	t := &table{cols: []column{
		{title: "request", left: true, flex: true}, {title: "arrives"}, {title: "queues"}, {title: "TTFT"},
		{title: "tokens", drop: 1},
		{title: "a token", drop: 2}, {title: first}, {title: "total"}, {title: "", left: true},
	}}
	n := p.rows(len(r.Requests))
	for _, q := range r.Requests[:n] {
		var queue int64
		for _, s := range q.Stages {
			queue += max(0, s.QueueNs)
		}
		tokens, each, note := "–", "–", ""
		if q.Tokens > 0 {
			tokens = units.Count(int64(q.Tokens))
		}
		if q.PerTokenNs > 0 {
			each = units.Duration(q.PerTokenNs)
		}
		if q.Partial {
			note = "partial"
		}
		t.add(
			neutral.Plain(q.ID), "+"+units.Duration(float64(q.ArrivalNs-r.StartNs)), units.Duration(float64(queue)),
			maybe(q.TTFTNs),
			tokens, each, maybe(q.FirstOutputNs), units.Duration(float64(q.TotalNs)), note,
		)
	}
	p.section("Requests", "times since arrival; queues of all stages together")
	p.table(t)
	p.more(max(r.RequestCount, len(r.Requests))-n, "request")
	for _, l := range []struct {
		name string
		q    pipeline.Quantiles
	}{{"TTFT", r.Latency.TTFT}, {first, r.Latency.FirstOutput}, {"total", r.Latency.Total}} {
		if l.q.Count > 1 {
			p.line(fmt.Sprintf(
				"  %s  mean %s, p50 %s, p99 %s, max %s", pad(l.name, 12, true), units.Duration(l.q.MeanNs),
				units.Duration(l.q.P50Ns), units.Duration(l.q.P99Ns), units.Duration(float64(l.q.MaxNs)),
			))
		}
	}
}

// chain tells how the first output came about, a bar to each link.
func (p *printer) chain() {
	c := p.r.FirstOutput
	if c == nil || c.TotalNs <= 0 {
		return
	}
	note := "of request " + neutral.Plain(c.Request) + ", the first to have one"
	if !c.Complete {
		note += "; its arrival is not in the window"
	}
	p.section(fmt.Sprintf("The way to the first %s: %s", c.Output, units.Duration(float64(c.TotalNs))), note)
	t := &table{cols: []column{{title: "", left: true, flex: true}, {title: "rank", left: true}, {title: "at"},
		{title: "takes"}, {title: "share"}}}
	for _, l := range c.Links {
		text := neutral.Plain(l.Text)
		if l.Steps > 1 {
			text += fmt.Sprintf(", %d steps", l.Steps)
		}
		t.add(
			text, fmt.Sprint(max(0, l.Rank)), "+"+units.Duration(float64(l.StartNs-c.StartNs)),
			units.Duration(float64(l.DurNs)), units.Share(float64(l.DurNs)/float64(c.TotalNs)),
		)
	}
	const bar = 20 // least cells worth drawing
	for i := range t.rows {
		for k := range t.rows[i] {
			t.rows[i][k] = p.plain(t.rows[i][k])
		}
	}
	head, rows := t.lines(p.o.Width-bar-2, p.plain("…"))
	width := utf8.RuneCountInString(head)
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r))
	}
	cells := min(p.o.Width-width-2, 60)
	p.line(p.dim(head))
	for i, l := range c.Links {
		p.line(pad(rows[i], width, true) + "  " + p.linkBar(c, &l, cells))
	}
}

// linkBar draws a link's place in its chain.
func (p *printer) linkBar(c *pipeline.Chain, l *pipeline.Link, cells int) string {
	if cells <= 0 {
		return ""
	}
	from := int(float64(l.StartNs-c.StartNs) / float64(c.TotalNs) * float64(cells))
	to := int(float64(l.StartNs+l.DurNs-c.StartNs) / float64(c.TotalNs) * float64(cells))
	from = min(max(from, 0), cells-1)
	to = min(max(to, from+1), cells)
	letter := pipeline.CatWait.Letter()
	if l.Kind == "handoff" {
		letter = pipeline.CatHandoff.Letter()
	}
	var cat pipeline.Category
	if cat.UnmarshalText([]byte(l.Kind)) == nil {
		letter = cat.Letter()
	}
	return strings.Repeat(" ", from) + p.drawCells(strings.Repeat(string(letter), p.letters(to-from)))
}
