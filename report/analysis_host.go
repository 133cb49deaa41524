package report

import (
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// OpTable is what each operator cost on host and device.
func OpTable(list []Ranked[analysis.OpTable]) *Table {
	t := opTable(list, func(v *analysis.OpTable) []analysis.OpRow { return v.Rows })
	t.Name, t.Title, t.What = "ops", "Operators", "operator"
	if len(list) == 1 {
		t.Note = opNote(&list[0].Value)
	}
	return t
}

// OpLabelTable is what ran under the program's own labels, outside of operators for the self
// times: steps and ranges.
func OpLabelTable(list []Ranked[analysis.OpTable]) *Table {
	t := opTable(list, func(v *analysis.OpTable) []analysis.OpRow { return v.Labels })
	t.Name, t.Title, t.What, t.Note = "labels", "Labels of steps and ranges", "label",
		"the program's own; they are no operators"
	return t
}

// opNote says what the times of a table of operators are in all.
func opNote(v *analysis.OpTable) string {
	notes := []string{"host " + units.Duration(float64(v.CPUNs))}
	if v.DeviceNs > 0 {
		notes = append(notes, "device "+units.Duration(float64(v.DeviceNs)))
	}
	var labels int64
	for i := range v.Labels {
		labels += v.Labels[i].SelfDeviceNs
	}
	if labels > 0 {
		notes = append(notes, units.Duration(float64(labels))+" of it under labels, outside of operators")
	}
	if v.UnattributedNs > 0 {
		notes = append(notes, units.Duration(float64(v.UnattributedNs))+" of device work that no operator launched")
	}
	return strings.Join(notes, ", ")
}

// opTable has a row for each that rows gives.
func opTable(list []Ranked[analysis.OpTable], rows func(*analysis.OpTable) []analysis.OpRow) *Table {
	t := &Table{Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "name", Title: "operator", Left: true, Flex: true},
		{Key: "kind", Title: "", Left: true},
		{Key: "shapes", Title: "shapes", Left: true, Flex: true},
		{Key: "stack", Title: "stack", Left: true, Flex: true},
		{Key: "count", Title: "calls"},
		{Key: "self_device_ns", Title: "self device"},
		{Key: "self_device_share", Title: "%"},
		{Key: "device_ns", Title: "device", Drop: 3},
		{Key: "self_cpu_ns", Title: "self host"},
		{Key: "self_cpu_share", Title: "%"},
		{Key: "cpu_ns", Title: "host", Drop: 2},
		{Key: "kernels", Title: "kernels", Drop: 4},
		{Key: "flops", Title: "FLOP", Drop: 5},
		{Key: "worst_slice"},
	}}
	n, at := flat(list, func(v *analysis.OpTable) int { return len(rows(v)) })
	t.Later(n, func(i int) []Cell {
		rank, row := at(i)
		v := &list[rank].Value
		r := &rows(v)[row]
		on := v.DeviceNs > 0
		return []Cell{
			label(list, rank), Op(r.Name), Str(r.Kind), Str(r.Shapes), {stack(r.Stack), r.Stack}, Int(r.Count),
			If(on, Ns(r.SelfDeviceNs)), If(on, Share(part(r.SelfDeviceNs, v.DeviceNs))), If(on, Ns(r.DeviceNs)),
			Ns(r.SelfCPUNs), Share(part(r.SelfCPUNs, v.CPUNs)), Ns(r.CPUNs), If(on, Int(r.Kernels)),
			If(r.FLOPs > 0, Cell{units.Scaled(float64(r.FLOPs), ""), number(float64(r.FLOPs))}), ID(r.Worst),
		}
	})
	return t
}

// stack writes a stack in one line, innermost frame first.
func stack(s string) string { return neutral.Plain(strings.ReplaceAll(s, "\n", " < ")) }

// RooflineTable is how much arithmetic the operators did and how fast.
func RooflineTable(list []Ranked[analysis.RooflineReport]) *Table {
	t := &Table{Name: "roofline", Title: "Arithmetic", What: "operator", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "name", Title: "operator", Left: true, Flex: true},
		{Key: "shapes", Title: "shapes", Left: true, Flex: true},
		{Key: "dtype", Title: "type", Left: true, Drop: 3},
		{Key: "count", Title: "calls"},
		{Key: "flops", Title: "FLOP"},
		{Key: "bytes", Title: "least traffic", Drop: 4},
		{Key: "time_ns", Title: "time"},
		{Key: "on_device", Title: "on", Left: true, Drop: 2},
		{Key: "gflops_per_s", Title: "GFLOP/s"},
		{Key: "intensity_flop_per_byte", Title: "FLOP/B", Drop: 1},
		{Key: "bound", Title: "bound", Left: true},
		{Key: "roof_share", Title: "of roof"},
		{Key: "first_slice"},
	}}
	var notes []string
	for i := range list {
		v := &list[i].Value
		for _, r := range v.Rows {
			on := Cell{"host", "false"}
			if r.OnDevice {
				on = Cell{"device", "true"}
			}
			t.Add(
				label(list, i), Str(r.Name), Str(r.Shapes), Str(r.DType), Int(r.Count),
				Cell{units.Scaled(float64(r.FLOPs), ""), number(float64(r.FLOPs))}, Bytes(r.Bytes), Ns(r.Ns), on,
				Num(r.GFLOPs),
				Num(r.Intensity), Str(r.Bound), If(r.Bound != "", Share(r.RoofShare)), ID(r.First),
			)
		}
		if len(list) == 1 && len(v.Rows) > 0 {
			notes = append(notes, fmt.Sprintf("%s in all; the FLOPs of %s of the time in operators are known",
				units.Scaled(float64(v.FLOPs), "FLOP"), units.Share(v.KnownShare)))
		}
	}
	t.Note = strings.Join(notes, ", ")
	return t
}

// AnnotationTable is the time under the program's own labels.
func AnnotationTable(list []Ranked[analysis.Annotations]) *Table {
	t := &Table{
		Name: "annotations", Title: "Annotations", What: "annotation", Note: "the program's own labels",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "name", Title: "annotation", Left: true, Flex: true},
			{Key: "side", Title: "on", Left: true},
			{Key: "count", Title: "count"},
			{Key: "sum_ns", Title: "total"},
			{Key: "mean_ns", Title: "mean"},
			{Key: "min_ns", Title: "min", Drop: 2},
			{Key: "max_ns", Title: "max"},
			{Key: "std_ns", Title: "std", Drop: 3},
			{Key: "device_busy_ns", Title: "device work"},
			{Key: "kernels", Title: "kernels", Drop: 1},
			{Key: "worst_slice"},
		},
	}
	for i := range list {
		for k, rows := range [][]analysis.AnnotationRow{list[i].Value.CPU, list[i].Value.GPU} {
			for _, r := range rows {
				t.Add(
					label(list, i), Str(r.Name), Str([]string{"host", "device"}[k]), Int(r.Count), Ns(r.SumNs),
					MeanNs(r.MeanNs),
					Ns(r.MinNs), Ns(r.MaxNs), MeanNs(r.StdNs), Ns(r.BusyNs), Int(r.Kernels), ID(r.Worst),
				)
			}
		}
	}
	return t
}
