// Package arrowipc writes tables (package table) in Apache Arrow's IPC formats, the file for
// keeping and the stream for handing to another program, which pyarrow, pandas, polars, R and
// DuckDB read without parsing. Columns keep the table's order and are all nullable, as in
// package parquet. The formats are https://arrow.apache.org/docs/format/Columnar.html.
package arrowipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

// batchRows is the number of rows of a batch: readers hold one at a time.
const batchRows = 64 << 10

// batches writes batches of rows.
type batches interface {
	Write(rec arrow.RecordBatch) error
	Close() error
}

// Stream is an Arrow stream that is being written. Its schema is that of the first table.
type Stream struct {
	w       io.Writer
	out     batches
	schema  *arrow.Schema
	columns []table.Column
	file    bool
}

// NewStream writes to w as the tables come.
func NewStream(w io.Writer) *Stream { return &Stream{w: w} }

// NewFile writes an Arrow file, compressed with zstd.
func NewFile(w io.Writer) *Stream { return &Stream{w: w, file: true} }

// errNothing reports that no table was added: without one there is no schema to write.
var errNothing = errors.New("write Arrow: no table given")

// Add writes the rows of a table, whose columns are those of the first.
func (s *Stream) Add(ctx context.Context, t *table.Table) error {
	if s.out == nil {
		if err := s.begin(t); err != nil {
			return err
		}
	}
	if !slices.EqualFunc(s.columns, t.Columns, func(x, y table.Column) bool {
		return x.Name == y.Name && x.Type == y.Type
	}) {
		return fmt.Errorf("write Arrow: table %s of two parts has different columns", t.Name)
	}
	for from := 0; from < t.Rows; from += batchRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec := s.batch(t, from, min(t.Rows, from+batchRows))
		err := s.out.Write(rec)
		rec.Release()
		if err != nil {
			return fmt.Errorf("write Arrow table %s: %w", t.Name, err)
		}
	}
	return nil
}

// Close completes what was written; the writer stays open.
func (s *Stream) Close() error {
	if s.out == nil {
		return errNothing
	}
	if err := s.out.Close(); err != nil {
		return fmt.Errorf("write Arrow: %w", err)
	}
	return nil
}

func (s *Stream) begin(t *table.Table) error {
	s.columns = t.Columns
	fields := make([]arrow.Field, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		fields[i] = arrow.Field{Name: c.Name, Type: typeOf(c.Type), Nullable: true,
			Metadata: arrow.NewMetadata([]string{"doc"}, []string{c.Doc})}
	}
	about := arrow.NewMetadata([]string{"kinetoscope.table"}, []string{t.Name})
	s.schema = arrow.NewSchema(fields, &about)
	if !s.file {
		s.out = ipc.NewWriter(s.w, ipc.WithSchema(s.schema))
		return nil
	}
	out, err := ipc.NewFileWriter(s.w, ipc.WithSchema(s.schema), ipc.WithZstd())
	if err != nil {
		return fmt.Errorf("write Arrow: %w", err)
	}
	s.out = out
	return nil
}

func typeOf(t table.Type) arrow.DataType {
	switch t {
	case table.Int64:
		return arrow.PrimitiveTypes.Int64
	case table.Float64:
		return arrow.PrimitiveTypes.Float64
	default:
		return arrow.BinaryTypes.String
	}
}

// batch makes a batch of rows from … to-1.
func (s *Stream) batch(t *table.Table, from, to int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
	defer b.Release()
	b.Reserve(to - from)
	for k := range t.Columns {
		c := &t.Columns[k]
		switch f := b.Field(k).(type) {
		case *array.Int64Builder:
			fill(from, to, c.Int, f.Append, f.AppendNull)
		case *array.Float64Builder:
			fill(from, to, c.Float, f.Append, f.AppendNull)
		case *array.StringBuilder:
			fill(from, to, c.Text, f.Append, f.AppendNull)
		}
	}
	return b.NewRecordBatch()
}

func fill[T any](from, to int, at func(int) (T, bool), add func(T), null func()) {
	for i := from; i < to; i++ {
		if v, ok := at(i); ok {
			add(v)
		} else {
			null()
		}
	}
}
