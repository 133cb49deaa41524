package profiler

import (
	"bytes"
	"io"
	"testing"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

func TestSmoke(t *testing.T) {
	r := New(Config{Process: "p"})
	tr := r.Track("main")
	var buf bytes.Buffer
	if err := r.Start(StartOptions{Out: &buf, RecordShapes: true, WithFLOPs: true, WithMemory: true}); err != nil {
		t.Fatal(err)
	}
	op, k := Intern("op"), Intern("k")
	s := tr.Begin(op, CategoryOp).Shape(Float32, 2, 3).FLOPs(7).Text(k, "hello")
	in := tr.Begin(k, CategoryAnnotation).Int(k, -5)
	s.Int(k, 9)
	in.End()
	tr.Instant(op, CategoryOp).FlowOut(77)
	s.End()
	tr.Begin(op, CategoryOp)
	st, err := r.Stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", st)
	rd, err := format.NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", rd.Header())
	for {
		g, err := rd.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", g)
	}
	t.Logf("%+v %+v", rd.End(), rd.Cut())
}

func BenchmarkDisabled(b *testing.B) {
	tr := New(Config{}).Track("x")
	n := Intern("op")
	for i := 0; i < b.N; i++ {
		tr.Begin(n, CategoryOp).End()
	}
}

func BenchmarkOp(b *testing.B) {
	r := New(Config{})
	tr := r.Track("x")
	r.Start(StartOptions{Out: io.Discard})
	n := Intern("op")
	b.ReportAllocs()
	for b.Loop() {
		tr.Begin(n, CategoryOp).End()
	}
	st, _ := r.Stop()
	b.ReportMetric(float64(st.Drops)/float64(b.N), "drops/op")
}
