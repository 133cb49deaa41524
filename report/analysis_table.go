package report

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Table is an analysis as rows that a person reads and a program reads: each cell has a
// text with its unit and a plain number.
type Table struct {
	Name    string // by which a user chooses it: "kernels"
	Title   string // heading for a reader
	Note    string // behind the heading
	Columns []Column
	Limit   int    // rows shown to a reader; 0: TextOptions.Rows
	What    string // what a row is, in the singular, for "12 more kernels"
	// Picture, if not nil, draws lines above the table.
	Picture func(o TextOptions) []string

	rows  [][]Cell // made
	later int      // rows behind them that are not made yet
	row   func(i int) []Cell
}

// Len is how many rows the table has.
func (t *Table) Len() int { return len(t.rows) + t.later }

// Rows are all rows of the table, one cell a column.
func (t *Table) Rows() [][]Cell { return t.first(t.Len()) }

// first are the first n rows.
func (t *Table) first(n int) [][]Cell {
	for len(t.rows) < n {
		t.rows = append(t.rows, t.row(len(t.rows)))
		t.later--
	}
	return t.rows[:n]
}

// Cut leaves the table its first n rows.
func (t *Table) Cut(n int) {
	if n = min(n, t.Len()); n <= len(t.rows) {
		t.rows, t.later = t.rows[:n], 0
		return
	}
	t.later = n - len(t.rows)
}

// Later gives a table without rows n of them, each made when somebody asks for it: a trace may
// have as many names as slices, of which a reader is shown some. It is the table's last rows.
func (t *Table) Later(n int, row func(i int) []Cell) {
	made := len(t.rows)
	t.later, t.row = n, func(i int) []Cell { return row(i - made) }
}

// Most bounds the rows that a reader is shown to n, and returns t.
func (t *Table) Most(n int) *Table {
	t.Limit = n
	return t
}

// flat numbers the rows of several ranks one after the other: at is the rank and its row of row i.
func flat[T any](list []Ranked[T], rows func(*T) int) (n int, at func(i int) (rank, row int)) {
	return joined(len(list), func(k int) int { return rows(&list[k].Value) })
}

// joined numbers the rows of lists one after the other: at is the list and its row of row i.
func joined(lists int, rows func(list int) int) (n int, at func(i int) (list, row int)) {
	ends := make([]int, lists)
	for k := range ends {
		n += rows(k)
		ends[k] = n
	}
	return n, func(i int) (int, int) {
		k, found := slices.BinarySearch(ends, i)
		for found && k < len(ends) && ends[k] <= i { // lists without rows end where others do
			k++
		}
		if k > 0 {
			i -= ends[k-1]
		}
		return k, i
	}
}

// Column describes a column. Key heads it in CSV and says the unit ("self_cpu_ns"),
// Title heads it for a reader. A column without one of them is left out there, unless no column
// of the table has one: then the other heads them, so that no table comes out empty.
type Column struct {
	Key, Title string
	Left       bool // align left; numbers align right
	Flex       bool // may be cut to make the table fit
	Drop       int  // in a narrow terminal columns with the highest Drop go first; 0: never
}

// Cell is one value for a reader and for a program.
type Cell struct{ Text, Raw string }

// NoValue is the cell of what does not apply.
var NoValue = Cell{"–", ""}

// Ns is a duration.
func Ns(ns int64) Cell { return Cell{units.Duration(float64(ns)), strconv.FormatInt(ns, 10)} }

// MeanNs is a duration in ns with a fraction.
func MeanNs(ns float64) Cell { return Cell{units.Duration(ns), number(ns)} }

// Int is a whole number.
func Int[T int | int64 | int32 | uint32](n T) Cell {
	return Cell{units.Count(int64(n)), strconv.FormatInt(int64(n), 10)}
}

// ID is a number that names something: it is never shortened.
func ID[T int | int64](n T) Cell {
	s := strconv.FormatInt(int64(n), 10)
	return Cell{s, s}
}

// Bytes is an amount of memory.
func Bytes(n int64) Cell {
	if n < 0 {
		return Cell{"-" + units.Bytes(-n), strconv.FormatInt(n, 10)}
	}
	return Cell{units.Bytes(n), strconv.FormatInt(n, 10)}
}

// Share is a part of 1.
func Share(v float64) Cell { return Cell{units.Share(v), number(v)} }

// Num is a number with three digits for a reader.
func Num(v float64) Cell {
	if math.Abs(v) >= 10_000 {
		return Cell{units.Scaled(v, ""), number(v)}
	}
	return Cell{units.Digits(v), number(v)}
}

// Rate is a bandwidth in GB/s.
func Rate(gbs float64) Cell { return Cell{units.Rate(gbs), number(gbs)} }

// Str is a text.
func Str(s string) Cell { return Cell{neutral.Plain(s), s} }

// Kernel is the name of device work, without what tells nothing for a reader.
func Kernel(s string) Cell { return Cell{KernelName(neutral.Plain(s)), s} }

// Op is the name of host work, without what tells nothing for a reader.
func Op(s string) Cell { return Cell{OpName(neutral.Plain(s)), s} }

// If is c where it applies and NoValue else.
func If(ok bool, c Cell) Cell {
	if ok {
		return c
	}
	return NoValue
}

// Hide shows a reader nothing if c says nothing; a program still gets the number.
func Hide(nothing bool, c Cell) Cell {
	if nothing {
		c.Text = NoValue.Text
	}
	return c
}

// number writes v as short as it can be read back.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Add appends a row, one cell a column.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// headed returns the columns with keys and titles, for a table whose author gave one kind alone.
func (t *Table) headed() []Column {
	keys := slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Key != "" })
	titles := slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Title != "" })
	if keys == titles {
		return t.Columns
	}
	out := slices.Clone(t.Columns)
	for i := range out {
		out[i].Key, out[i].Title = cmp.Or(out[i].Key, out[i].Title), cmp.Or(out[i].Title, out[i].Key)
	}
	return out
}

// CSV writes the table with a header row; durations are in ns, shares in 0…1.
func (t *Table) CSV(w io.Writer) error {
	columns := t.headed()
	c := csv.NewWriter(w)
	row := make([]string, 0, len(t.Columns))
	for _, col := range columns {
		if col.Key != "" {
			row = append(row, col.Key)
		}
	}
	c.Write(row)
	for _, r := range t.Rows() {
		row = row[:0]
		for i, col := range columns {
			if col.Key != "" {
				row = append(row, neutral.CSV(r[i].Raw))
			}
		}
		c.Write(row)
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("write table %s: %w", t.Name, err)
	}
	return nil
}

// limit is how many rows a reader gets.
func (t *Table) limit(o TextOptions) int {
	n := o.Rows
	if t.Limit > 0 {
		n = t.Limit
	}
	switch {
	case n == 0:
		n = DefaultRows
	case n < 0:
		return t.Len()
	}
	return min(n, t.Len())
}

// forText lays the table out; columns that hold nothing at all are left out.
func (t *Table) forText(o TextOptions) (*table, int) {
	n := t.limit(o)
	rows := t.named(t.first(n))
	out := &table{}
	var keep []int
	for i, c := range t.headed() {
		blank := n > 0 && !slices.ContainsFunc(rows, func(r []Cell) bool {
			return r[i].Text != "" && r[i].Text != NoValue.Text
		})
		if c.Title != "" && !blank {
			keep = append(keep, i)
			out.cols = append(out.cols, column{title: c.Title, left: c.Left, flex: c.Flex, drop: c.Drop})
		}
	}
	for _, r := range rows {
		cells := make([]string, len(keep))
		for k, i := range keep {
			cells[k] = r[i].Text
		}
		out.add(cells...)
	}
	out.makeRoom(o.Width)
	return out, t.Len() - n
}

// named returns rows with trace.NoName in the cells of the column of names that have none: what is left blank looks
// like a line without a beginning.
func (t *Table) named(rows [][]Cell) [][]Cell {
	at := slices.IndexFunc(t.headed(), func(c Column) bool { return c.Key == "name" && c.Flex })
	if at < 0 || !slices.ContainsFunc(rows, func(r []Cell) bool { return r[at].Text == "" }) {
		return rows
	}
	out := slices.Clone(rows)
	for i, r := range out {
		if r[at].Text == "" {
			out[i] = slices.Clone(r)
			out[i][at].Text = trace.NoName
		}
	}
	return out
}

// goodName is the width that names of kernels and operators get before the columns that
// matter least.
const goodName = 50

// makeRoom drops the columns that matter least until names have room.
func (t *table) makeRoom(width int) {
	for {
		total, worst := tableIndent-1, -1
		for c, col := range t.cols {
			w := utf8.RuneCountInString(col.title)
			for _, r := range t.rows {
				w = max(w, utf8.RuneCountInString(r[c]))
			}
			if col.flex {
				good := goodName
				if col.title == "rank" {
					good = minName
				}
				w = min(w, max(good, utf8.RuneCountInString(col.title)))
			}
			total += w + 1
			if col.drop > 0 && (worst < 0 || col.drop > t.cols[worst].drop) {
				worst = c
			}
		}
		if total <= width || worst < 0 {
			return
		}
		t.cols = slices.Delete(t.cols, worst, worst+1)
		for i := range t.rows {
			t.rows[i] = slices.Delete(t.rows[i], worst, worst+1)
		}
	}
}

// Section is what Page writes: sentences, tables, findings.
type Section struct {
	Lines  []string // above the tables
	Tables []*Table
}

// Page writes a title, then sections for a reader at a terminal. Tables without rows are
// left out.
func Page(w io.Writer, title, note string, sections []Section, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults()}
	p.page(title, note, sections)
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (p *printer) page(title, note string, sections []Section) {
	if title != "" {
		p.heading(title, note)
	}
	for _, s := range sections {
		for _, l := range s.Lines {
			p.para(l)
		}
		for _, t := range s.Tables {
			p.analysis(t)
		}
	}
}

// heading writes the page's first line, the note on a line of its own if it does not fit.
func (p *printer) heading(title, note string) {
	title, note = p.plain(neutral.Plain(title)), p.plain(neutral.Plain(note))
	if utf8.RuneCountInString(title)+utf8.RuneCountInString(note)+2 <= p.o.Width {
		p.line(strings.TrimRight(p.bold(title)+"  "+note, " "))
		return
	}
	p.line(p.bold(cut(title, p.o.Width, p.plain("…"))))
	p.para(note)
}

// para writes a sentence, wrapped.
func (p *printer) para(s string) {
	for _, l := range wrap(p.plain(neutral.Plain(s)), p.o.Width-tableIndent) {
		p.line("  " + cut(l, p.o.Width-tableIndent, p.plain("…")))
	}
}

// analysis writes one table.
func (p *printer) analysis(t *Table) {
	if t.Len() == 0 {
		return
	}
	p.section(neutral.Plain(t.Title), neutral.Plain(t.Note))
	if t.Picture != nil {
		for _, l := range t.Picture(p.o) {
			p.line(l)
		}
	}
	text, more := t.forText(p.o)
	p.table(text)
	what := t.What
	if what == "" {
		what = "row"
	}
	p.more(more, what)
}

// Sort orders the rows by the column with this key: numbers by size, texts by alphabet;
// rows without a value come last. Equal rows keep their order.
func (t *Table) Sort(key string, descending bool) error {
	columns := t.headed()
	at := slices.IndexFunc(columns, func(c Column) bool { return c.Key == key && key != "" })
	if at < 0 {
		var keys []string
		for _, c := range columns {
			if c.Key != "" {
				keys = append(keys, c.Key)
			}
		}
		return fmt.Errorf("table %s has no column %q: it has %s", t.Name, key, strings.Join(keys, ", "))
	}
	slices.SortStableFunc(t.Rows(), func(a, b []Cell) int {
		x, y := a[at].Raw, b[at].Raw
		if (x == "") != (y == "") {
			return cmp.Compare(len(y), len(x))
		}
		v, errX := strconv.ParseFloat(x, 64)
		w, errY := strconv.ParseFloat(y, 64)
		switch {
		case errX != nil || errY != nil:
			if c := strings.Compare(x, y); !descending {
				return -c
			} else {
				return c // names read best from a to z
			}
		case descending:
			return cmp.Compare(w, v)
		}
		return cmp.Compare(v, w)
	})
	return nil
}
