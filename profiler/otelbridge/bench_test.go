package otelbridge

import (
	"context"
	"io"
	"log/slog"
	"runtime/trace"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/kinetoscope/kinetoscope/internal/usage"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// The benchmarks of docs/recorder.md: what one span (begin and end) costs, by tool. They
// stand here because this package alone may import OpenTelemetry.

var (
	op  = profiler.Intern("aten::mm")
	key = profiler.Intern("step")
)

// cpu reports the processor time of the whole process per operation, collector and
// exporter included: on a busy machine it says more than the time on the wall.
func cpu(b *testing.B) func() {
	start := usage.Own().CPU
	return func() { b.ReportMetric(float64(usage.Own().CPU-start)/float64(b.N), "cpu-ns/op") }
}

func recorder(b *testing.B, o profiler.StartOptions) *profiler.Recorder {
	b.Helper()
	r := profiler.New(profiler.Config{})
	o.Out = io.Discard
	if err := r.Start(o); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		st, err := r.Stop()
		if err != nil {
			b.Error(err)
		}
		if b.N > 1000 {
			b.ReportMetric(float64(st.Drops)/float64(b.N), "drops/op")
		}
	})
	b.ReportAllocs()
	b.ResetTimer()
	return r
}

func BenchmarkSpan(b *testing.B) {
	b.Run("disabled", func(b *testing.B) {
		defer cpu(b)()
		t := profiler.New(profiler.Config{}).Track("t")
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).End()
		}
	})
	b.Run("enabled", func(b *testing.B) {
		defer cpu(b)()
		t := recorder(b, profiler.StartOptions{}).Track("t")
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).End()
		}
	})
	b.Run("enabled,one arg", func(b *testing.B) {
		defer cpu(b)()
		t := recorder(b, profiler.StartOptions{}).Track("t")
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).Int(key, int64(i)).End()
		}
	})
	b.Run("enabled,args", func(b *testing.B) {
		defer cpu(b)()
		t := recorder(b, profiler.StartOptions{RecordShapes: true, WithFLOPs: true}).Track("t")
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).Shape(profiler.Float32, 8, 512).Shape(profiler.Float32, 512,
				512).FLOPs(1<<22).Int(key, int64(i)).End()
		}
	})
	b.Run("enabled,parallel", func(b *testing.B) {
		defer cpu(b)()
		r := recorder(b, profiler.StartOptions{})
		b.RunParallel(func(pb *testing.PB) {
			t := r.Track("t")
			for pb.Next() {
				t.Begin(op, profiler.CategoryOp).End()
			}
		})
	})
	b.Run("flight", func(b *testing.B) {
		defer cpu(b)()
		r := profiler.New(profiler.Config{})
		if err := r.FlightStart(profiler.FlightOptions{}); err != nil {
			b.Fatal(err)
		}
		defer r.FlightStop()
		t := r.Track("t")
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).End()
		}
	})
	b.Run("enabled,monotonic clock", func(b *testing.B) {
		defer cpu(b)()
		r := profiler.New(profiler.Config{Clock: profiler.ClockMonotonic})
		if err := r.Start(profiler.StartOptions{Out: io.Discard}); err != nil {
			b.Fatal(err)
		}
		defer r.Stop()
		t := r.Track("t")
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).End()
		}
	})
	b.Run("region", func(b *testing.B) {
		defer cpu(b)()
		ctx := profiler.NewContext(context.Background(), recorder(b, profiler.StartOptions{}))
		for i := 0; i < b.N; i++ {
			_, r := profiler.Region(ctx, op)
			r.End()
		}
	})
	b.Run("stack", func(b *testing.B) {
		defer cpu(b)()
		t := recorder(b, profiler.StartOptions{WithStack: true}).Track("t")
		for i := 0; i < b.N; i++ {
			t.Begin(op, profiler.CategoryOp).Stack().End()
		}
	})
}

func BenchmarkOther(b *testing.B) {
	b.Run("runtime-trace region", func(b *testing.B) {
		defer cpu(b)()
		if err := trace.Start(io.Discard); err != nil {
			b.Skip(err)
		}
		defer trace.Stop()
		ctx := context.Background()
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			trace.StartRegion(ctx, "aten::mm").End()
		}
	})
	b.Run("runtime-trace region,parallel", func(b *testing.B) {
		defer cpu(b)()
		if err := trace.Start(io.Discard); err != nil {
			b.Skip(err)
		}
		defer trace.Stop()
		ctx := context.Background()
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				trace.StartRegion(ctx, "aten::mm").End()
			}
		})
	})
	b.Run("otel span", func(b *testing.B) {
		defer cpu(b)()
		otelSpan(b)
	})
	b.Run("otel span,bridge", func(b *testing.B) {
		defer cpu(b)()
		otelSpan(b, sdktrace.WithSpanProcessor(New(recorder(b, profiler.StartOptions{}))))
	})
	b.Run("slog", func(b *testing.B) {
		defer cpu(b)()
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		ctx := context.Background()
		b.ReportAllocs()
		for i := 0; i < b.N; i++ {
			start := time.Now()
			log.LogAttrs(ctx, slog.LevelInfo, "aten::mm", slog.Duration("took", time.Since(start)))
		}
	})
	b.Run("mutex+slice", func(b *testing.B) {
		defer cpu(b)()
		m := mutexSlice{base: time.Now()}
		b.ReportAllocs()
		for i := 0; i < b.N; i++ {
			m.span()
		}
	})
	b.Run("mutex+slice,parallel", func(b *testing.B) {
		defer cpu(b)()
		m := mutexSlice{base: time.Now()}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.span()
			}
		})
	})
	b.Run("two clock reads", func(b *testing.B) {
		defer cpu(b)()
		base := time.Now()
		var sum time.Duration
		for i := 0; i < b.N; i++ {
			sum += time.Since(base)
			sum += time.Since(base)
		}
		_ = sum
	})
}

func otelSpan(b *testing.B, o ...sdktrace.TracerProviderOption) {
	b.Helper()
	tp := sdktrace.NewTracerProvider(append(o, sdktrace.WithSampler(sdktrace.AlwaysSample()))...)
	tracer := tp.Tracer("bench")
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		_, s := tracer.Start(ctx, "aten::mm")
		s.SetAttributes(attribute.Int("step", i))
		s.End()
	}
}

// mutexSlice is the recorder that one writes first.
type mutexSlice struct {
	mu     sync.Mutex
	events []struct {
		name       string
		start, end time.Duration
	}
	base time.Time
}

func (m *mutexSlice) span() {
	start := time.Since(m.base)
	end := time.Since(m.base)
	m.mu.Lock()
	if len(m.events) >= 1<<16 {
		m.events = m.events[:0] // as if it had been handed over
	}
	m.events = append(m.events, struct {
		name       string
		start, end time.Duration
	}{"aten::mm", start, end})
	m.mu.Unlock()
}
