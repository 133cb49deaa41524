package report

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// causeWords say for a reader why a stream stood still.
var causeWords = map[analysis.IdleCause]string{
	analysis.HostWait: "waits for host", analysis.KernelWait: "starting kernels",
	analysis.OtherWait: "other streams or devices, syncs",
	analysis.Unknown:   "not known: work of launches is missing",
}

// IdleTable is why each stream stood still, one row a stream.
func IdleTable(list []Ranked[analysis.Idle]) *Table {
	t := &Table{
		Name: "idle", Title: "Why streams stood still", What: "stream",
		Note: "between a stream's first and last work",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "device", Title: "device"},
			{Key: "stream", Title: "stream"},
			{Key: "idle_ns", Title: "idle"},
			{Key: "host_wait_ns", Title: "waits for host"},
			{Key: "host_wait_share", Title: "%", Drop: 1},
			{Key: "host_wait_gaps", Title: "gaps", Drop: 4},
			{Key: "kernel_wait_ns", Title: "starts kernels"},
			{Key: "kernel_wait_share", Title: "%", Drop: 2},
			{Key: "kernel_wait_gaps", Title: "gaps", Drop: 4},
			{Key: "other_ns", Title: "other"},
			{Key: "other_share", Title: "%", Drop: 3},
			{Key: "other_gaps", Title: "gaps", Drop: 4},
			{Key: "unknown_ns", Title: "unknown"},
			{Key: "unknown_share", Title: "%", Drop: 3},
			{Key: "unknown_gaps", Title: "gaps", Drop: 4},
		},
	}
	n, at := flat(list, func(v *analysis.Idle) int { return len(v.Streams) })
	t.Later(n, func(i int) []Cell {
		rank, i := at(i)
		s := &list[rank].Value.Streams[i]
		row := []Cell{label(list, rank), ID(s.Lane.Device), ID(s.Lane.Stream), Ns(s.IdleNs)}
		for k, c := range s.Causes {
			none := analysis.IdleCause(k) == analysis.Unknown && c.Ns == 0
			row = append(row, Hide(none, Ns(c.Ns)), Hide(none, Share(c.Share)), Hide(none, Int(c.Gaps.Count)))
		}
		return row
	})
	return t
}

// Names gives the name of slice i of the trace of list entry rank.
type Names func(rank, slice int) string

// NamesOf reads names out of traces; a nil trace has none.
func NamesOf(traces []*trace.Trace) Names {
	return func(rank, slice int) string {
		if rank < 0 || rank >= len(traces) || traces[rank] == nil || slice < 0 || slice >= traces[rank].Slices.Len() {
			return ""
		}
		t := traces[rank]
		return t.String(t.Slices.Name[slice])
	}
}

// SliceNames keeps the names of slices beyond their trace's life.
type SliceNames map[int]string

// Keep notes the names of slices of t. Numbers that are no slice of t are left out.
func (n SliceNames) Keep(t *trace.Trace, slices ...int) {
	for _, i := range slices {
		if i >= 0 && i < t.Slices.Len() {
			n[i] = t.String(t.Slices.Name[i])
		}
	}
}

// GapTable lists the longest gaps with the work before and after each.
func GapTable(list []Ranked[analysis.Idle], names Names) *Table {
	t := &Table{Name: "gaps", Title: "Longest gaps", What: "gap", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "device", Title: "device", Drop: 2},
		{Key: "stream", Title: "stream"},
		{Key: "start_ns"},
		{Key: "gap_ns", Title: "gap"},
		{Key: "cause", Title: "cause", Left: true},
		{Key: "before", Title: "after this ended", Left: true, Flex: true},
		{Key: "after", Title: "until this began", Left: true, Flex: true},
		{Key: "before_slice"},
		{Key: "after_slice", Title: "slice"},
	}}
	for i := range list {
		for _, g := range list[i].Value.Longest {
			t.Add(
				label(list, i), ID(g.Lane.Device), ID(g.Lane.Stream), ID(g.StartNs), Ns(g.EndNs-g.StartNs),
				Cell{causeWords[g.Cause], g.Cause.String()}, Kernel(names(i, g.Before)), Kernel(names(i, g.After)),
				ID(g.Before), ID(g.After),
			)
		}
	}
	return t
}

// LaunchTable is what launching device work cost, one row a rank.
func LaunchTable(list []Ranked[analysis.LaunchStats]) *Table {
	t := &Table{
		Name: "launches", Title: "Launches", What: "rank",
		Note: "call: on the host; delay: from the call's end to the work's start",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "launched", Title: "launched"},
			{Key: "call_p50_ns", Title: "call p50"},
			{Key: "call_p99_ns", Title: "p99", Drop: 1},
			{Key: "work_p50_ns", Title: "work p50"},
			{Key: "delay_p50_ns", Title: "delay p50"},
			{Key: "delay_p99_ns", Title: "p99"},
			{Key: "short", Title: "shorter than call"},
			{Key: "long_calls", Title: "calls > 50 µs", Drop: 2},
			{Key: "long_delays", Title: "delays > 100 µs", Drop: 3},
			{Key: "graph_launches", Title: "graphs", Drop: 4},
			{Key: "unlinked", Title: "no launch seen", Drop: 5},
			{Key: "ambiguous"},
		},
	}
	for i := range list {
		v := &list[i].Value
		if v.Count+v.Unlinked == 0 {
			continue
		}
		known := v.Count > 0
		t.Add(
			label(list, i), Int(v.Count), If(known, MeanNs(v.CPU.P50)), If(known, MeanNs(v.CPU.P99)),
			If(known, MeanNs(v.GPU.P50)), If(known, MeanNs(v.Delay.P50)), If(known, MeanNs(v.Delay.P99)),
			Cell{fmt.Sprintf("%s (%s)", units.Count(int64(v.Short)), units.Share(part(int64(v.Short), int64(v.Count)))),
				fmt.Sprint(v.Short)},
			Int(v.RuntimeOutliers), Int(v.DelayOutliers), Hide(v.GraphLaunches == 0, Int(v.GraphLaunches)),
			Hide(v.Unlinked == 0, Int(v.Unlinked)), Int(v.Ambiguous),
		)
	}
	return t
}

// CallTable is what each runtime function launched.
func CallTable(list []Ranked[analysis.LaunchStats]) *Table {
	t := &Table{Name: "calls", Title: "Launches by call", What: "call", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "name", Title: "call", Left: true, Flex: true},
		{Key: "calls", Title: "calls"},
		{Key: "slices", Title: "launched"},
		{Key: "cpu_ns", Title: "host time"},
		{Key: "cpu_mean_ns", Title: "a call"},
	}}
	for i := range list {
		for _, c := range list[i].Value.Types {
			t.Add(label(list, i), Str(c.Name), Int(c.Calls), Int(c.Slices), Ns(c.CPUNs),
				MeanNs(part(c.CPUNs, int64(c.Calls))))
		}
	}
	return t
}

// QueueTable is how much launched work waited on each stream.
func QueueTable(list []Ranked[analysis.Queue]) *Table {
	t := &Table{
		Name: "queue", Title: "Queue length", What: "stream",
		Note: "launched and not yet begun; an empty queue leaves the device to the host's pace",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "device", Title: "device"},
			{Key: "stream", Title: "stream"},
			{Key: "mean", Title: "mean"},
			{Key: "p50", Title: "p50"},
			{Key: "p90", Title: "p90"},
			{Key: "p99", Title: "p99"},
			{Key: "max", Title: "max"},
			{Key: "not_empty_share", Title: "not empty"},
			{Key: "blocked_ns", Title: "full"},
			{Key: "blocked_share"},
			{Key: "full_length"},
			{Key: "max_slice"},
		},
	}
	n, at := flat(list, func(v *analysis.Queue) int { return len(v.Streams) })
	t.Later(n, func(i int) []Cell {
		rank, i := at(i)
		s := &list[rank].Value.Streams[i]
		w := &s.ByTime
		return []Cell{
			label(list, rank), ID(s.Lane.Device), ID(s.Lane.Stream), Num(w.Mean), Num(w.P50), Num(w.P90), Num(w.P99),
			Num(w.Max), Share(part(w.ActiveNs, w.SpanNs)), Hide(s.BlockedNs == 0, Ns(s.BlockedNs)),
			Share(s.BlockedShare),
			ID(s.FullLength), ID(s.MaxAt),
		}
	})
	return t
}
