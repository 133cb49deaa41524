package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/units"
)

// MemoryTable is what each allocator held, with its course as a picture.
func MemoryTable(list []Ranked[analysis.MemoryReport]) *Table {
	t := &Table{
		Name: "devices", Title: "Memory", What: "allocator", Note: "as the profiler saw allocations and frees",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "device", Title: "device", Left: true},
			{Key: "peak_bytes", Title: "peak"},
			{Key: "peak_time_ns"},
			{Key: "peak_reserved_bytes", Title: "peak reserved"},
			{Key: "base_bytes", Title: "at the start"},
			{Key: "end_bytes", Title: "at the end"},
			{Key: "allocated_bytes", Title: "allocated", Drop: 2},
			{Key: "freed_bytes", Title: "freed", Drop: 3},
			{Key: "allocs", Title: "allocations", Drop: 1},
			{Key: "frees", Title: "frees", Drop: 4},
		},
	}
	for i := range list {
		for k := range list[i].Value.Devices {
			d := &list[i].Value.Devices[k]
			t.Add(
				label(list, i), Str(analysis.DeviceName(d.DeviceType, d.DeviceID)), Bytes(d.PeakBytes),
				ID(d.PeakTimeNs),
				Hide(d.PeakReserved <= 0, Bytes(d.PeakReserved)), Bytes(d.BaseBytes), Bytes(d.EndBytes),
				Bytes(d.AllocatedBytes), Bytes(d.FreedBytes), Int(d.Allocs), Int(d.Frees),
			)
		}
	}
	left, counters := 0, 0
	for i := range list {
		left += list[i].Value.LeftOut
		if list[i].Value.FromCounters {
			counters++
		}
	}
	if counters > 0 {
		t.Note = "from counters of what was held: their rises and falls are allocations and frees"
		if counters < len(list) {
			t.Note = fmt.Sprintf("of %d of %d traces %s", counters, len(list), t.Note)
		}
	}
	if left > 0 {
		t.Note += fmt.Sprintf("; without %s of impossible size", units.Plural(left, "event"))
	}
	t.Picture = func(o TextOptions) []string {
		var out []string
		for i := range list {
			for k := range list[i].Value.Devices {
				d := &list[i].Value.Devices[k]
				who := analysis.DeviceName(d.DeviceType, d.DeviceID)
				if len(list) > 1 {
					who = identity.Spoken(list[i].Label) + " " + who
				}
				if len(out) < 2*maxPictures {
					out = append(out, memoryPicture(d, who, o)...)
				}
			}
		}
		return out
	}
	return t
}

// maxPictures bounds how many devices are drawn: more do not fit a screen.
const maxPictures = 8

// memoryPicture draws the largest amount of memory held in each cell of time.
func memoryPicture(d *analysis.DeviceMemory, who string, o TextOptions) []string {
	if len(d.Series) < 2 || d.PeakBytes <= 0 {
		return nil
	}
	first, last := d.Series[0].TimeNs, d.Series[len(d.Series)-1].TimeNs
	cells := o.Width - tableIndent
	if last <= first || cells <= 0 {
		return nil
	}
	most := make([]int64, cells)
	at := 0
	for c := range most {
		end := first + int64(float64(last-first)*float64(c+1)/float64(cells))
		most[c] = d.Series[at].Allocated // holds from before the cell
		for at+1 < len(d.Series) && d.Series[at+1].TimeNs <= end {
			at++
			most[c] = max(most[c], d.Series[at].Allocated)
		}
	}
	var b strings.Builder
	for _, m := range most {
		h := int(max(m, 0) * 8 / d.PeakBytes)
		switch {
		case o.ASCII && h == 0:
			b.WriteByte(' ')
		case o.ASCII:
			b.WriteByte(".:-=+*%#"[min(h, 8)-1])
		default:
			b.WriteRune(bars[min(h, 8)])
		}
	}
	line := b.String()
	if o.Color {
		line = fg(barParts[0].ansi) + line + ansiReset
	}
	note := fmt.Sprintf(
		"  %s over %s; full height is %s", neutral.Plain(who), units.Duration(float64(last-first)),
		units.Bytes(d.PeakBytes),
	)
	return []string{cut(note, o.Width, ellipsis(o)), "  " + line}
}

// MemoryOpTable shows how much memory each operator allocated, and how much of that was held at the
// peak.
func MemoryOpTable(list []Ranked[analysis.MemoryReport]) *Table {
	t := &Table{
		Name: "allocations", Title: "Allocated by operator", What: "operator",
		Note: "itself, not through nested operators",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "device", Title: "device", Left: true},
			{Key: "name", Title: "operator", Left: true, Flex: true},
			{Key: "at_peak_bytes", Title: "held at peak"},
			{Key: "at_peak_share", Title: "of peak"},
			{Key: "left_bytes", Title: "held at end"},
			{Key: "allocated_bytes", Title: "allocated"},
			{Key: "allocs", Title: "allocations", Drop: 1},
		},
	}
	type row struct {
		rank int
		d    *analysis.DeviceMemory
		o    analysis.MemoryOp

		known bool // the trace has addresses, so it is known what was held when
	}
	var rows []row
	for i := range list {
		for k := range list[i].Value.Devices {
			d := &list[i].Value.Devices[k]
			known := slices.ContainsFunc(d.ByOp,
				func(o analysis.MemoryOp) bool { return o.AtPeakBytes+o.LeftBytes > 0 })
			for _, o := range d.ByOp {
				rows = append(rows, row{i, d, o, known})
			}
		}
	}
	// The largest part of any device's peak first: a small host allocator does not hide
	// a full card.
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(
			cmp.Compare(b.o.AtPeakBytes, a.o.AtPeakBytes), cmp.Compare(b.o.LeftBytes, a.o.LeftBytes),
			cmp.Compare(b.o.AllocatedBytes, a.o.AllocatedBytes),
		)
	})
	for _, r := range rows {
		d, o := r.d, r.o
		name := Str(o.Name)
		if o.Name == "" {
			name.Text = "(outside operators)"
		}
		t.Add(
			label(list, r.rank), Str(analysis.DeviceName(d.DeviceType, d.DeviceID)), name,
			Hide(!r.known, Bytes(o.AtPeakBytes)), Hide(!r.known, Share(part(o.AtPeakBytes, d.PeakBytes))),
			Hide(!r.known, Bytes(o.LeftBytes)), Bytes(o.AllocatedBytes), Int(o.Allocs),
		)
	}
	return t
}

// BandwidthTable is how fast memory was copied and filled.
func BandwidthTable(list []Ranked[analysis.MemoryBandwidth]) *Table {
	t := &Table{Name: "bandwidth", Title: "Copies and fills", What: "direction", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "direction", Title: "direction", Left: true},
		{Key: "count", Title: "count"},
		{Key: "bytes", Title: "size"},
		{Key: "busy_ns", Title: "time"},
		{Key: "mean_gb_per_s", Title: "GB/s"},
		{Key: "p50_gb_per_s"},
		{Key: "max_gb_per_s", Title: "best", Drop: 1},
		{Key: "active_share", Title: "of the time", Drop: 2},
	}}
	for i := range list {
		for _, d := range list[i].Value.Directions {
			t.Add(
				label(list, i), Str(d.Name), Int(d.Count), Hide(d.Bytes == 0, Bytes(d.Bytes)), Ns(d.BusyNs),
				If(d.MeanGBs > 0, Num(d.MeanGBs)), Num(d.ByTime.P50), If(d.ByTime.Max > 0, Num(d.ByTime.Max)),
				Hide(d.ByTime.SpanNs == 0, Share(part(d.ByTime.ActiveNs, d.ByTime.SpanNs))),
			)
		}
	}
	return t
}

// CounterTable is what the hardware counted, one row a range and metric.
func CounterTable(list []Ranked[analysis.CounterTable]) *Table {
	t := &Table{Name: "counters", Title: "Hardware counters", What: "metric", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "range", Title: "range", Left: true, Flex: true},
		{Key: "count", Title: "ranges"},
		{Key: "metric", Title: "metric", Left: true, Flex: true},
		{Key: "mean", Title: "mean"},
		{Key: "min", Title: "min"},
		{Key: "max", Title: "max"},
		{Key: "sum", Title: "sum", Drop: 1},
	}}
	for i := range list {
		for _, r := range list[i].Value.Rows {
			for _, m := range r.Metrics {
				t.Add(
					label(list, i), Kernel(r.Name), Int(r.Count), Str(m.Metric), Num(m.Stats.Mean), Num(m.Stats.Min),
					Num(m.Stats.Max), Num(m.Stats.Sum),
				)
			}
		}
	}
	return t
}
