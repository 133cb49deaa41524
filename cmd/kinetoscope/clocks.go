package main

import (
	"fmt"
	"time"

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
			{Key: "collectives", Title: "collectives"}, {Key: "left_p50", Title: "left, half"},
			{Key: "left_p95", Title: "95 in 100", Drop: 1}, {Key: "left_max", Title: "most", Drop: 2},
			{Key: "impossible", Title: "impossible"},
		},
	}
	for i := range w.parts {
		p := &w.parts[i]
		c := &p.clock
		some := c.Collectives > 0
		left := func(ns int64) report.Cell { return report.If(some, report.Ns(ns)) }
		t.Add(report.Str(w.name(p)), report.Str(p.info.Host), report.If(p.placed, report.Ns(c.OffsetNs)),
			report.If(p.placed && c.Drift != 0, report.Num(c.Drift*1e6)),
			report.If(some && c.RelativeNs > 0, report.Ns(c.RelativeNs)), report.Int(c.Collectives),
			left(c.P50Ns), left(c.P95Ns), left(c.Max), report.If(some, report.Int(c.Impossible)))
	}
	return t
}

// Limits of what is plausible for traces that are put on one clock.
const (
	// farNs is how wrong the wall clock of a host may be: without NTP it drifts by seconds a day.
	farNs = int64(5e9)
	// apartNs is the gap between windows beyond which two traces do not belong to one capture.
	apartNs = int64(1e9)
)

// doubtsOfClocks are the reasons to think that traces do not belong on one clock.
func (w *rewriting) doubtsOfClocks() (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i := range w.parts {
		p := &w.parts[i]
		c := &p.clock
		name := w.name(p)
		switch {
		case !p.placed || p.empty:
			continue
		case c.Apart():
			say("%s is of another capture, or its collectives are numbered differently: it left %d of %d of them before "+
				"another rank had entered. Its times against the others' mean nothing", name, c.Impossible,
				c.Collectives)
		case c.OffsetNs > farNs || c.OffsetNs < -farNs:
			say("%s is moved by %v to make its collectives fit, which no wall clock is wrong by: two captures whose "+
				"collectives are numbered alike", name, time.Duration(c.OffsetNs).Round(time.Millisecond))
		case c.Contradicts:
			say("the clock of %s cannot be brought to agree with its collectives", name)
		case c.Collectives == 0 && w.othersCollect(i):
			say("%s has %d collectives of groups and none in common with another rank of its stage: traces of different "+
				"captures or windows", name, len(p.rank.Collectives))
		}
		if gap := w.gap(i); gap > apartNs {
			say("the window of %s lies %s apart from all others: they show nothing at the same time", name,
				units.Duration(float64(gap)))
		}
	}
	return out
}

// othersCollect reports whether part i has collectives and so has another rank of its scope.
func (w *rewriting) othersCollect(i int) bool {
	p := &w.parts[i]
	for k := range w.parts {
		q := &w.parts[k]
		if k != i && q.rank.Scope == p.rank.Scope && len(p.rank.Collectives) > 0 && len(q.rank.Collectives) > 0 {
			return true
		}
	}
	return false
}

// gap is the least time between the window of part i and another's, ns; 0 if they overlap.
func (w *rewriting) gap(i int) int64 {
	p := &w.parts[i]
	least := int64(-1)
	for k := range w.parts {
		q := &w.parts[k]
		if k == i || !q.placed || q.empty {
			continue
		}
		apart := max(0, q.clock.Map(q.first)-p.clock.Map(p.last), p.clock.Map(p.first)-q.clock.Map(q.last))
		if least < 0 || apart < least {
			least = apart
		}
	}
	return max(0, least)
}
