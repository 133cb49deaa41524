package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/units"
)

// TemporalTable is where each device's time went, with a picture: a bar a rank.
func TemporalTable(list []Ranked[analysis.Temporal]) *Table {
	t := &Table{
		Name: "temporal", Title: "Where the device's time went", What: "rank",
		Note: "exclusive parts of the span from first to last device work",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "span_ns", Title: "span"},
			{Key: "compute_ns", Title: "compute"},
			{Key: "compute_share", Title: "%"},
			{Key: "exposed_communication_ns", Title: "exposed comm"},
			{Key: "exposed_communication_share", Title: "%", Drop: 1},
			{Key: "exposed_memory_ns", Title: "exposed memory"},
			{Key: "exposed_memory_share", Title: "%", Drop: 2},
			{Key: "other_ns", Title: "other", Drop: 3},
			{Key: "idle_ns", Title: "idle"},
			{Key: "idle_share", Title: "%"},
			{Key: "communication_ns", Title: "all comm", Drop: 4},
			{Key: "memory_ns", Title: "all memory", Drop: 4},
			{Key: "busy_ns"},
		},
	}
	for i := range list {
		v := &list[i].Value
		if !v.HasDevice {
			continue
		}
		t.Add(
			label(list, i), Ns(v.SpanNs), Ns(v.ComputeNs), Share(v.ComputeShare), Ns(v.ExposedCommunicationNs),
			Share(part(v.ExposedCommunicationNs, v.SpanNs)), Ns(v.ExposedMemoryNs),
			Share(part(v.ExposedMemoryNs, v.SpanNs)),
			Hide(v.OtherNs == 0, Ns(v.OtherNs)), Ns(v.IdleNs), Share(v.IdleShare),
			Hide(v.CommunicationNs == v.ExposedCommunicationNs, Ns(v.CommunicationNs)),
			Hide(v.MemoryNs == v.ExposedMemoryNs, Ns(v.MemoryNs)), Ns(v.BusyNs),
		)
	}
	t.Picture = func(o TextOptions) []string {
		shown := slices.DeleteFunc(slices.Clone(list),
			func(v Ranked[analysis.Temporal]) bool { return !v.Value.HasDevice })
		return temporalBars(shown, t.limit(o), o)
	}
	return t
}

// parts of a bar: what a moment of the device was, a glyph and a colour.
var barParts = []struct {
	word  string
	glyph rune
	ascii byte
	ansi  int
}{
	{"compute", '█', '#', 33}, {"exposed communication", '▒', 'c', 208}, {"exposed memory", '▚', 'm', 171},
	{"other", '▪', 'o', 151}, {"idle", '·', '.', 245},
}

// ellipsis marks a text that was cut.
func ellipsis(o TextOptions) string {
	if o.ASCII {
		return ".."
	}
	return "…"
}

// temporalBars draws a bar a rank for the first most of them, each as long as its span;
// where spans differ so much that bars would vanish, all are equally long.
func temporalBars(list []Ranked[analysis.Temporal], most int, o TextOptions) []string {
	several := len(list) > 1
	list = list[:most]
	var longest int64
	wide := 0
	for i := range list {
		longest = max(longest, list[i].Value.SpanNs)
		if several {
			wide = max(wide, min(len([]rune(neutral.Plain(list[i].Label))), maxName))
		}
	}
	if longest == 0 {
		return nil
	}
	scale := func(int64) float64 { return 1 }
	if !slices.ContainsFunc(list, func(v Ranked[analysis.Temporal]) bool { return v.Value.SpanNs < longest/3 }) {
		scale = func(span int64) float64 { return float64(span) / float64(longest) }
	}
	room := o.Width - tableIndent
	if wide > 0 {
		room -= wide + 1
	}
	used := make([]bool, len(barParts))
	var lines []string
	for i := range list {
		v := &list[i].Value
		var b strings.Builder
		b.WriteString("  ")
		if wide > 0 {
			b.WriteString(pad(cut(neutral.Plain(list[i].Label), wide, ellipsis(o)), wide, true) + " ")
		}
		times := []int64{v.ComputeNs, v.ExposedCommunicationNs, v.ExposedMemoryNs, v.OtherNs, v.IdleNs}
		for k, n := range divide(times, int(float64(room)*scale(v.SpanNs)+0.5)) {
			used[k] = used[k] || n > 0
			b.WriteString(barCells(k, n, o))
		}
		lines = append(lines, b.String())
	}
	var legend []string
	for k, p := range barParts {
		if used[k] {
			legend = append(legend, barCells(k, 1, o)+" "+p.word)
		}
	}
	return append(lines, "  "+strings.Join(legend, "   "))
}

func barCells(k, n int, o TextOptions) string {
	p := barParts[k]
	switch {
	case n <= 0:
		return ""
	case o.ASCII:
		return strings.Repeat(string(p.ascii), n)
	case o.Color:
		return fg(p.ansi) + strings.Repeat(string(p.glyph), n) + ansiReset
	}
	return strings.Repeat(string(p.glyph), n)
}

// divide shares n cells out in proportion, by largest remainder.
func divide(parts []int64, n int) []int {
	var sum int64
	for _, p := range parts {
		sum += max(p, 0)
	}
	out := make([]int, len(parts))
	if sum == 0 {
		return out
	}
	rest := make([]float64, len(parts))
	left := n
	for i, p := range parts {
		exact := float64(max(p, 0)) / float64(sum) * float64(n)
		out[i] = int(exact)
		rest[i] = exact - float64(out[i])
		left -= out[i]
	}
	for ; left > 0; left-- {
		best := 0
		for i := range rest {
			if rest[i] > rest[best] {
				best = i
			}
		}
		out[best]++
		rest[best] = -1
	}
	return out
}

// KernelTypeTable is the device's time by what ran at once.
func KernelTypeTable(list []Ranked[analysis.KernelBreakdown]) *Table {
	t := &Table{
		Name: "types", Title: "Kinds of device work", Note: "by what ran at the same time",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "kinds", Title: "running", Left: true},
			{Key: "time_ns", Title: "time"},
			{Key: "share", Title: "share"},
		},
	}
	for i := range list {
		for _, k := range list[i].Value.Types {
			t.Add(label(list, i), Str(k.Name()), Ns(k.Ns), Share(k.Share))
		}
	}
	return t
}

// KernelTable is the device's time by the name of what ran.
func KernelTable(list []Ranked[analysis.KernelBreakdown]) *Table {
	t := &Table{Name: "kernels", Title: "Kernels", What: "kernel", Columns: []Column{
		{Key: "rank", Title: "rank", Left: true, Flex: true},
		{Key: "name", Title: "kernel", Left: true, Flex: true},
		{Key: "kind", Title: "kind", Left: true, Drop: 4},
		{Key: "count", Title: "count"},
		{Key: "sum_ns", Title: "total"},
		{Key: "share", Title: "share"},
		{Key: "mean_ns", Title: "mean"},
		{Key: "min_ns", Title: "min", Drop: 3},
		{Key: "max_ns", Title: "max", Drop: 1},
		{Key: "std_ns", Title: "std", Drop: 5},
		{Key: "worst_slice"},
	}}
	var calls int64
	for i := range list {
		for _, k := range list[i].Value.Kernels {
			calls += k.Count
		}
	}
	names, at := flat(list, func(v *analysis.KernelBreakdown) int { return len(v.Kernels) })
	t.Later(names, func(i int) []Cell {
		rank, row := at(i)
		k := &list[rank].Value.Kernels[row]
		return []Cell{
			label(list, rank), Kernel(k.Name), Str(k.Kind.String()), Int(k.Count), Ns(k.SumNs), Share(k.Share),
			MeanNs(k.MeanNs), Ns(k.MinNs), Ns(k.MaxNs), If(k.StdNs > 0, MeanNs(k.StdNs)), ID(k.Worst),
		}
	})
	t.Note = fmt.Sprintf("%s slices of %s; share of their summed time", units.Count(calls),
		units.Plural(names, "name"))
	return t
}

// SequenceTable is the series of kernels that an operator launches again and again.
func SequenceTable(list []Ranked[[]analysis.Sequence]) *Table {
	t := &Table{
		Name: "sequences", Title: "Kernel sequences", What: "sequence",
		Note: "launched again and again: what one fused kernel or one graph could replace",
		Columns: []Column{
			{Key: "rank", Title: "rank", Left: true, Flex: true},
			{Key: "operator", Title: "operator", Left: true, Flex: true},
			{Key: "count", Title: "count"},
			{Key: "kernels", Title: "kernels"},
			{Key: "device_ns", Title: "device"},
			{Key: "cpu_ns", Title: "host"},
			{Key: "pattern", Title: "sequence", Left: true, Flex: true},
			{Key: "first_slice"},
		},
	}
	for i := range list {
		for _, s := range list[i].Value {
			short := make([]string, len(s.Kernels))
			for k, n := range s.Kernels {
				short[k] = KernelName(n)
			}
			t.Add(label(list, i), Str(s.Operator), Int(s.Count), Int(len(s.Kernels)), Ns(s.GPUNs), Ns(s.CPUNs),
				Cell{neutral.Plain(strings.Join(short, " → ")), s.Pattern()}, ID(s.First))
		}
	}
	return t
}
