// Package parquet writes tables (package table) as Apache Parquet files, which DuckDB,
// Spark, Trino, ClickHouse, pandas and polars read as they are.
//
// Columns keep the table's order. A column that a table never leaves null is still optional,
// so that files of ranks with and without a stage have one schema. Rows lie in groups of
// RowGroup rows, in the table's order. Numbers are DELTA_BINARY_PACKED, text of which few
// differ is RLE_DICTIONARY, other text DELTA_LENGTH_BYTE_ARRAY; pages are of version 2 and
// compressed with zstd where that saves something. Every group says the least and the greatest value
// of its numbers and dictionaries, so that engines skip groups. The file's metadata has
// kinetoscope.table, the table's name. The format is https://parquet.apache.org/docs/file-format/.
package parquet

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"golang.org/x/sync/errgroup"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

// RowGroup is the number of rows of a group. Engines read groups in parallel and skip those
// that a condition rules out: many small ones cost overhead, few large ones memory.
const RowGroup = 128 << 10

// magic begins and ends a file.
const magic = "PAR1"

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
	f := &file{w: w}
	f.write([]byte(magic))
	if err := f.groups(ctx, max(1, workers), parts); err != nil {
		return fmt.Errorf("write parquet table %s: %w", parts[0].Name, err)
	}
	if f.footer(parts[0]); f.err != nil {
		return fmt.Errorf("write parquet table %s: %w", parts[0].Name, f.err)
	}
	return nil
}

func sameColumns(a, b *table.Table) bool {
	return slices.EqualFunc(a.Columns, b.Columns, func(x, y table.Column) bool {
		return x.Name == y.Name && x.Type == y.Type
	})
}

// file is a file that is being written.
type file struct {
	w    io.Writer
	at   int64 // bytes written
	rows int64
	meta []format.RowGroup
	err  error // the first of w
}

func (f *file) write(b []byte) {
	if f.err == nil {
		_, f.err = f.w.Write(b)
		f.at += int64(len(b))
	}
}

// span is the rows of one group.
type span struct {
	part     *table.Table
	from, to int
}

// groups encodes row groups in parallel and writes them in order.
func (f *file) groups(ctx context.Context, workers int, parts []*table.Table) error {
	var spans []span
	for _, p := range parts {
		for from := 0; from < p.Rows; from += RowGroup {
			spans = append(spans, span{p, from, min(p.Rows, from+RowGroup)})
		}
	}
	encoders := make([]*encoder, min(workers, len(spans)))
	for k := range encoders {
		var err error
		if encoders[k], err = newEncoder(); err != nil {
			return err
		}
	}
	for len(spans) > 0 {
		n := min(workers, len(spans))
		g, ctx := errgroup.WithContext(ctx)
		for k := range n {
			g.Go(func() error { return encoders[k].group(ctx, spans[k]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for k := range n {
			if f.group(encoders[k].chunks, spans[k]); f.err != nil {
				return f.err
			}
		}
		spans = spans[n:]
	}
	return ctx.Err()
}

// group writes the chunks of one group.
func (f *file) group(chunks []chunk, s span) {
	g := format.RowGroup{NumRows: int64(s.to - s.from), FileOffset: f.at, Ordinal: int16(len(f.meta))}
	for k := range chunks {
		c := &chunks[k]
		m := c.meta
		m.PathInSchema = []string{s.part.Columns[k].Name}
		m.TotalCompressedSize = int64(len(c.pages))
		m.DataPageOffset = f.at + int64(c.dictionary)
		if c.dictionary > 0 {
			m.DictionaryPageOffset = f.at
		}
		g.TotalByteSize += m.TotalUncompressedSize
		g.TotalCompressedSize += m.TotalCompressedSize
		g.Columns = append(g.Columns, format.ColumnChunk{MetaData: m})
		f.write(c.pages)
	}
	f.rows += g.NumRows
	f.meta = append(f.meta, g)
}

// footer ends the file.
func (f *file) footer(t *table.Table) {
	m := format.FileMetaData{
		Version: 2, Schema: schemaOf(t), NumRows: f.rows, RowGroups: f.meta, CreatedBy: "kinetoscope",
		KeyValueMetadata: []format.KeyValue{{Key: "kinetoscope.table", Value: t.Name}},
	}
	for range t.Columns {
		m.ColumnOrders = append(m.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	b, err := thrift.Marshal(new(thrift.CompactProtocol), &m)
	if err != nil {
		f.err = err
		return
	}
	n := len(b)
	f.write(append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24)))
	f.write([]byte(magic))
}

// schemaOf returns the schema of t's files.
func schemaOf(t *table.Table) []format.SchemaElement {
	out := []format.SchemaElement{{Name: t.Name, NumChildren: thrift.New(int32(len(t.Columns)))}}
	for i := range t.Columns {
		c := &t.Columns[i]
		e := format.SchemaElement{Name: c.Name, Type: thrift.New(physical(c.Type)),
			RepetitionType: thrift.New(format.Optional)}
		switch c.Type {
		case table.Int64:
			e.LogicalType.Value = &format.IntType{BitWidth: 64, IsSigned: true}
			e.ConvertedType = thrift.New(deprecated.Int64)
		case table.Text:
			e.LogicalType.Value = &format.StringType{}
			e.ConvertedType = thrift.New(deprecated.UTF8)
		case table.Float64:
		}
		out = append(out, e)
	}
	return out
}

// physical is the type in which values of t are stored.
func physical(t table.Type) format.Type {
	switch t {
	case table.Int64:
		return format.Int64
	case table.Float64:
		return format.Double
	case table.Text:
	}
	return format.ByteArray
}
