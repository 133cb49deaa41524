package web

import (
	"net/http"
	"strings"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/httptrace"
)

// carryTrace makes a child of the W3C trace context that a request comes with, and answers with it.
// As the specification asks, a header that is malformed or comes twice counts as none.
func carryTrace(w http.ResponseWriter, r *http.Request) *http.Request {
	came := r.Header.Values(profiler.TraceParentHeader)
	if len(came) != 1 || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return r
	}
	p, err := profiler.ParseTraceParent(came[0])
	if err != nil {
		return r
	}
	p = p.Child()
	w.Header().Set(profiler.TraceParentHeader, p.String())
	return r.WithContext(httptrace.WithTraceParent(r.Context(), p))
}
