// Package otelbridge records the spans of an OpenTelemetry SDK in a profiler.Recorder, so
// that code instrumented with OpenTelemetry appears on the timeline with the operators.
// It is the only package of the recorder that imports OpenTelemetry.
package otelbridge

import (
	"context"
	"encoding/binary"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/kinetoscope/kinetoscope/profiler"
)

var (
	keyTrace  = profiler.Intern("trace")
	keyParent = profiler.Intern("parent")
	keyKind   = profiler.Intern("kind")
	keyStatus = profiler.Intern("status")
	keyScope  = profiler.Intern("scope")
)

// Processor is a SpanProcessor that records each span as an async span: begun and ended
// when OpenTelemetry says so, with the attributes it has at its end. Spans of kind client
// and producer start a flow, spans with a remote parent end it; the flow's id is the span
// id on the wire, so flows join with those of processes that record natively.
type Processor struct{ rec *profiler.Recorder }

var _ sdktrace.SpanProcessor = (*Processor)(nil)

// New returns a processor that records into r. Register it with
// sdktrace.WithSpanProcessor; it exports nothing elsewhere.
func New(r *profiler.Recorder) *Processor { return &Processor{rec: r} }

func number(id trace.SpanID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// OnStart implements sdktrace.SpanProcessor.
func (p *Processor) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) {
	p.rec.Event(func(t *profiler.Track) {
		sc, parent := s.SpanContext(), s.Parent()
		sp := t.AsyncBegin(profiler.Intern(s.Name()), category(s.SpanKind()), number(sc.SpanID()))
		if !sp.Recording() {
			return
		}
		sp.Text(keyTrace, sc.TraceID().String())
		if parent.IsValid() {
			sp.Int(keyParent, int64(number(parent.SpanID())))
			if parent.IsRemote() {
				sp.FlowIn(number(parent.SpanID()))
			}
		}
		if k := s.SpanKind(); k == trace.SpanKindClient || k == trace.SpanKindProducer {
			sp.FlowOut(number(sc.SpanID()))
		}
	})
}

// OnEnd implements sdktrace.SpanProcessor. A span that was renamed ends under the name it
// began with as far as the SDK lets that be known: the id pairs the two ends.
func (p *Processor) OnEnd(s sdktrace.ReadOnlySpan) {
	p.rec.Event(func(t *profiler.Track) {
		sp := t.AsyncEnd(profiler.Intern(s.Name()), number(s.SpanContext().SpanID()))
		if !sp.Recording() {
			return
		}
		sp.Str(keyKind, profiler.Intern(s.SpanKind().String()))
		if n := s.InstrumentationScope().Name; n != "" {
			sp.Str(keyScope, profiler.Intern(n))
		}
		if st := s.Status(); st.Code != codes.Unset {
			sp.Text(keyStatus, st.Code.String()+": "+st.Description)
		}
		for _, kv := range s.Attributes() {
			argument(sp, kv)
		}
	})
}

func category(k trace.SpanKind) profiler.Category {
	if k == trace.SpanKindInternal {
		return profiler.CategoryAnnotation
	}
	return profiler.CategoryIO
}

// argument records one attribute. Keys are interned: semantic conventions have few.
func argument(sp profiler.Span, kv attribute.KeyValue) {
	key := profiler.Intern(string(kv.Key))
	switch kv.Value.Type() {
	case attribute.INT64:
		sp.Int(key, kv.Value.AsInt64())
	case attribute.FLOAT64:
		sp.Float(key, kv.Value.AsFloat64())
	case attribute.STRING:
		sp.Text(key, kv.Value.AsString())
	default:
		sp.Text(key, kv.Value.String())
	}
}

// Shutdown implements sdktrace.SpanProcessor; the Recorder belongs to its owner.
func (p *Processor) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor; there is nothing to flush.
func (p *Processor) ForceFlush(context.Context) error { return nil }
