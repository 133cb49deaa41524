// Package cut takes a part out of a trace: by time, step, category, name or request, before it is
// written somewhere else. A slice belongs to a window if it touches it; it stays whole.
package cut

import (
	"regexp"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Filter says what is kept. A zero field restricts nothing; all fields that are set must match.
type Filter struct {
	// From and To are the window, in the trace's ns; To 0 is no end.
	From, To   int64
	Spans      *Spans          // what touches these stretches: steps, say
	Categories map[string]bool // texts of categories, "kernel"
	Name       *regexp.Regexp
	Request    string // id of a request that the slice's arguments name
}

// Empty reports whether f keeps everything.
func (f *Filter) Empty() bool {
	return f.From == 0 && f.To == 0 && f.Spans == nil && len(f.Categories) == 0 && f.Name == nil && f.Request == ""
}

// Apply returns the part of t that f keeps, t itself if that is everything. Instants and
// counters are chosen by time and stretches alone, arrows likewise and only where both of their ends are
// kept. The part has t's tracks and no repairs; its window is the filter's.
func Apply(t *trace.Trace, f Filter) *trace.Trace {
	if f.Empty() {
		return t
	}
	out := trace.New()
	out.Meta = t.Meta
	for _, k := range t.Tracks {
		out.AddTrack(k)
	}
	c := cutter{t: t, f: f, out: out, names: map[trace.StringID]bool{}}
	if f.Spans != nil {
		for i := range t.Tracks {
			c.lanes = append(c.lanes, f.Spans.lane(&t.Tracks[i]))
		}
	}
	c.slices()
	c.flows()
	in := &t.Instants
	for i, ns := range in.Time {
		if c.covers(in.Track[i], ns, ns) {
			out.AddInstant(ns, t.String(in.Name[i]), out.Category(t.CategoryText(in.Cat[i])), in.Track[i],
				t.Args(in.Args[i]))
		}
	}
	n := &t.Counters
	for i, ns := range n.Time {
		if c.covers(n.Track[i], ns, ns) {
			out.AddCounter(ns, t.String(n.Name[i]), t.String(n.Series[i]), n.Track[i], n.Value[i])
		}
	}
	out.Meta.WindowStart = max(out.Meta.WindowStart, f.From)
	if f.To > 0 && f.To < out.Meta.WindowEnd {
		out.Meta.WindowEnd = f.To
	}
	if f.Spans != nil {
		if from, to, ok := f.Spans.extent(); ok {
			out.Meta.WindowStart, out.Meta.WindowEnd = max(out.Meta.WindowStart, from), min(out.Meta.WindowEnd, to)
		}
	}
	return out
}

// covers reports whether a slice from start to end touches the window.
func (f *Filter) covers(start, end int64) bool { return end >= f.From && (f.To == 0 || start <= f.To) }

type cutter struct {
	t, out *trace.Trace
	f      Filter
	names  map[trace.StringID]bool // whether a name matches
	lanes  []lane                  // of f.Spans, by track
}

// covers reports whether what lies on a track from start to end is in the window and the stretches.
func (c *cutter) covers(track trace.TrackID, start, end int64) bool {
	return c.f.covers(start, end) && (c.f.Spans == nil || c.lanes[track].covers(start, end))
}

func (c *cutter) slices() {
	s := &c.t.Slices
	for i := range s.Len() {
		if c.keeps(i) {
			c.out.AddSlice(trace.Slice{
				Start: s.Start[i], Dur: s.Dur[i], Name: c.t.String(s.Name[i]),
				Cat:   c.out.Category(c.t.CategoryText(s.Cat[i])),
				Track: s.Track[i], Corr: s.Corr[i], Args: c.t.Args(s.Args[i]),
			})
		}
	}
}

func (c *cutter) keeps(i int) bool {
	s := &c.t.Slices
	if !c.covers(s.Track[i], s.Start[i], s.End(i)) ||
		len(c.f.Categories) > 0 && !c.f.Categories[c.t.CategoryText(s.Cat[i])] {
		return false
	}
	if c.f.Name != nil {
		is, ok := c.names[s.Name[i]]
		if !ok {
			is = c.f.Name.MatchString(c.t.String(s.Name[i]))
			c.names[s.Name[i]] = is
		}
		if !is {
			return false
		}
	}
	return c.f.Request == "" || c.serves(i)
}

// serves reports whether slice i is work for the request.
func (c *cutter) serves(i int) bool {
	if id, ok := c.t.ArgText(i, trace.ArgRequest); ok && id == c.f.Request {
		return true
	}
	list, ok := c.t.ArgText(i, trace.ArgRequests)
	if !ok {
		return false
	}
	for id := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(id) == c.f.Request {
			return true
		}
	}
	return false
}

// flows keeps the arrows of which both ends lie in the window. It keeps none where slices were
// chosen by more than time, because an arrow whose slice was left out would point at nothing.
func (c *cutter) flows() {
	if len(c.f.Categories) > 0 || c.f.Name != nil || c.f.Request != "" {
		return
	}
	f := &c.t.Flows
	type key struct {
		id  uint64
		cat trace.StringID
	}
	ends := map[key]int{}
	for i, ns := range f.Time {
		if c.covers(f.Track[i], ns, ns) {
			ends[key{f.ID[i], f.Cat[i]}]++
		}
	}
	for i, ns := range f.Time {
		if c.covers(f.Track[i], ns, ns) && ends[key{f.ID[i], f.Cat[i]}] > 1 {
			c.out.AddFlow(ns, f.ID[i], c.t.String(f.Cat[i]), c.t.String(f.Name[i]), f.Track[i], f.Start[i])
		}
	}
}
