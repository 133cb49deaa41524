package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/cut"
	"github.com/kinetoscope/kinetoscope/units"
)

// cutFlags choose a part of the traces.
type cutFlags struct {
	From     time.Duration `help:"Only what ends after this time from the first slice, on the common clock." placeholder:"1.5s"`
	To       time.Duration `help:"Only what begins before this time." placeholder:"2s"`
	Step     []string      `help:"Only these steps of each rank, as the verb steps numbers them: on the host their time, on devices their turn." placeholder:"3,5-9"`
	Category []string      `help:"Only slices of these categories." placeholder:"kernel,gpu_memcpy"`
	Name     string        `help:"Only slices whose name matches this regular expression." placeholder:"REGEX"`
	Request  string        `help:"Only slices of the request with this id." placeholder:"ID"`
}

// stepRange is steps by their numbers, both ends among them.
type stepRange struct{ from, to int }

// steps returns the steps that --step asks for.
func (c *cutFlags) steps() (out []stepRange, err error) {
	for _, text := range c.Step {
		first, last, many := strings.Cut(text, "-")
		if !many {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || to < from {
			return nil, cli.Usage("--step %q: numbers of steps, as 3,5-9; `kinetoscope steps` shows them", text)
		}
		out = append(out, stepRange{from, to})
	}
	return out, nil
}

// filter returns the filter that the flags ask for, but for steps, which differ between traces.
func (c *cutFlags) filter() (cut.Filter, error) {
	f := cut.Filter{Request: c.Request}
	if c.From < 0 || c.To < 0 || c.To > 0 && c.To < c.From {
		return f, cli.Usage("--from %v --to %v: a window begins before it ends, and not before the trace", c.From, c.To)
	}
	if len(c.Category) > 0 {
		f.Categories = map[string]bool{}
		for _, k := range c.Category {
			f.Categories[k] = true
		}
	}
	if c.Name != "" {
		var err error
		if f.Name, err = regexp.Compile(c.Name); err != nil {
			return f, cli.Usage("--name: %w", err)
		}
	}
	_, err := c.steps()
	return f, err
}

// some reports whether only a part of the traces was asked for.
func (c *cutFlags) some() bool {
	return c.From > 0 || c.To > 0 || len(c.Step) > 0 || len(c.Category) > 0 || c.Name != "" || c.Request != ""
}

// chosen is what a part of the traces was chosen from, and how much was.
type chosen struct {
	slices     int
	categories map[string]bool // of all slices
	steps      int             // most of a trace
	took       time.Duration   // the longest trace
}

// cut returns the part of t that the user asked for. Among other ranks its devices' times are on its host's clock,
// which is what the ranks' clocks are compared by; alone it keeps all times as they are.
func (w *rewriting) cut(t *trace.Trace, p *convertPart) *trace.Trace {
	if len(w.parts) > 1 && !w.apart {
		t = convert.OnHostClock(t, p.devices)
	}
	if !w.c.some() {
		return t
	}
	f := w.filter
	zero := p.first
	if clock := w.at(p); clock != nil {
		zero = w.start - (clock(p.first) - p.first)
	}
	if w.c.From > 0 {
		f.From = zero + int64(w.c.From)
	}
	if w.c.To > 0 {
		f.To = zero + int64(w.c.To)
	}
	if len(w.c.Step) > 0 {
		f.Spans = w.spans(t)
	}
	out := cut.Apply(t, f)
	w.chosen.note(t, out.Slices.Len(), time.Duration(p.last-zero))
	return out
}

// spans are the times of the steps of t that the user asked for.
func (w *rewriting) spans(t *trace.Trace) *cut.Spans {
	s := analysis.NewSubject(t)
	found := steps.Find(t, steps.Options{Seen: s.Seen(), Host: s.Host}).Steps
	w.chosen.steps = max(w.chosen.steps, len(found))
	asked, _ := w.c.steps() // which filter has checked
	var host, device []cut.Span
	for i := range found {
		step := &found[i]
		if slices.ContainsFunc(asked, func(r stepRange) bool { return r.from <= i && i <= r.to }) {
			host = append(host, cut.Span{From: step.StartNs, To: step.EndNs})
			device = append(device, cut.Span{From: step.AtNs, To: step.AtNs + step.SpanNs})
		}
	}
	return cut.NewSpans(host, device, convert.HostTime(s.Seen().Clocks))
}

// note counts what was chosen of t.
func (k *chosen) note(t *trace.Trace, slices int, took time.Duration) {
	k.slices += slices
	k.took = max(k.took, took)
	if k.categories == nil {
		k.categories = map[string]bool{}
	}
	var of [256]bool
	for _, c := range t.Slices.Cat {
		of[c] = true
	}
	for c, is := range of {
		if is {
			k.categories[t.CategoryText(trace.Category(c))] = true
		}
	}
}

// nothing is an error if the user asked for a part of the traces that has no slice: a file of nothing would be taken
// for an answer.
func (w *rewriting) nothing() error {
	if !w.c.some() || w.chosen.slices > 0 {
		return nil
	}
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if w.c.From > 0 || w.c.To > 0 {
		say("the traces last %s", units.Duration(float64(w.chosen.took)))
	}
	switch n := w.chosen.steps; {
	case len(w.c.Step) == 0:
	case n == 0:
		say("no steps were found in them")
	default:
		say("their steps have the numbers 0 to %d", n-1)
	}
	if len(w.c.Category) > 0 {
		say("their categories are %s", strings.Join(slices.Sorted(maps.Keys(w.chosen.categories)), ", "))
	}
	if w.c.Name != "" {
		say("`kinetoscope ops` and `kinetoscope kernels` show their names")
	}
	if w.c.Request != "" {
		say("`kinetoscope steps` shows their requests")
	}
	return cli.Usage("no slice is in the part that was asked for: %s", strings.Join(why, "; "))
}
