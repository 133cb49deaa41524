package otlp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// scope is the instrumentation scope of all spans: the program that made them.
const scope = "github.com/kinetoscope/kinetoscope"

// Pipeline is the service of the spans of requests as a whole.
const Pipeline = "pipeline"

// The attributes. gen_ai.* are of OpenTelemetry's semantic conventions; durations are ns.
const (
	attrRequest   = "kinetoscope.request"
	attrPartial   = "kinetoscope.partial" // the window shows a part of the request
	attrOutput    = "kinetoscope.output"  // "audio", "image", "text"
	attrTTFT      = "kinetoscope.ttft_ns"
	attrFirst     = "kinetoscope.first_output_ns"
	attrStage     = "kinetoscope.stage_id"
	attrReplica   = "kinetoscope.replica"
	attrRank      = "kinetoscope.rank"
	attrUncertain = "kinetoscope.clock_uncertainty_ns"
	attrTokens    = "gen_ai.usage.output_tokens"
)

// Spans returns the requests of a report as spans. name is the report's own, for instance that of a
// run; ids of requests without a trace context are made from it.
func Spans(name string, r *pipeline.Report) *tracepb.TracesData {
	b := &builder{name: name, services: map[string]*tracepb.ScopeSpans{}}
	hosts := map[string]string{}
	for i := range r.Stages {
		for _, k := range r.Stages[i].Ranks {
			hosts[service(r.Stages[i].StageID, r.Stages[i].Name, k.Replica, k.Rank)] = k.Host
		}
	}
	for i := range r.Requests {
		b.request(&r.Requests[i], r.ClockUncertaintyNs, hosts)
	}
	return &b.data
}

// Count returns the number of spans.
func Count(d *tracepb.TracesData) int {
	n := 0
	for _, r := range d.ResourceSpans {
		for _, s := range r.ScopeSpans {
			n += len(s.Spans)
		}
	}
	return n
}

type builder struct {
	name     string
	data     tracepb.TracesData
	services map[string]*tracepb.ScopeSpans
}

func service(id int, stage string, replica, rank int) string {
	return fmt.Sprintf("%d\x00%s\x00%d\x00%d", id, stage, replica, rank)
}

// of returns the spans of a service, and adds the service if it is new.
func (b *builder) of(key string, attributes ...*commonpb.KeyValue) *tracepb.ScopeSpans {
	s := b.services[key]
	if s == nil {
		s = &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: scope}}
		b.services[key] = s
		b.data.ResourceSpans = append(b.data.ResourceSpans, &tracepb.ResourceSpans{
			Resource: &resourcepb.Resource{Attributes: attributes}, ScopeSpans: []*tracepb.ScopeSpans{s},
		})
	}
	return s
}

func (b *builder) request(q *pipeline.Request, uncertainNs int64, hosts map[string]string) {
	traceID := b.traceID(q)
	root := &tracepb.Span{
		TraceId: traceID, SpanId: spanID(traceID, "request", q.ID), Name: "request",
		Kind: tracepb.Span_SPAN_KIND_SERVER, StartTimeUnixNano: at(q.ArrivalNs),
		EndTimeUnixNano: at(q.ArrivalNs + max(0, q.TotalNs)),
		Attributes:      []*commonpb.KeyValue{text(attrRequest, q.ID), integer(attrUncertain, uncertainNs)},
	}
	if q.Partial {
		root.Attributes = append(root.Attributes, yes(attrPartial))
	}
	if q.OutputKind != "" {
		root.Attributes = append(root.Attributes, text(attrOutput, q.OutputKind))
	}
	if q.Tokens > 0 {
		root.Attributes = append(root.Attributes, integer(attrTokens, int64(q.Tokens)))
	}
	for _, e := range []struct {
		ns         int64
		key, event string
	}{{q.TTFTNs, attrTTFT, "first token"}, {q.FirstOutputNs, attrFirst, "first output"}} {
		if e.ns >= 0 {
			root.Attributes = append(root.Attributes, integer(e.key, e.ns))
			root.Events = append(root.Events, &tracepb.Span_Event{TimeUnixNano: at(q.ArrivalNs + e.ns), Name: e.event})
		}
	}
	s := b.of(Pipeline, text("service.name", Pipeline), text("service.namespace", b.name))
	s.Spans = append(s.Spans, root)
	for i := range q.Stages {
		b.stage(root, &q.Stages[i], q.ID, hosts)
	}
}

func (b *builder) stage(root *tracepb.Span, g *pipeline.RequestStage, request string, hosts map[string]string) {
	key := service(g.StageID, g.Name, g.Replica, g.Rank)
	name := g.Name
	if name == "" {
		name = "stage " + strconv.Itoa(g.StageID)
	}
	attributes := []*commonpb.KeyValue{
		text("service.name", name), text("service.namespace", b.name),
		text("service.instance.id", fmt.Sprintf("%d.%d", g.Replica, g.Rank)),
		integer(attrStage, int64(g.StageID)), integer(attrReplica, int64(g.Replica)), integer(attrRank, int64(g.Rank)),
	}
	if host := hosts[key]; host != "" {
		attributes = append(attributes, text("host.name", host))
	}
	s := b.of(key, attributes...)
	span := &tracepb.Span{
		TraceId: root.TraceId, ParentSpanId: root.SpanId, SpanId: spanID(root.TraceId, key, request), Name: name,
		Kind: tracepb.Span_SPAN_KIND_INTERNAL, StartTimeUnixNano: at(g.ArrivalNs),
		EndTimeUnixNano: at(max(g.ArrivalNs, g.EndNs)), Attributes: []*commonpb.KeyValue{text(attrRequest, request)},
	}
	for _, p := range g.Phases {
		prefix := "kinetoscope." + p.Category.String()
		span.Attributes = append(span.Attributes, integer(prefix+".steps", int64(p.Steps)),
			integer(prefix+".duration_ns", p.TotalNs))
	}
	s.Spans = append(s.Spans, span)
	if g.QueueNs > 0 {
		s.Spans = append(s.Spans, &tracepb.Span{
			TraceId: root.TraceId, ParentSpanId: span.SpanId, SpanId: spanID(root.TraceId, key+"\x00queue", request),
			Name: "queue", Kind: tracepb.Span_SPAN_KIND_INTERNAL, StartTimeUnixNano: at(g.ArrivalNs),
			EndTimeUnixNano: at(g.ArrivalNs + g.QueueNs), Attributes: []*commonpb.KeyValue{text(attrRequest, request)},
		})
	}
}

// at returns a time as OTLP has it, which has no times before 1970.
func at(ns int64) uint64 { return uint64(max(0, ns)) }

// traceID is that of the request's trace context, else one made of the report's name and
// the request's id.
func (b *builder) traceID(q *pipeline.Request) []byte {
	if id, err := hex.DecodeString(q.TraceID); err == nil && len(id) == 16 && !zero(id) {
		return id
	}
	return digest(16, b.name, q.ID)
}

func spanID(traceID []byte, parts ...string) []byte {
	return digest(8, append(parts, string(traceID))...)
}

// digest makes an id of texts. An id of zeros would mean "no id" and is avoided.
func digest(n int, parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	id := h.Sum(nil)[:n]
	if zero(id) {
		id[n-1] = 1
	}
	return id
}

func zero(id []byte) bool {
	for _, b := range id {
		if b != 0 {
			return false
		}
	}
	return true
}

func text(key, v string) *commonpb.KeyValue {
	return value(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}})
}

func integer(key string, v int64) *commonpb.KeyValue {
	return value(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v}})
}

func yes(key string) *commonpb.KeyValue {
	return value(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}})
}

func value(key string, v *commonpb.AnyValue) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: v}
}
