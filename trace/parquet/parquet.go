// Package parquet writes tables (package table) as Apache Parquet files, which DuckDB,
// Spark, Trino, ClickHouse, pandas and polars read as they are.
//
// Columns keep the table's order. A column that a table never leaves null is still optional,
// so that files of ranks with and without a stage have one schema. Pages are compressed with
// zstd; text of which few differ is dictionary-encoded. The file's metadata has
// kinetoscope.table, the table's name. Rows lie in groups of RowGroup rows, in the table's
// order. The format is https://parquet.apache.org/docs/file-format/.
package parquet

import (
	"context"
	"fmt"
	"io"
	"slices"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

// RowGroup is the number of rows of a group. Engines read groups in parallel and skip those
// that a condition rules out: many small ones cost overhead, few large ones memory.
const RowGroup = 128 << 10

// batch is how many values are handed to a column at a time; it bounds the scratch memory.
const batch = 4096

// Write writes the rows of all parts, which have the columns of the first, as one file. It
// builds up to workers row groups at a time; the bytes do not depend on their number.
func Write(ctx context.Context, w io.Writer, workers int, parts ...*table.Table) error {
	if len(parts) == 0 {
		return fmt.Errorf("write parquet: no table given")
	}
	for _, p := range parts[1:] {
		if !sameColumns(parts[0], p) {
			return fmt.Errorf("write parquet: table %s of two parts has different columns", parts[0].Name)
		}
	}
	out := parquet.NewGenericWriter[any](w, schemaOf(parts[0]),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}),
		parquet.CreatedBy("kinetoscope", "", ""),
		parquet.KeyValueMetadata("kinetoscope.table", parts[0].Name))
	if err := groups(ctx, out, max(1, workers), parts); err != nil {
		return fmt.Errorf("write parquet table %s: %w", parts[0].Name, err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write parquet table %s: %w", parts[0].Name, err)
	}
	return nil
}

func sameColumns(a, b *table.Table) bool {
	return slices.EqualFunc(a.Columns, b.Columns, func(x, y table.Column) bool {
		return x.Name == y.Name && x.Type == y.Type
	})
}

// span is the rows of one group.
type span struct {
	part     *table.Table
	from, to int
}

// groups fills row groups in parallel and commits them in order.
func groups(ctx context.Context, out *parquet.GenericWriter[any], workers int, parts []*table.Table) error {
	var spans []span
	for _, p := range parts {
		for from := 0; from < p.Rows; from += RowGroup {
			spans = append(spans, span{p, from, min(p.Rows, from+RowGroup)})
		}
	}
	for len(spans) > 0 {
		n := min(workers, len(spans))
		filled := make([]*parquet.ConcurrentRowGroupWriter, n)
		g, ctx := errgroup.WithContext(ctx)
		for k := range n {
			filled[k] = out.BeginRowGroup()
			g.Go(func() error { return fill(ctx, filled[k].ColumnWriters(), spans[k]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, f := range filled {
			if _, err := f.Commit(); err != nil {
				return err
			}
		}
		spans = spans[n:]
	}
	return ctx.Err()
}

func fill(ctx context.Context, columns []*parquet.ColumnWriter, s span) error {
	values := make([]parquet.Value, 0, batch)
	for k := range s.part.Columns {
		c := &s.part.Columns[k]
		for from := s.from; from < s.to; from += batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			values = appendValues(values[:0], c, k, from, min(s.to, from+batch))
			if _, err := columns[k].WriteRowValues(values); err != nil {
				return fmt.Errorf("column %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

func appendValues(dst []parquet.Value, c *table.Column, k, from, to int) []parquet.Value {
	for i := from; i < to; i++ {
		v, ok := parquet.Value{}, false
		switch c.Type {
		case table.Int64:
			var n int64
			if n, ok = c.Int(i); ok {
				v = parquet.Int64Value(n)
			}
		case table.Float64:
			var f float64
			if f, ok = c.Float(i); ok {
				v = parquet.DoubleValue(f)
			}
		case table.Text:
			var s string
			if s, ok = c.Text(i); ok {
				// The writer copies values and never changes them.
				v = parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
			}
		}
		definition := 0
		if ok {
			definition = 1
		}
		dst = append(dst, v.Level(0, definition, k))
	}
	return dst
}

// schemaOf returns the schema of t's files.
func schemaOf(t *table.Table) *parquet.Schema {
	g := ordered{Group: parquet.Group{}}
	for i := range t.Columns {
		c := &t.Columns[i]
		var node parquet.Node
		switch c.Type {
		case table.Int64:
			node = parquet.Int(64)
		case table.Float64:
			node = parquet.Leaf(parquet.DoubleType)
		default:
			node = parquet.String()
			if c.Few {
				node = parquet.Encoded(node, &parquet.RLEDictionary)
			}
		}
		g.Group[c.Name] = parquet.Optional(node)
		g.order = append(g.order, c.Name)
	}
	return parquet.NewSchema(t.Name, g)
}

// ordered is a group whose fields keep their order; a Group sorts them by name.
type ordered struct {
	parquet.Group
	order []string
}

// Fields implements parquet.Node.
func (g ordered) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(g.order, a.Name()) - slices.Index(g.order, b.Name())
	})
	return fields
}
