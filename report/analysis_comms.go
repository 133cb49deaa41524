package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/units"
)

// CommTable is the collectives by operation, group, type and size.
func CommTable(list []Ranked[analysis.CommTable]) *Table {
	t := &Table{Name: "comms", Title: "Communication", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "op", Title: "operation", Left: true},
		{Key: "group", Title: "group", Left: true, Flex: true},
		{Key: "group_size", Title: "ranks"},
		{Key: "dtype", Title: "type", Left: true, Drop: 4},
		{Key: "bytes", Title: "message"},
		{Key: "count", Title: "count"},
		{Key: "sum_ns", Title: "total"},
		{Key: "min_ns", Title: "min", Drop: 3},
		{Key: "p50_ns", Title: "p50", Drop: 1},
		{Key: "max_ns", Title: "max", Drop: 2},
		{Key: "alg_gb_per_s", Title: "alg GB/s", Drop: 5},
		{Key: "bus_gb_per_s", Title: "bus GB/s"},
		{Key: "best_bus_gb_per_s", Title: "best"},
		{Key: "worst_slice"},
	}}
	unknown := 0
	for i := range list {
		v := &list[i].Value
		unknown += v.Unknown
	}
	n, at := flat(list, func(v *analysis.CommTable) int { return len(v.Rows) })
	t.Later(n, func(i int) []Cell {
		rank, row := at(i)
		r := &list[rank].Value.Rows[row]
		return []Cell{
			label(list, rank), Str(r.Op), Str(r.Group), Hide(r.GroupSize == 0, Int(r.GroupSize)), Str(r.DType),
			Hide(r.Bytes == 0, Bytes(r.Bytes)), Int(r.Count), Ns(r.SumNs), Ns(r.MinNs), Ns(r.P50Ns), Ns(r.MaxNs),
			Hide(r.AlgGBs == 0, Rate(r.AlgGBs)), Hide(r.BusGBs == 0, Rate(r.BusGBs)),
			Hide(r.BestBusGBs == 0, Rate(r.BestBusGBs)), ID(r.Worst),
		}
	})
	t.Note = "times include waiting for other ranks: the best call is nearest to the link"
	if unknown > 0 {
		t.Note = fmt.Sprintf("sizes of %s are not in the trace", units.Plural(unknown, "call"))
	}
	return t
}

// OverlapTable is how much communication runs behind compute.
func OverlapTable(list []Ranked[analysis.Overlap]) *Table {
	t := &Table{
		Name: "overlap", Title: "Communication behind compute", What: "rank",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "communication_ns", Title: "communication"},
			{Key: "overlapped_ns", Title: "behind compute"},
			{Key: "share", Title: "share"},
		},
	}
	for i := range list {
		if v := list[i].Value; v.CommunicationNs > 0 {
			t.Add(label(list, i), Ns(v.CommunicationNs), Ns(v.OverlappedNs), Share(v.Share))
		}
	}
	return t
}

// maxWorlds bounds the worlds that a line names.
const maxWorlds = 8

// WorldLine says which traces are not compared with each other, as their ranks did not
// run side by side; "" if all did or no two of them can be compared. labels are the
// traces' names.
func WorldLine(list []*trace.Meta, labels []string) string {
	worlds := identity.Worlds(list)
	if len(worlds) < 2 || !slices.ContainsFunc(worlds, func(w identity.World) bool { return len(w.Traces) > 1 }) {
		return ""
	}
	var parts []string
	for k, w := range worlds {
		if k == maxWorlds {
			parts = append(parts, fmt.Sprintf("and %d more", len(worlds)-k))
			break
		}
		names := make([]string, len(w.Traces))
		for i, t := range w.Traces {
			names[i] = labels[t]
		}
		text := strings.Join(names, ", ")
		if w.Why != "" {
			text += " (" + w.Why + ")"
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("Ranks are compared within each of %d groups that ran side by side: %s.", len(worlds),
		strings.Join(parts, "; "))
}

// StragglerTable is which ranks the others waited for; nil gives no rows.
func StragglerTable(r *analysis.StragglerReport, labels []string, names Names) *Table {
	t := &Table{
		Name: "stragglers", Title: "Who the others waited for", What: "rank",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "last", Title: "came last"},
			{Key: "blame_ns", Title: "others waited"},
			{Key: "wait_ns", Title: "waited itself"},
			{Key: "compute_ns", Title: "compute"},
			{Key: "worst", Title: "worst", Left: true, Flex: true},
			{Key: "worst_slice"},
		},
	}
	if r == nil || r.Matched == 0 {
		return t
	}
	t.Note = fmt.Sprintf("%s found on several ranks", units.Plural(r.Matched, "collective"))
	if r.Partial > 0 {
		t.Note += fmt.Sprintf(", of %d not all ranks are there", r.Partial)
	}
	if len(r.Unmatched) > 0 {
		n := 0
		for _, u := range r.Unmatched {
			n += u.Count
		}
		t.Note += fmt.Sprintf("; %d not compared", n)
	}
	for _, s := range r.Ranks {
		name := fmt.Sprint(s.Index)
		if s.Index < len(labels) {
			name = labels[s.Index]
		}
		t.Add(
			Str(name), Int(s.LastCount), Ns(s.BlameNs), Ns(s.WaitNs), Ns(s.ComputeNs),
			If(s.WorstSlice >= 0, Kernel(names(s.Index, s.WorstSlice))), ID(s.WorstSlice),
		)
	}
	return t
}

// PairTable is the messages between two ranks and which side of them came late.
func PairTable(r *analysis.StragglerReport, labels []string, names Names) *Table {
	t := &Table{
		Name: "pairs", Title: "Sends and receives", What: "pair of ranks",
		Columns: []Column{
			{Key: "from", Title: "from", Left: true, Flex: true},
			{Key: "to", Title: "to", Left: true, Flex: true},
			{Key: "count", Title: "messages"},
			{Key: "bytes", Title: "bytes"},
			{Key: "sender_late", Title: "sender late"},
			{Key: "receiver_wait_ns", Title: "receiver waited"},
			{Key: "receiver_late", Title: "receiver late"},
			{Key: "sender_wait_ns", Title: "sender waited"},
			{Key: "worst", Title: "worst", Left: true, Flex: true},
			{Key: "worst_slice"},
		},
	}
	if r == nil {
		return t
	}
	name := func(i int) string {
		if i < len(labels) {
			return labels[i]
		}
		return fmt.Sprint(i)
	}
	for _, p := range r.Pairs {
		t.Add(
			Str(name(p.From)), Str(name(p.To)), Int(p.Count), If(p.Bytes > 0, Bytes(p.Bytes)), Int(p.SenderLate),
			Ns(p.ReceiverWait),
			Int(p.ReceiverLate), Ns(p.SenderWait), If(p.Worst >= 0, Kernel(names(p.WorstRank, p.Worst))), ID(p.Worst),
		)
	}
	return t
}

// CollectiveTable is every single collective in order of start.
func CollectiveTable(list []Ranked[analysis.CommTable]) *Table {
	t := &Table{Name: "collectives", Title: "Collectives", What: "collective", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "start_ns", Title: "at"},
		{Key: "time_ns", Title: "time"},
		{Key: "op", Title: "operation", Left: true},
		{Key: "group", Title: "group", Left: true, Flex: true},
		{Key: "group_size", Title: "ranks"},
		{Key: "seq", Title: "number"},
		{Key: "dtype", Title: "type", Left: true},
		{Key: "in_bytes", Title: "gives"},
		{Key: "out_bytes", Title: "gets"},
		{Key: "on", Title: "on", Left: true},
		{Key: "slice", Title: "slice"},
	}}
	for i := range list {
		all := list[i].Value.Collectives
		for _, c := range all {
			on := "host"
			if c.Device {
				on = "device"
			}
			t.Add(
				label(list, i), Cell{"+" + units.Duration(float64(c.StartNs-all[0].StartNs)), ID(c.StartNs).Raw},
				Ns(c.Ns),
				Str(c.Op), Str(c.Group), Hide(c.GroupSize == 0, Int(c.GroupSize)), If(c.Seq >= 0, ID(c.Seq)),
				Str(c.DType),
				Hide(c.InBytes == 0, Bytes(c.InBytes)), Hide(c.OutBytes == 0, Bytes(c.OutBytes)), Str(on), ID(c.Slice),
			)
		}
	}
	return t
}
