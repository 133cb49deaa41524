// Package sheet writes the ops workbook, an .xlsx with a trace's operators summed up.
// Sheets and columns are those of vLLM-Omni's ops_rankR.xlsx, in its order, so that
// scripts made for these read it:
//
//	summary   by name
//	by_shape  by name and input shapes; Options.Shapes
//	by_stack  by name and the innermost frames around; Options.Stacks
//
// The header row is frozen and has a filter. Cells without a measurement are empty:
// cuda and xpu columns of a trace without device work, memory without memory recording.
// Work on Intel's cards is under xpu, that on any other device under cuda.
package sheet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

// Limits of the file format; see Excel specifications and limits.
const (
	maxRows     = 1<<20 - 1 // rows of a sheet below the header
	maxCellText = 32767     // UTF-16 units of a cell; bytes bound them
)

// Options say which sheets are written beside summary.
type Options struct {
	Shapes, Stacks bool
}

// column is one column of every sheet.
type column struct {
	name  string
	value func(*opstats.Ops, *opstats.Row) any // nil leaves the cell empty
}

func micros(ns int64) float64 { return float64(ns) / 1000 }

// cuda and xpu fill a column if the trace's device goes there.
func cuda(v func(*opstats.Ops, *opstats.Row) any) func(*opstats.Ops, *opstats.Row) any {
	return func(o *opstats.Ops, r *opstats.Row) any {
		if o.Device == opstats.DeviceXPU {
			return nil
		}
		return v(o, r)
	}
}

func xpu(v func(*opstats.Ops, *opstats.Row) any) func(*opstats.Ops, *opstats.Row) any {
	return func(o *opstats.Ops, r *opstats.Row) any {
		if o.Device != opstats.DeviceXPU {
			return nil
		}
		return v(o, r)
	}
}

func device(v func(*opstats.Row) int64) func(*opstats.Ops, *opstats.Row) any {
	return func(o *opstats.Ops, r *opstats.Row) any {
		if !o.HasDevice {
			return nil
		}
		return micros(v(r))
	}
}

// What the columns of both kinds of device show.
var (
	selfDevice    = device(func(r *opstats.Row) int64 { return r.SelfDevice })
	deviceTime    = device(func(r *opstats.Row) int64 { return r.DeviceTime })
	selfDevMemory = memory(func(r *opstats.Row) int64 { return r.SelfDevMemory })
	devMemory     = memory(func(r *opstats.Row) int64 { return r.DevMemory })
)

func memory(v func(*opstats.Row) int64) func(*opstats.Ops, *opstats.Row) any {
	return func(o *opstats.Ops, r *opstats.Row) any {
		if !o.HasMemory {
			return nil
		}
		return v(r)
	}
}

var columns = []column{
	{"name", func(_ *opstats.Ops, r *opstats.Row) any { return text(r.Name) }},
	{"count", func(_ *opstats.Ops, r *opstats.Row) any { return r.Count }},
	{"device_type", func(_ *opstats.Ops, r *opstats.Row) any { return r.Device }},
	{"node_id", func(*opstats.Ops, *opstats.Row) any { return 0 }}, // torch's value outside of RPC
	{"self_cpu_time_total_us", func(_ *opstats.Ops, r *opstats.Row) any { return micros(r.SelfCPU) }},
	{"cpu_time_total_us", func(_ *opstats.Ops, r *opstats.Row) any { return micros(r.CPU) }},
	{"self_cuda_time_total_us", cuda(selfDevice)},
	{"cuda_time_total_us", cuda(deviceTime)},
	{"self_xpu_time_total_us", xpu(selfDevice)},
	{"xpu_time_total_us", xpu(deviceTime)},
	{"self_cpu_memory_usage_bytes", memory(func(r *opstats.Row) int64 { return r.SelfMemory })},
	{"cpu_memory_usage_bytes", memory(func(r *opstats.Row) int64 { return r.Memory })},
	{"self_cuda_memory_usage_bytes", cuda(selfDevMemory)},
	{"cuda_memory_usage_bytes", cuda(devMemory)},
	{"self_xpu_memory_usage_bytes", xpu(selfDevMemory)},
	{"xpu_memory_usage_bytes", xpu(devMemory)},
	{"input_shapes", func(_ *opstats.Ops, r *opstats.Row) any { return text(r.Shapes) }},
	{"stack", func(_ *opstats.Ops, r *opstats.Row) any { return text(r.Stack) }},
	{"overload_name", func(*opstats.Ops, *opstats.Row) any { return "" }},
	{"is_async", func(_ *opstats.Ops, r *opstats.Row) any { return r.Async }},
	{"is_legacy", func(*opstats.Ops, *opstats.Row) any { return false }},
}

// Columns returns the names of the columns, in order.
func Columns() []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return names
}

// Write writes the workbook of ops to w. Rows beyond what a sheet can hold, those with
// the least self time, are left out.
func Write(w io.Writer, ops *opstats.Ops, o Options) (err error) {
	b, err := New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Add("", ops, o); err != nil {
		return err
	}
	return b.Write(w)
}

// Book is a workbook of several ranks, each with sheets of its own. The ranks' traces need not be kept. Call Close
// when it is no longer needed.
type Book struct {
	f      *excelize.File
	header int
	sheets map[string]bool // names taken, in small letters
}

// New returns a workbook without sheets.
func New() (*Book, error) {
	f := excelize.NewFile().SetZipWriter(func(w io.Writer) excelize.ZipWriter {
		return &sortedZip{w: w, members: map[string]*bytes.Buffer{}}
	})
	header, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ops workbook: %w", err), f.Close())
	}
	return &Book{f: f, header: header, sheets: map[string]bool{}}, nil
}

// Add adds a rank's sheets. Their names begin with rank, "" for the only one.
func (b *Book) Add(rank string, ops *opstats.Ops, o Options) error {
	for _, s := range []struct {
		name string
		by   opstats.Group
		want bool
	}{
		{"summary", opstats.GroupName, true},
		{"by_shape", opstats.GroupShapes, o.Shapes},
		{"by_stack", opstats.GroupStack, o.Stacks},
	} {
		if !s.want {
			continue
		}
		name := b.name(rank, s.name)
		if err := b.sheet(name); err != nil {
			return fmt.Errorf("ops workbook: sheet %s: %w", name, err)
		}
		if err := writeSheet(b.f, name, ops, ops.Rows(s.by), b.header); err != nil {
			return fmt.Errorf("ops workbook: sheet %s: %w", name, err)
		}
	}
	return nil
}

// firstSheet is the sheet that a new workbook has.
const firstSheet = "Sheet1"

// sheet makes an empty sheet. The first is the one that a workbook begins with: to delete that later, all that was
// streamed to another sheet would be parsed.
func (b *Book) sheet(name string) error {
	if len(b.sheets) == 1 {
		return b.f.SetSheetName(firstSheet, name)
	}
	_, err := b.f.NewSheet(name)
	return err
}

// forbidden are the characters that no sheet's name may have.
var forbidden = strings.NewReplacer(":", "_", "\\", "_", "/", "_", "?", "_", "*", "_", "[", "_", "]", "_", "'", "_")

// name returns a name for a sheet that no other has: RANK KIND, with less of the rank where both do not fit.
func (b *Book) name(rank, kind string) string {
	name := kind
	for n := 1; b.sheets[strings.ToLower(name)] || n == 1; n++ {
		tail := kind
		if n > 1 {
			tail += fmt.Sprintf(" %d", n)
		}
		head := []rune(strings.TrimSpace(forbidden.Replace(strings.ToValidUTF8(rank, "_"))))
		name = tail
		if room := excelize.MaxSheetNameLength - len(tail) - 1; len(head) > 0 {
			name = strings.TrimSpace(string(head[:min(len(head), room)])) + " " + tail
		}
	}
	b.sheets[strings.ToLower(name)] = true
	return name
}

// Write writes the workbook, to which nothing is added any more, to w.
func (b *Book) Write(w io.Writer) error {
	if _, err := b.f.WriteTo(w); err != nil {
		return fmt.Errorf("write ops workbook: %w", err)
	}
	return nil
}

// Close frees what the workbook keeps.
func (b *Book) Close() error {
	if err := b.f.Close(); err != nil {
		return fmt.Errorf("close ops workbook: %w", err)
	}
	return nil
}

func writeSheet(f *excelize.File, name string, ops *opstats.Ops, rows []opstats.Row, header int) error {
	rows = rows[:min(len(rows), maxRows)]
	corner, err := excelize.CoordinatesToCellName(len(columns), len(rows)+1)
	if err != nil {
		return err
	}
	// The filter must be there before the stream, which writes the sheet's tail.
	if err := f.AutoFilter(name, "A1:"+corner, nil); err != nil {
		return err
	}
	s, err := f.NewStreamWriter(name)
	if err != nil {
		return err
	}
	if err := s.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2",
		ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	if err := s.SetColWidth(1, 1, 48); err != nil { // names are long, numbers are not
		return err
	}
	if err := s.SetColWidth(2, len(columns), 14); err != nil {
		return err
	}
	cells := make([]any, len(columns))
	for i, c := range columns {
		cells[i] = excelize.Cell{StyleID: header, Value: c.name}
	}
	if err := s.SetRow("A1", cells); err != nil {
		return err
	}
	for i := range rows {
		for k, c := range columns {
			cells[k] = c.value(ops, &rows[i])
		}
		if err := s.SetRow(fmt.Sprintf("A%d", i+2), cells); err != nil {
			return err
		}
	}
	return s.Flush()
}

// text cuts s to what a cell holds, at a character, and makes it UTF-8.
func text(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxCellText {
		return s
	}
	n := maxCellText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
