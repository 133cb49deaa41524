// Package optable writes a trace's operators as the text table that people know from
// torch's key_averages().table: one line an operator, names to the right, the share of
// self CPU time first, the sums below.
package optable

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

// Sizes of the table. DefaultRows is what vLLM prints; the widths are torch's.
const (
	DefaultRows  = 100
	maxNameWidth = 55
	minNameWidth = 4
	numberWidth  = 12
	gap          = "  "
)

// Options say how the table looks. The zero value is usable.
type Options struct {
	Rows int // at most; 0 is DefaultRows
}

// column is one column of numbers.
type column struct {
	name  string
	value func(*table, *opstats.Row) string
}

type table struct {
	ops   *opstats.Ops
	scale flopsScale
}

var cpuColumns = []column{
	{"Self CPU %", func(t *table, r *opstats.Row) string { return share(r.SelfCPU, t.ops.SelfCPU) }},
	{"Self CPU", func(_ *table, r *opstats.Row) string { return duration(r.SelfCPU) }},
	{"CPU total %", func(t *table, r *opstats.Row) string {
		if r.Async {
			return "--" // it overlaps everything
		}
		return share(r.CPU, t.ops.SelfCPU)
	}},
	{"CPU total", func(_ *table, r *opstats.Row) string { return duration(r.CPU) }},
	{"CPU time avg", func(_ *table, r *opstats.Row) string { return duration(r.CPU / int64(r.Count)) }},
}

// deviceColumns are named after the trace's device, as torch names them.
func deviceColumns(device string) []column {
	return []column{
		{"Self " + device, func(_ *table, r *opstats.Row) string { return duration(r.SelfDevice) }},
		{"Self " + device + " %", func(t *table, r *opstats.Row) string {
			return share(r.SelfDevice, t.ops.SelfDevice)
		}},
		{device + " total", func(_ *table, r *opstats.Row) string { return duration(r.DeviceTime) }},
		{device + " time avg", func(_ *table,
			r *opstats.Row) string {
			return duration(r.DeviceTime / int64(r.Count))
		}},
	}
}

var memoryColumns = []column{
	{"CPU Mem", func(_ *table, r *opstats.Row) string { return size(r.Memory) }},
	{"Self CPU Mem", func(_ *table, r *opstats.Row) string { return size(r.SelfMemory) }},
}

var countColumn = column{"# of Calls", func(_ *table, r *opstats.Row) string { return strconv.Itoa(r.Count) }}

func flopsColumn(s flopsScale) column {
	return column{"Total " + s.unit, func(t *table, r *opstats.Row) string {
		if r.FLOPs == 0 {
			return "--"
		}
		return strconv.FormatFloat(float64(r.FLOPs)/t.scale.by, 'f', 3, 64)
	}}
}

// Write writes the table of ops to w.
func Write(w io.Writer, ops *opstats.Ops, o Options) error {
	limit := o.Rows
	if limit <= 0 {
		limit = DefaultRows
	}
	rows := ops.Rows(opstats.GroupName)
	total := len(rows)
	rows = rows[:min(limit, total)]
	t := &table{ops: ops, scale: scaleOf(rows)}
	columns := t.columns()
	names := make([]string, len(rows))
	width := minNameWidth
	for i := range rows {
		names[i] = shorten(rows[i].Name)
		width = max(width, utf8.RuneCountInString(names[i]))
	}

	b := bufio.NewWriter(w)
	rule := strings.Repeat("-", width) + gap
	header := right("Name", width) + gap
	for _, c := range columns {
		n := max(numberWidth, len(c.name))
		rule += strings.Repeat("-", n) + gap
		header += right(c.name, n) + gap
	}
	rule, header = strings.TrimRight(rule, " "), strings.TrimRight(header, " ")
	fmt.Fprintf(b, "%s\n%s\n%s\n", rule, header, rule)
	for i := range rows {
		line := right(names[i], width)
		for _, c := range columns {
			line += gap + right(c.value(t, &rows[i]), max(numberWidth, len(c.name)))
		}
		fmt.Fprintln(b, line)
	}
	fmt.Fprintln(b, rule)
	fmt.Fprintf(b, "Self CPU time total: %s\n", duration(ops.SelfCPU))
	if ops.HasDevice {
		fmt.Fprintf(b, "Self %s time total: %s\n", ops.Device, duration(ops.SelfDevice))
	}
	if total > len(rows) {
		fmt.Fprintf(b, "%d of %d operators, by self CPU time\n", len(rows), total)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write operator table: %w", err)
	}
	return nil
}

// columns returns those that ops has numbers for.
func (t *table) columns() []column {
	out := append([]column{}, cpuColumns...)
	if t.ops.HasDevice {
		out = append(out, deviceColumns(t.ops.Device)...)
	}
	if t.ops.HasMemory {
		out = append(out, memoryColumns...)
	}
	out = append(out, countColumn)
	if t.ops.HasFLOPs {
		out = append(out, flopsColumn(t.scale))
	}
	return out
}

type flopsScale struct {
	unit string
	by   float64
}

var flopsScales = []flopsScale{{"FLOPs", 1}, {"KFLOPs", 1e3}, {"MFLOPs", 1e6}, {"GFLOPs", 1e9}, {"TFLOPs", 1e12},
	{"PFLOPs", 1e15}}

// scaleOf returns the largest unit of which the largest row has at least one.
func scaleOf(rows []opstats.Row) flopsScale {
	most := int64(0)
	for i := range rows {
		most = max(most, rows[i].FLOPs)
	}
	out := flopsScales[0]
	for _, s := range flopsScales {
		if float64(most) >= s.by {
			out = s
		}
	}
	return out
}

func share(part, whole int64) string {
	if whole == 0 {
		return "0.00%"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 2, 64) + "%"
}

// duration prints ns in the unit that leaves at least one digit before the point.
func duration(ns int64) string {
	switch us := float64(ns) / 1000; {
	case us >= 1e6:
		return strconv.FormatFloat(us/1e6, 'f', 3, 64) + "s"
	case us >= 1e3:
		return strconv.FormatFloat(us/1e3, 'f', 3, 64) + "ms"
	default:
		return strconv.FormatFloat(us, 'f', 3, 64) + "us"
	}
}

// size prints bytes in binary units.
func size(n int64) string {
	f := float64(n)
	for _, u := range []struct {
		name string
		by   float64
	}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}} {
		if f >= u.by || f <= -u.by {
			return strconv.FormatFloat(f/u.by, 'f', 2, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

// shorten keeps a name on one line, within its column, and without what a terminal would obey.
func shorten(name string) string {
	name = strings.ReplaceAll(neutral.Plain(name), string(utf8.RuneError), " ")
	if runes := []rune(name); len(runes) > maxNameWidth {
		return string(runes[:maxNameWidth-3]) + "..."
	}
	return name
}

func right(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}
