package kineto

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// dump is a trace as text: everything a reader fills in.
func dump(t *trace.Trace) string {
	var b strings.Builder
	m := t.Meta
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("format %s wall %v base %d rank %d/%d backend %q host %q", m.Format, m.WallClock, m.BaseTimeNs, m.Rank,
		m.WorldSize, m.Backend, m.Host)
	p("window %d %d", m.WindowStart, m.WindowEnd)
	for _, d := range m.Devices {
		p("device %+v", d)
	}
	for _, g := range m.ProcessGroups {
		p("group %+v", g)
	}
	for _, k := range slices.Sorted(maps.Keys(m.Extra)) {
		p("extra %s = %s", k, m.Extra[k])
	}
	for i, k := range t.Tracks {
		p("track %d kind %d pid %d %q tid %d %q device %d stream %d process %q %q name %q sort %d",
			i, k.Kind, k.PID, k.PIDText, k.TID, k.TIDText, k.Device, k.Stream, k.Process, k.Labels, k.Name, k.SortIndex)
	}
	s := &t.Slices
	for i := range s.Start {
		p("slice %d+%d %q %s track %d corr %d event %d args %x %s", s.Start[i], s.Dur[i], t.String(s.Name[i]),
			t.CategoryText(s.Cat[i]), s.Track[i], s.Corr[i], s.Event[i], uint64(s.Args[i]), t.Args(s.Args[i]))
	}
	for i, at := range t.Instants.Time {
		c := &t.Instants
		p("instant %d %q %s track %d args %s", at, t.String(c.Name[i]), t.CategoryText(c.Cat[i]), c.Track[i],
			t.Args(c.Args[i]))
	}
	for i, at := range t.Counters.Time {
		c := &t.Counters
		p("counter %d %q %q track %d value %v", at, t.String(c.Name[i]), t.String(c.Series[i]), c.Track[i], c.Value[i])
	}
	for i, at := range t.Flows.Time {
		c := &t.Flows
		p("flow %d id %d %q %q track %d start %v", at, c.ID[i], t.String(c.Cat[i]), t.String(c.Name[i]), c.Track[i],
			c.Start[i])
	}
	for _, k := range slices.Sorted(maps.Keys(t.Repairs.Count)) {
		p("repair %d %s", t.Repairs.Count[k], k)
	}
	return b.String()
}
