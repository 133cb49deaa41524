package parquet

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

// edges is a table with what columns may hold: nothing, nulls among values, values of any size, text of which all
// differs under the promise of little, keys without text, pages of one long text.
func edges(rows int) table.Table {
	third := func(i int) bool { return i%3 != 0 }
	texts := []string{"", "a", "b", "a", strings.Repeat("é", 300)}
	key := func(i int) uint32 { return uint32(i % 7) }
	keyed := table.Interned("keyed", "", len(texts), key, func(k uint32) string {
		if int(k) >= len(texts) {
			return "beyond the keys"
		}
		return texts[k]
	})
	return table.Table{Name: "edges", Rows: rows, Columns: []table.Column{
		{Name: "none", Type: table.Int64, Int: func(int) (int64, bool) { return 0, false }},
		{Name: "some", Type: table.Int64, Int: func(i int) (int64, bool) {
			return int64(i) << 40 * int64(i%5-2), third(i)
		}},
		{Name: "all", Type: table.Int64, Int: func(i int) (int64, bool) { return int64(-i), true }},
		{Name: "extremes", Type: table.Int64, Int: func(i int) (int64, bool) {
			return []int64{math.MinInt64, math.MaxInt64, 0}[i%3], true
		}},
		{Name: "float", Type: table.Float64, Float: func(i int) (float64, bool) { return float64(i) / 7, third(i) }},
		table.Texts("no_text", "", func(int) string { return "" }),
		table.Texts("constant", "", func(int) string { return "rank 0" }),
		table.Texts("all_differ", "", func(i int) string { return fmt.Sprint("name ", i) }),
		keyed,
		{Name: "long", Type: table.Text, Text: func(i int) (string, bool) {
			if i%1000 == 1 {
				return strings.Repeat("x", pageText/3), true
			}
			return strings.Repeat("y", i%7), third(i)
		}},
		{
			Name: "appended", Type: table.Text,
			Text: func(i int) (string, bool) { return fmt.Sprint(i), third(i) },
			Append: func(dst []byte, i int) []byte {
				if !third(i) {
					return dst
				}
				return fmt.Append(dst, i)
			},
		},
	}}
}

// TestEdges: a table of several pages and groups comes back, whatever its columns hold, and its bounds are true.
func TestEdges(t *testing.T) {
	for _, rows := range []int{0, 1, 2, 9, pageRows, pageRows + 1, RowGroup + pageRows/2} {
		e := edges(rows)
		var out bytes.Buffer
		if err := Write(t.Context(), &out, 2, &e); err != nil {
			t.Fatal(err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if f.NumRows() != int64(rows) {
			t.Fatalf("%d rows, want %d", f.NumRows(), rows)
		}
		at := 0
		for _, g := range f.RowGroups() {
			r := g.Rows()
			buf := make([]parquet.Row, 1)
			for range g.NumRows() {
				if n, err := r.ReadRows(buf); n != 1 {
					t.Fatalf("of %d rows: row %d is missing: %v", rows, at, err)
				}
				if compare(t, fmt.Sprint(rows, " rows"), at, buf[0], e.Row(at)); t.Failed() {
					return
				}
				at++
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		for n, g := range f.Metadata().RowGroups {
			for k := range g.Columns {
				bounded(t, &e, k, n, g.NumRows, g.Columns[k].MetaData.Statistics.NullCount,
					f.RowGroups()[n].ColumnChunks()[k].(*parquet.FileColumnChunk))
			}
		}
	}
}

// bounded compares what group n says of its column k with the column.
func bounded(t *testing.T, e *table.Table, k, n int, rows, nulls int64, c *parquet.FileColumnChunk) {
	t.Helper()
	col := &e.Columns[k]
	least, most, ok := c.Bounds()
	var want int64
	for i := n * RowGroup; i < n*RowGroup+int(rows); i++ {
		v, there := col.Value(i)
		if !there {
			want++
			continue
		}
		switch v := v.(type) {
		case int64:
			if !ok || v < least.Int64() || v > most.Int64() {
				t.Fatalf("column %s row %d: %d is not in %v to %v", col.Name, i, v, least, most)
			}
		case string:
			if col.Few && (!ok || v < string(least.ByteArray()) || v > string(most.ByteArray())) {
				t.Fatalf("column %s row %d: %q is not in %v to %v", col.Name, i, v, least, most)
			}
		}
	}
	if nulls != want {
		t.Errorf("column %s: %d nulls said, %d there", col.Name, nulls, want)
	}
}
