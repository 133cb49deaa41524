package otlp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
)

// grpcReceiver is a collector's OTLP receiver over gRPC.
type grpcReceiver struct {
	answer func(n int) error // to the nth request

	mu              sync.Mutex
	spans, requests int
	key             string
}

func (g *grpcReceiver) export(_ context.Context,
	r *connect.Request[collectorpb.ExportTraceServiceRequest]) (
	*connect.Response[collectorpb.ExportTraceServiceResponse], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests++
	if err := g.answer(g.requests); err != nil {
		return nil, err
	}
	if p := r.Peer().Protocol; p != connect.ProtocolGRPC {
		return nil, errors.New("asked by " + p)
	}
	g.spans += Count(&tracepb.TracesData{ResourceSpans: r.Msg.ResourceSpans})
	g.key = r.Header().Get("Authorization")
	return connect.NewResponse(&collectorpb.ExportTraceServiceResponse{}), nil
}

func newGRPC(t *testing.T, answer func(n int) error) (*grpcReceiver, *Collector) {
	t.Helper()
	g := &grpcReceiver{answer: answer}
	mux := http.NewServeMux()
	mux.Handle(exportProcedure, connect.NewUnaryHandler(exportProcedure, g.export))
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.Protocols = &http.Protocols{}
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return g, &Collector{URL: "grpc" + strings.TrimPrefix(srv.URL, "http"),
		Header: map[string]string{"Authorization": "Bearer k"},
		wait:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// A receiver over gRPC gets the spans that one over HTTP gets, with the key.
func TestPushOverGRPC(t *testing.T) {
	g, to := newGRPC(t, func(int) error { return nil })
	n, err := to.Push(t.Context(), events(t, Format))
	if err != nil || n != 14 || g.spans != n || g.requests != 1 || g.key != "Bearer k" {
		t.Errorf("%d sent; %d spans in %d requests with %q: %v", n, g.spans, g.requests, g.key, err)
	}
}

// One that is busy is asked again, one that refuses is not, and one that is not there is named.
func TestAnswersOverGRPC(t *testing.T) {
	always := func(code connect.Code, text string) func(int) error {
		return func(int) error { return connect.NewError(code, errors.New(text)) }
	}
	busy := func(n int) error {
		if n < 3 {
			return connect.NewError(connect.CodeUnavailable, errors.New("later"))
		}
		return nil
	}
	for _, c := range []struct {
		name     string
		answer   func(n int) error
		requests int
		err      string
	}{
		{"busy", busy, 3, ""},
		{"always busy", always(connect.CodeResourceExhausted, "full"), maxTries, "resource_exhausted: full"},
		{"refused", always(connect.CodeUnauthenticated, "who\x1b[31m"), 1, "unauthenticated: who [31m"},
	} {
		g, to := newGRPC(t, c.answer)
		_, err := to.Push(t.Context(), events(t, Format))
		if g.requests != c.requests || (err == nil) != (c.err == "") ||
			err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d requests, %v", c.name, g.requests, err)
		}
	}
	_, to := newGRPC(t, func(int) error { return nil })
	to.URL = "grpc://127.0.0.1:1"
	if _, err := to.Push(t.Context(), events(t, Format)); err == nil ||
		!strings.Contains(err.Error(), "grpc://127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
}
