// Package httptrace records HTTP requests as regions of a profiler.Recorder, on the
// server's and the client's side, and carries the W3C trace context between them.
package httptrace

import (
	"context"
	"net/http"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
)

var (
	nameServer = profiler.Intern("http.server")
	nameClient = profiler.Intern("http.client")
	keyMethod  = profiler.Intern("method")
	keyPath    = profiler.Intern("path")
	keyHost    = profiler.Intern("host")
	keyStatus  = profiler.Intern("status")
	keyBytes   = profiler.Intern("bytes")
	keyTrace   = profiler.Intern("trace")
	keyError   = profiler.Intern("error")
)

type parentKey struct{}

// WithTraceParent returns a context whose outgoing requests belong to p's trace.
func WithTraceParent(ctx context.Context, p profiler.TraceParent) context.Context {
	return context.WithValue(ctx, parentKey{}, p)
}

// TraceParentOf returns the trace context that a request came with or was given.
func TraceParentOf(ctx context.Context) (profiler.TraceParent, bool) {
	p, ok := ctx.Value(parentKey{}).(profiler.TraceParent)
	return p, ok
}

// Server is a middleware: it records each request with method, path, status and bytes,
// ends the flow of the traceparent header and passes the trace context and the Recorder
// on in the request's context. Requests that are not sampled are not recorded, but their
// decision travels on.
type Server struct {
	Recorder *profiler.Recorder
	Next     http.Handler
	Sampler  *profiler.Sampler                     // decides for requests without a traceparent; nil samples all
	Done     func(took time.Duration, failed bool) // called after each request, e.g. Dumper.Request; may be nil
}

// ServeHTTP implements http.Handler. A request failed if its status is 500 or more or its handler panicked.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	p, err := profiler.ParseTraceParent(r.Header.Get(profiler.TraceParentHeader))
	came := err == nil
	if !came {
		if s.Sampler != nil {
			p = s.Sampler.Decide(profiler.TraceParent{})
		} else {
			p = profiler.NewTraceParent(true)
		}
	}
	ctx := WithTraceParent(r.Context(), p)
	var region *profiler.ActiveRegion
	if p.Sampled() {
		ctx = profiler.NewContext(ctx, s.Recorder)
		ctx, region = profiler.RegionWith(ctx, nameServer, profiler.CategoryIO, func(sp profiler.Span) {
			if came {
				sp.FlowIn(p.FlowID())
			}
			sp.Text(keyMethod, r.Method).Text(keyPath, r.URL.Path).Text(keyTrace, p.TraceHex())
		})
	}
	rec := &response{ResponseWriter: w}
	finished := false
	defer func() {
		status := rec.status
		switch {
		case !finished:
			status = http.StatusInternalServerError
		case status == 0:
			status = http.StatusOK
		}
		region.EndWith(func(sp profiler.Span) { sp.Int(keyStatus, int64(status)).Int(keyBytes, rec.bytes) })
		if s.Done != nil {
			s.Done(time.Since(start), status >= 500)
		}
	}()
	s.Next.ServeHTTP(rec, r.WithContext(ctx))
	finished = true
}

// response notes status and size. Unwrap lets http.ResponseController reach Flush, Hijack and
// deadlines of the wrapped writer.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *response) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Flush keeps handlers working that ask for http.Flusher, as event streams do.
func (r *response) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		if r.status == 0 {
			r.status = http.StatusOK
		}
		f.Flush()
	}
}

// Client is a http.RoundTripper: it records each request from its start to the response's
// header and sends the trace context of the request's context on as a child.
type Client struct {
	Recorder *profiler.Recorder // nil: that of the request's context
	Base     http.RoundTripper  // nil: http.DefaultTransport
}

// RoundTrip implements http.RoundTripper.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	base := c.Base
	if base == nil {
		base = http.DefaultTransport
	}
	ctx := r.Context()
	p, ok := TraceParentOf(ctx)
	if ok {
		p = p.Child()
	} else {
		p = profiler.NewTraceParent(true)
	}
	if c.Recorder != nil {
		ctx = profiler.NewContext(ctx, c.Recorder)
	}
	var region *profiler.ActiveRegion
	if p.Sampled() {
		ctx, region = profiler.RegionWith(ctx, nameClient, profiler.CategoryIO, func(sp profiler.Span) {
			sp.FlowOut(p.FlowID()).Text(keyMethod, r.Method).Text(keyHost, r.URL.Host).Text(keyPath, r.URL.Path)
		})
	}
	out := r.Clone(ctx) // a RoundTripper must not change the request that it is given
	out.Header.Set(profiler.TraceParentHeader, p.String())
	resp, err := base.RoundTrip(out)
	region.EndWith(func(sp profiler.Span) {
		if err != nil {
			sp.Text(keyError, err.Error())
			return
		}
		sp.Int(keyStatus, int64(resp.StatusCode))
	})
	return resp, err
}
