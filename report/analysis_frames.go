package report

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/cause"
)

// HostTable is what the host did while the devices waited for it.
func HostTable(list []Ranked[cause.Report]) *Table {
	t := &Table{Name: "host", Title: "What the host did meanwhile", What: "place", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "name", Title: "while devices waited for it the host was in", Left: true, Flex: true},
		{Key: "on", Title: "waiting on", Left: true, Drop: 1},
		{Key: "time_ns", Title: "time"},
		{Key: "share", Title: "%"},
		{Key: "waits", Title: "waits", Drop: 2},
		{Key: "slice"},
	}}
	for i := range list {
		v := &list[i].Value
		for _, r := range v.Rows {
			t.Add(label(list, i), Str(r.Name), Str(r.On), Ns(r.Ns), Share(r.Share), Int(r.Count), ID(r.Slice))
		}
		if len(v.Rows) > 0 && v.UnrecordedNs > 0 {
			t.Add(
				label(list, i), Str("nothing recorded"), Str(""), Ns(v.UnrecordedNs),
				Share(part(v.UnrecordedNs, v.WaitNs)),
				NoValue, ID(analysis.NoSlice),
			)
		}
	}
	return t
}

// FrameTable is the time in Python's functions.
func FrameTable(list []Ranked[analysis.FrameTable]) *Table {
	return frameTable("frames", "Python frames", "frame",
		"self: without the frames inside; share of the window of all threads", list)
}

// SpanTable is the time in the spans of a program that is neither a stage nor torch.
func SpanTable(list []Ranked[analysis.FrameTable]) *Table {
	return frameTable("spans", "Spans", "span", "self: without the spans inside; share of the window of all tracks",
		list)
}

func frameTable(name, title, what, note string, list []Ranked[analysis.FrameTable]) *Table {
	t := &Table{Name: name, Title: title, What: what, Note: note, Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "name", Title: what, Left: true, Flex: true},
		{Key: "calls", Title: "calls"},
		{Key: "self_ns", Title: "self"},
		{Key: "share", Title: "%"},
		{Key: "total_ns", Title: "total"},
		{Key: "p50_ns", Title: "p50", Drop: 2},
		{Key: "p99_ns", Title: "p99", Drop: 3},
		{Key: "max_ns", Title: "max", Drop: 1},
		{Key: "worst_slice"},
	}}
	for i := range list {
		for _, r := range list[i].Value.Rows {
			t.Add(
				label(list, i), Str(cause.Short(r.Name)), Int(int(r.Calls)), Ns(r.SelfNs), Share(r.Share),
				Ns(r.TotalNs),
				MeanNs(r.P50Ns), MeanNs(r.P99Ns), Ns(r.MaxNs), ID(r.Worst),
			)
		}
	}
	return t
}

// GoroutineTable is the threads, goroutines or other tracks of a program that is neither a stage nor
// torch.
func GoroutineTable(list []Ranked[analysis.Recorded]) *Table {
	title := "Goroutines"
	if len(list) > 0 && list[0].Value.Foreign {
		title = "Tracks"
	}
	t := &Table{
		Name: "goroutines", Title: title, What: "track", Note: "covered by spans; share of the window",
		Columns: []Column{
			{Key: "rank", Title: "program", Left: true, Flex: true},
			{Key: "process", Title: "process", Left: true, Flex: true},
			{Key: "name", Title: "track", Left: true, Flex: true},
			{Key: "slices", Title: "spans"},
			{Key: "busy_ns", Title: "busy"},
			{Key: "share", Title: "%"},
		},
	}
	for i := range list {
		for _, r := range list[i].Value.Tracks {
			t.Add(label(list, i), Str(r.Process), Str(r.Name), Int(int(r.Slices)), Ns(r.BusyNs), Share(r.Share))
		}
	}
	return t
}
