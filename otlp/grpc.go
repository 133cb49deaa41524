package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// exportProcedure is the call of OTLP's trace service over gRPC.
const exportProcedure = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// answerTimeout is how long a collector may take to answer one request.
const answerTimeout = time.Minute

// exportClient calls the trace service.
type exportClient = connect.Client[collectorpb.ExportTraceServiceRequest, collectorpb.ExportTraceServiceResponse]

// grpcSender sends over gRPC, on one connection until it is closed.
type grpcSender struct {
	call   *exportClient
	header map[string]string
	close  func()
}

// dial returns what sends to a collector's gRPC receiver. The caller closes it.
func (c *Collector) dial(url string) *grpcSender {
	client, done := c.Client, func() {}
	if client == nil {
		protocols := &http.Protocols{}
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
		client = &http.Client{Timeout: answerTimeout,
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, Protocols: protocols}}
		done = client.CloseIdleConnections
	}
	return &grpcSender{header: c.Header, close: done,
		call: connect.NewClient[collectorpb.ExportTraceServiceRequest, collectorpb.ExportTraceServiceResponse](
			client, url, connect.WithGRPC(), connect.WithSendGzip(), connect.WithReadMaxBytes(maxAnswer))}
}

// once is a sender over gRPC.
func (g *grpcSender) once(ctx context.Context, r *collectorpb.ExportTraceServiceRequest) (rejected int,
	again time.Duration, err error) {
	req := connect.NewRequest(r)
	for k, v := range g.header {
		req.Header().Set(k, v)
	}
	res, err := g.call.CallUnary(ctx, req)
	if err == nil {
		return int(res.Msg.GetPartialSuccess().GetRejectedSpans()), 0, nil
	}
	refused := &connect.Error{}
	if !errors.As(err, &refused) || !connect.IsWireError(err) {
		return 0, 0, err // nobody answered, as when the network is away
	}
	text := neutral.Plain(refused.Message())
	err = fmt.Errorf("it answers %s: %s", refused.Code(), strings.TrimSpace(text[:min(len(text), said)]))
	switch refused.Code() { // those that OTLP's specification says to send again
	case connect.CodeCanceled, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeAborted,
		connect.CodeOutOfRange, connect.CodeUnavailable, connect.CodeDataLoss:
		return 0, 0, err
	}
	return 0, -1, err
}
