package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

func sample(n int, rank int) *trace.Trace {
	tr := trace.New()
	tr.Meta.Rank, tr.Meta.StageID = rank, -1
	host := tr.AddTrack(trace.Track{Process: "python", TID: 3, Device: -1, Stream: -1})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Stream: 7})
	for i := range int64(n) {
		tr.AddSlice(trace.Slice{Start: i * 1000, Dur: 500, Name: fmt.Sprintf("op%d", i%3), Cat: trace.CatCPUOp,
			Track: host, Corr: trace.NoCorrelation, Args: []byte(`{"External id": 5}`)})
		tr.AddSlice(trace.Slice{Start: i*1000 + 100, Dur: 700, Name: "gemm", Cat: trace.CatKernel, Track: gpu, Corr: i})
	}
	tr.AddCounter(5, "memory", "bytes", host, 1.5)
	tr.AddFlow(7, 1<<63, "ac2g", "ac2g", host, true)
	tr.AddInstant(9, "[memory]", trace.CatCPUInstant, host, []byte(`{"Bytes": 4}`))
	return tr
}

// Every table comes back with its columns in order, its values and its nulls.
func TestRoundTrip(t *testing.T) {
	a := table.Of(table.Rank{Trace: sample(100, 0), Name: "a"})
	b := table.Of(table.Rank{Trace: sample(50, -1), Name: "b"})
	for i := range a {
		var out bytes.Buffer
		if err := Write(t.Context(), &out, 2, &a[i], &b[i]); err != nil {
			t.Fatal(a[i].Name, err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(a[i].Name, err)
		}
		if name, _ := f.Lookup("kinetoscope.table"); name != a[i].Name || f.NumRows() != int64(a[i].Rows+b[i].Rows) {
			t.Errorf("table %q of %d rows, want %q of %d", name, f.NumRows(), a[i].Name, a[i].Rows+b[i].Rows)
		}
		for k, field := range f.Schema().Fields() {
			if field.Name() != a[i].Columns[k].Name {
				t.Errorf("%s: column %d is %q, want %q", a[i].Name, k, field.Name(), a[i].Columns[k].Name)
			}
		}
		at := 0
		for _, g := range f.RowGroups() {
			rows := g.Rows()
			buf := make([]parquet.Row, 1)
			for range g.NumRows() {
				if n, _ := rows.ReadRows(buf); n != 1 {
					t.Fatalf("%s: row %d is missing", a[i].Name, at)
				}
				want := a[i].Row
				row := at
				if at >= a[i].Rows {
					want, row = b[i].Row, at-a[i].Rows
				}
				compare(t, a[i].Name, row, buf[0], want(row))
				at++
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func compare(t *testing.T, name string, row int, got parquet.Row, want []any) {
	t.Helper()
	for k, v := range got {
		var g any
		switch {
		case v.IsNull():
		case v.Kind() == parquet.Int64:
			g = v.Int64()
		case v.Kind() == parquet.Double:
			g = v.Double()
		default:
			g = string(v.ByteArray())
		}
		if g != want[k] {
			t.Errorf("%s row %d column %d: %v, want %v", name, row, k, g, want[k])
		}
	}
}

// The file does not depend on how many row groups are built at a time.
func TestWorkersMakeNoDifference(t *testing.T) {
	tables := table.Of(table.Rank{Trace: sample(2*RowGroup, 0), Name: "a"})
	var one, four bytes.Buffer
	if err := errors.Join(Write(t.Context(), &one, 1, &tables[0]),
		Write(t.Context(), &four, 4, &tables[0])); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), four.Bytes()) {
		t.Errorf("%d and %d bytes differ", one.Len(), four.Len())
	}
}

func TestWrong(t *testing.T) {
	tables := table.Of(table.Rank{Trace: sample(3, 0), Name: "a"})
	if err := Write(t.Context(), &bytes.Buffer{}, 1); err == nil {
		t.Error("no table: no error")
	}
	if err := Write(t.Context(), &bytes.Buffer{}, 1, &tables[0], &tables[1]); err == nil {
		t.Error("different tables: no error")
	}
	if err := Write(t.Context(), failing{}, 1, &tables[0]); err == nil {
		t.Error("no error of the writer")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func BenchmarkWrite(b *testing.B) {
	tables := table.Of(table.Rank{Trace: sample(250_000, 0), Name: "a"})
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		if err := Write(b.Context(), &out, 2, &tables[0]); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(out.Len()))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500_000, "ns/row")
}
