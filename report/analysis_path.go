package report

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// boundWords say what the critical path waits for.
var boundWords = map[analysis.Bound]string{
	analysis.BoundCPU: "host", analysis.BoundCompute: "device computes",
	analysis.BoundCommunicate:  "device communicates",
	analysis.BoundKernelKernel: "starting kernels", analysis.BoundLaunch: "launch on its way",
}

// PathBoundTable is the critical path's time by the resource it was spent on.
func PathBoundTable(p *analysis.CriticalPath) *Table {
	t := &Table{Name: "bounds", Title: "What the path is made of", Columns: []Column{
		{Key: "bound", Title: "on", Left: true},
		{Key: "time_ns", Title: "time"},
		{Key: "share", Title: "share"},
	}}
	for _, b := range p.Bounds {
		if b.Ns == 0 && b.Bound == analysis.BoundNone {
			continue
		}
		t.Add(Cell{boundWords[b.Bound], b.Bound.String()}, Ns(b.Ns), Share(b.Share))
	}
	t.Limit = t.Len()
	return t
}

// PathNameTable is the critical path's time inside slices by name.
func PathNameTable(p *analysis.CriticalPath) *Table {
	t := &Table{Name: "names", Title: "On the path, by name", What: "name", Columns: []Column{
		{Key: "name", Title: "name", Left: true, Flex: true},
		{Key: "bound", Title: "on", Left: true},
		{Key: "count", Title: "times"},
		{Key: "time_ns", Title: "time"},
		{Key: "share", Title: "share"},
		{Key: "worst_slice", Title: "worst slice"},
	}}
	t.Later(len(p.ByName), func(i int) []Cell {
		n := &p.ByName[i]
		return []Cell{
			Kernel(n.Name), {boundWords[n.Bound], n.Bound.String()}, Int(n.Count), Ns(n.Ns),
			Share(part(n.Ns, p.TotalNs)), ID(n.Worst),
		}
	})
	return t
}

// PathEdgeTable is the critical path edge by edge.
func PathEdgeTable(p *analysis.CriticalPath, tr *trace.Trace) *Table {
	title := "The path"
	if n := len(p.Edges); n < p.EdgeCount {
		title = fmt.Sprintf("The path's %d longest edges of %s", n, units.Count(int64(p.EdgeCount)))
	}
	t := &Table{Name: "edges", Title: title, What: "edge", Columns: []Column{
		{Key: "edge", Title: "edge"},
		{Key: "type", Title: "type", Left: true},
		{Key: "bound", Title: "on", Left: true},
		{Key: "time_ns", Title: "time"},
		{Key: "start_ns", Title: "at"},
		{Key: "from", Title: "from", Left: true, Flex: true},
		{Key: "to", Title: "to", Left: true, Flex: true},
		{Key: "from_slice"},
		{Key: "to_slice"},
	}}
	names := NamesOf([]*trace.Trace{tr})
	at := func(slice int, end bool) int64 {
		if end {
			return tr.Slices.End(slice)
		}
		return tr.Slices.Start[slice]
	}
	for _, e := range p.Edges {
		from, to := int(e.From), int(e.To)
		start := at(from, e.FromEnd)
		t.Add(
			ID(int(e.Index)), Str(e.Type.String()), Cell{boundWords[e.Bound], e.Bound.String()}, Ns(e.Ns),
			Cell{"+" + units.Duration(float64(start-p.Window.StartNs)), ID(start).Raw}, Kernel(names(0, from)),
			Kernel(names(0, to)), ID(from), ID(to),
		)
	}
	return t
}

// DiffTable is what changed between two traces, largest change of time first.
func DiffTable(d *analysis.TraceDiff, o DiffFilter) *Table {
	t := &Table{Name: "diff", Title: "What changed", What: "name", Columns: []Column{
		{Key: "name", Title: "name", Left: true, Flex: true},
		{Key: "side", Title: "on", Left: true},
		{Key: "change", Title: "change", Left: true},
		{Key: "a_count", Title: "calls A", Drop: 2},
		{Key: "b_count", Title: "calls B", Drop: 2},
		{Key: "a_ns"},
		{Key: "b_ns"},
		{Key: "a_step_ns", Title: "A"},
		{Key: "b_step_ns", Title: "B"},
		{Key: "delta_ns", Title: "B - A"},
		{Key: "ratio", Title: "B / A", Drop: 1},
		{Key: "p"},
		{Key: "q", Title: "q", Drop: 3},
		{Key: "significant", Title: "sure", Left: true},
		{Key: "a_worst_slice"},
		{Key: "b_worst_slice"},
	}}
	t.Note = "time in a mean step, nested calls included"
	if d.StepsA <= 1 && d.StepsB <= 1 {
		t.Note = "time in the whole trace, nested calls included"
	}
	var kept []int32
	for i := range d.Rows {
		if o.keep(&d.Rows[i]) {
			kept = append(kept, int32(i))
		}
	}
	t.Later(len(kept), func(i int) []Cell { return diffCells(&d.Rows[kept[i]], d.Test) })
	return t
}

// diffCells are the cells of a row of DiffTable.
func diffCells(r *analysis.DiffRow, test analysis.Basis) []Cell {
	side, name, sure, delta := "host", Op(r.Name), Cell{"", "false"}, MeanNs(r.DeltaNs)
	if r.Device {
		side, name = "device", Kernel(r.Name)
	}
	if r.Significant {
		sure = Cell{"yes", "true"}
	}
	if r.DeltaNs > 0 {
		delta.Text = "+" + delta.Text
	}
	return []Cell{
		name, Str(side), {changeWord(r), r.Change.String()}, Int(r.A.Count), Int(r.B.Count), Ns(r.A.Ns), Ns(r.B.Ns),
		Hide(r.A.Count == 0, MeanNs(r.A.StepNs)), Hide(r.B.Count == 0, MeanNs(r.B.StepNs)), delta,
		{ratio(r), number(r.Ratio)}, {units.Digits(r.P), number(r.P)}, {probability(r.Q, test), number(r.Q)}, sure,
		ID(r.A.Worst), ID(r.B.Worst),
	}
}

// DiffFilter chooses rows of a diff; the zero value keeps what differs.
type DiffFilter struct {
	All             bool // rows without any difference, too
	SignificantOnly bool
	Change          string // a name of analysis.Change, "slower", "faster" or "" for all
}

func (o DiffFilter) keep(r *analysis.DiffRow) bool {
	switch {
	case o.SignificantOnly && !r.Significant:
		return false
	case o.Change == "slower":
		return r.A.Count > 0 && r.B.Count > 0 && r.DeltaNs > 0
	case o.Change == "faster":
		return r.A.Count > 0 && r.B.Count > 0 && r.DeltaNs < 0
	case o.Change != "":
		return r.Change.String() == o.Change
	}
	return o.All || r.Change != analysis.Unchanged || r.DeltaNs != 0
}

// changeWord says what changed: the count, else the time.
func changeWord(r *analysis.DiffRow) string {
	switch r.Change {
	case analysis.Added:
		return "added"
	case analysis.Removed:
		return "removed"
	case analysis.Increased:
		return "more often"
	case analysis.Decreased:
		return "less often"
	}
	switch {
	case r.DeltaNs > 0:
		return "slower"
	case r.DeltaNs < 0:
		return "faster"
	}
	return "same"
}

func ratio(r *analysis.DiffRow) string {
	if r.A.Ns == 0 || r.B.Ns == 0 {
		return NoValue.Text
	}
	return units.Digits(r.Ratio)
}

func probability(q float64, b analysis.Basis) string {
	switch {
	case b == analysis.NoTest:
		return NoValue.Text
	case q < 0.001:
		return "<0.001"
	}
	return fmt.Sprintf("%.3f", q)
}
