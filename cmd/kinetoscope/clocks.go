package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/units"
)

// clockTable shows the clock that was found for each rank, and how far its ends of collectives
// still are from those of the other ranks.
func (w *rewriting) clockTable() *report.Table {
	t := &report.Table{
		Name: "clocks", Title: "Clocks", What: "rank",
		Note: "moved: added to the rank's times; left: distance of its ends of collectives from the others', aligned",
		Columns: []report.Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true}, {Key: "host", Title: "host", Left: true, Drop: 3},
			{Key: "moved", Title: "moved"}, {Key: "drift_ppm", Title: "drift ppm"}, {Key: "error", Title: "±"},
			{Key: "handoffs", Title: "hand-offs", Drop: 2},
			{Key: "collectives", Title: "collectives"}, {Key: "left_p50", Title: "left, half"},
			{Key: "left_p95", Title: "95 in 100", Drop: 1}, {Key: "left_max", Title: "most", Drop: 2},
			{Key: "impossible", Title: "impossible"},
		},
	}
	hosts := w.severalHosts()
	for i := range w.parts {
		p := &w.parts[i]
		c := &p.clock
		some := c.Collectives > 0
		left := func(ns int64) report.Cell { return report.If(some, report.Ns(ns)) }
		t.Add(report.Str(w.name(p)), report.Str(p.info.Host), report.If(p.placed, report.Ns(c.OffsetNs)),
			report.If(p.placed && c.Drift != 0, report.Num(c.Drift*1e6)),
			report.If(p.placed && hosts, report.Ns(errorOf(c))), report.If(c.Sent > 0, report.Int(c.Sent)),
			report.Int(c.Collectives),
			left(c.P50Ns), left(c.P95Ns), left(c.Max), report.If(some, report.Int(c.Impossible)))
	}
	return t
}

// errorOf is how well a clock is known against those that something ties it to; against
// nothing else than the wall clock, if nothing does.
func errorOf(c *align.Clock) int64 { return cmp.Or(c.RelativeNs, c.HandOffNs, c.ErrorNs) }

// severalHosts reports whether the parts are of more than one host: on one, all read one clock.
func (w *rewriting) severalHosts() bool {
	for i := range w.parts {
		p := &w.parts[i]
		if p.info.Host == "" || p.info.Host != w.parts[0].info.Host || p.clock.Matched > 0 || p.clock.HandOffs > 0 {
			return true
		}
	}
	return false
}

// Limits of what is plausible for traces that are put on one clock.
const (
	// farNs is how wrong the wall clock of a host may be: without NTP it drifts by seconds a day.
	farNs = int64(5e9)
	// apartNs is the gap between windows beyond which two traces do not belong to one capture.
	apartNs = int64(1e9)
)

// doubtOfClock is a reason to think that traces do not belong on one clock.
type doubtOfClock struct {
	text     string
	stranger bool // no clock makes sense of them together
}

// doubtsOfClocks are what speaks against the clocks that were found.
func (w *rewriting) doubtsOfClocks() (out []doubtOfClock) {
	for i := range w.parts {
		p := &w.parts[i]
		if !p.placed || p.empty {
			continue
		}
		if d := w.doubtOfClock(i); d.text != "" {
			out = append(out, d)
		}
	}
	return append(out, w.strangers()...)
}

// doubtOfClock is what collectives and hand-offs say against the clock of part i, if anything.
func (w *rewriting) doubtOfClock(i int) doubtOfClock {
	p := &w.parts[i]
	c, name := &p.clock, w.name(p)
	switch {
	case c.Apart() && c.Early > 0:
		return doubtOfClock{fmt.Sprintf("%s is of another capture: %d of %d hand-offs to or from it arrived before they "+
			"were sent. Its times against the others' mean nothing", name, c.Early, c.Sent), true}
	case c.Apart():
		return doubtOfClock{fmt.Sprintf("%s is of another capture, or its collectives are numbered differently: it left "+
			"%d of %d of them before another rank had entered. Its times against the others' mean nothing", name,
			c.Impossible, c.Collectives), true}
	case c.OffsetNs > farNs || c.OffsetNs < -farNs:
		return doubtOfClock{fmt.Sprintf("%s is moved by %v to make its collectives or hand-offs fit, which no wall clock "+
			"is wrong by: two captures whose collectives are numbered alike", name,
			time.Duration(c.OffsetNs).Round(time.Millisecond)), true}
	case c.Contradicts:
		return doubtOfClock{text: "the clock of " + name + " cannot be brought to agree with its collectives and hand-offs"}
	case c.Doubtful():
		return doubtOfClock{text: fmt.Sprintf("%s left %d of %d collectives before another rank had entered, and %d of %d "+
			"hand-offs to or from it arrived before they were sent: its clock is off by some of that, whatever its host's name says",
			name, c.Impossible, c.Collectives, c.Early, c.Sent)}
	case c.TransitNs > apartNs:
		return doubtOfClock{text: fmt.Sprintf("the fastest hand-off to %s takes %s: its clock may be ahead of the sender's by "+
			"that, and nothing tells", name, units.Duration(float64(c.TransitNs)))}
	case c.Collectives == 0 && w.alone(i):
		return doubtOfClock{text: fmt.Sprintf("%s has %d collectives of groups and none in common with another rank of its "+
			"stage: traces of different captures or windows", name, len(p.rank.Collectives))}
	}
	return doubtOfClock{}
}

// refuse says which traces do not belong with the others, unless the user insists: a picture in
// which they lie beside each other would be believed.
func (w *rewriting) refuse(oneClock bool) error {
	if !oneClock || w.c.Force {
		return nil
	}
	var why []string
	for _, d := range w.doubtsOfClocks() {
		if d.stranger {
			why = append(why, d.text)
		}
	}
	if len(why) == 0 {
		return nil
	}
	more := ""
	if n := len(why) - 3; n > 0 {
		why, more = why[:3], fmt.Sprintf("; %d more", n)
	}
	return cli.Usage("these traces do not belong on one timeline: %s%s. Give traces of one capture, write tables of all "+
		"of them (-o DIR/), or insist with --force", strings.Join(why, "; "), more)
}

// alone reports whether part i has collectives, and so has another rank of its scope.
func (w *rewriting) alone(i int) bool {
	p := &w.parts[i]
	for k := range w.parts {
		q := &w.parts[k]
		if k != i && q.rank.Scope == p.rank.Scope && len(p.rank.Collectives) > 0 && len(q.rank.Collectives) > 0 {
			return true
		}
	}
	return false
}

// span is from one time to another, ns.
type span struct{ from, to int64 }

// capture is parts whose windows follow each other without a gap that tells captures apart.
type capture struct {
	parts []*convertPart
	span
}

// captures divides the parts by time.
func (w *rewriting) captures() (out []capture) {
	var list []*convertPart
	for i := range w.parts {
		if p := &w.parts[i]; p.placed && !p.empty {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b *convertPart) int {
		return cmp.Compare(a.clock.Map(a.window.from), b.clock.Map(b.window.from))
	})
	for _, p := range list {
		at := span{p.clock.Map(p.window.from), p.clock.Map(p.window.to)}
		if n := len(out); n > 0 && at.from <= out[n-1].to+apartNs {
			out[n-1].parts = append(out[n-1].parts, p)
			out[n-1].to = max(out[n-1].to, at.to)
			continue
		}
		out = append(out, capture{[]*convertPart{p}, at})
	}
	return out
}

// strangers says of each of several captures how far it is from the others.
func (w *rewriting) strangers() (out []doubtOfClock) {
	list := w.captures()
	if len(list) < 2 {
		return nil
	}
	for i, c := range list {
		gap := int64(math.MaxInt64)
		if i > 0 {
			gap = c.from - list[i-1].to
		}
		if i < len(list)-1 {
			gap = min(gap, list[i+1].from-c.to)
		}
		who := "the window of " + w.name(c.parts[0]) + " lies"
		if n := len(c.parts) - 1; n > 0 {
			who = fmt.Sprintf("the windows of %s and %s lie", w.name(c.parts[0]), units.Plural(n, "other trace"))
		}
		out = append(out, doubtOfClock{fmt.Sprintf("%s %s apart from all others: they show nothing at the same time",
			who, units.Duration(float64(gap))), true})
	}
	return out
}
