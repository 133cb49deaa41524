package otelbridge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
)

func TestSpans(t *testing.T) {
	rec := profiler.New(profiler.Config{})
	p := New(rec)
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(p))
	tracer := tp.Tracer("gateway")
	_, off := tracer.Start(context.Background(), "before the recording")
	off.End()

	var b bytes.Buffer
	if err := rec.Start(profiler.StartOptions{Out: &b}); err != nil {
		t.Fatal(err)
	}
	remote := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{0xca, 0xfe, 0, 0, 0, 0, 0, 1}, TraceFlags: trace.FlagsSampled,
		Remote: true,
	})
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), remote)
	ctx, server := tracer.Start(ctx, "handle", trace.WithSpanKind(trace.SpanKindServer))
	_, client := tracer.Start(ctx, "call", trace.WithSpanKind(trace.SpanKindClient))
	client.SetAttributes(attribute.Int("n", 7), attribute.Float64("f", 0.5), attribute.String("s", "text"),
		attribute.Bool("b", true))
	client.SetStatus(codes.Error, "refused")
	client.End()
	server.End()
	if err := tp.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	h, c := number(server.SpanContext().SpanID()), number(client.SpanContext().SpanID())
	tid := server.SpanContext().TraceID()
	want := []string{
		fmt.Sprintf("handle true %x cat=3 trace=%s parent=%x", h, tid, uint64(0xcafe000000000001)),
		fmt.Sprintf("call true %x cat=3 trace=%s parent=%x", c, tid, h),
		fmt.Sprintf("call false %x cat=0 kind=client scope=gateway status=Error: refused n=7 f=0.5 s=text b=true", c),
		fmt.Sprintf("handle false %x cat=0 kind=server scope=gateway", h),
		fmt.Sprintf("flow in %x", uint64(0xcafe000000000001)),
		fmt.Sprintf("flow out %x", c),
	}
	if d := cmp.Diff(want, read(t, &b)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func read(t *testing.T, b *bytes.Buffer) (lines []string) {
	rd, err := format.NewReader(b)
	if err != nil {
		t.Fatal(err)
	}
	var flows []string
	for {
		g, err := rd.Next()
		if err == io.EOF {
			return append(lines, flows...)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Asyncs.Time {
			l := fmt.Sprintf("%s %t %x cat=%d", rd.String(g.Asyncs.Name[i]), g.Asyncs.Begin[i], g.Asyncs.ID[i],
				g.Asyncs.Cat[i])
			for _, a := range g.AsyncAttrs(i) {
				k := rd.String(a.Key)
				switch a.Kind {
				case format.AttrInt:
					if k == "parent" {
						l += fmt.Sprintf(" parent=%x", uint64(a.Int))
						continue
					}
					l += fmt.Sprintf(" %s=%d", k, a.Int)
				case format.AttrFloat:
					l += fmt.Sprintf(" %s=%v", k, a.Float())
				case format.AttrStr:
					l += fmt.Sprintf(" %s=%s", k, rd.String(a.Str()))
				case format.AttrText:
					l += fmt.Sprintf(" %s=%s", k, g.Text(a))
				}
			}
			lines = append(lines, strings.TrimSpace(l))
		}
		for i, id := range g.Flows.ID {
			dir := "in"
			if g.Flows.Out[i] {
				dir = "out"
			}
			flows = append(flows, fmt.Sprintf("flow %s %x", dir, id))
		}
	}
}
