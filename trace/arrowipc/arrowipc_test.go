package arrowipc

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/kinetoscope/kinetoscope/trace/table"
)

// rows makes a table in which every third value is null.
func rows(n int) *table.Table {
	null := func(i int) bool { return i%3 == 2 }
	return &table.Table{Name: "x", Rows: n, Columns: []table.Column{
		{Name: "i", Doc: "a number", Type: table.Int64, Int: func(i int) (int64, bool) {
			return int64(i) << 40, !null(i)
		}},
		{Name: "f", Type: table.Float64, Float: func(i int) (float64, bool) { return float64(i) / 2, !null(i) }},
		{Name: "t", Type: table.Text, Text: func(i int) (string, bool) { return "é" + strconv.Itoa(i), !null(i) }},
	}}
}

func check(t *testing.T, rec arrow.RecordBatch, first int) {
	t.Helper()
	for i := range int(rec.NumRows()) {
		at := first + i
		n, f, s := rec.Column(0).(*array.Int64), rec.Column(1).(*array.Float64), rec.Column(2).(*array.String)
		if at%3 == 2 {
			if !n.IsNull(i) || !f.IsNull(i) || !s.IsNull(i) {
				t.Fatalf("row %d is not null", at)
			}
			continue
		}
		if n.Value(i) != int64(at)<<40 || f.Value(i) != float64(at)/2 || s.Value(i) != "é"+strconv.Itoa(at) {
			t.Fatalf("row %d: %d %g %s", at, n.Value(i), f.Value(i), s.Value(i))
		}
	}
}

func TestStreamAndFile(t *testing.T) {
	const n = batchRows + 10
	for _, file := range []bool{false, true} {
		var out bytes.Buffer
		w := NewStream(&out)
		if file {
			w = NewFile(&out)
		}
		for range 2 {
			if err := w.Add(t.Context(), rows(n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var list []arrow.RecordBatch
		if file {
			r, err := ipc.NewFileReader(bytes.NewReader(out.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			for i := range r.NumRecords() {
				rec, err := r.RecordBatchAt(i)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, rec)
			}
		} else {
			r, err := ipc.NewReader(&out)
			if err != nil {
				t.Fatal(err)
			}
			for r.Next() {
				rec := r.RecordBatch()
				rec.Retain()
				list = append(list, rec)
			}
			if doc, ok := r.Schema().Field(0).Metadata.GetValue("doc"); !ok || doc != "a number" {
				t.Errorf("doc %q", doc)
			}
		}
		if len(list) != 4 {
			t.Fatalf("%d batches", len(list))
		}
		for i, rec := range list {
			check(t, rec, i%2*batchRows)
		}
	}
}

func TestRefuses(t *testing.T) {
	var out bytes.Buffer
	if err := NewStream(&out).Close(); err == nil {
		t.Error("a stream of nothing: no error")
	}
	w := NewStream(&out)
	if err := w.Add(t.Context(), rows(1)); err != nil {
		t.Fatal(err)
	}
	other := rows(1)
	other.Columns = other.Columns[:2]
	if err := w.Add(t.Context(), other); err == nil {
		t.Error("other columns: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Add(ctx, rows(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}
