// Package otlp writes the requests of a captured pipeline as OpenTelemetry spans, into files and to
// a collector, so that they can be seen beside the spans of the services in front.
//
// A request is a trace: a span "request" from its arrival to the last slice that names it, and
// below it a span for every stage that it went through, each with the wait for the request's first
// step there as a span "queue". The durations of steps are attributes of the stage's span, summed
// by kind, because a request shares its steps with other requests and has hundreds of them. A
// request that came with a W3C trace context keeps its trace id; other ids are hashes of the
// report's and the request's names, so that a file written twice has the same ids. First token and
// first output are events of the request.
//
// Stages are services (resource attribute service.name), a rank is an instance of one. Times are
// those of the common clock; traces without one have no requests and so no spans.
//
// The formats "otlp" (protobuf, a TracesData) and "otlp-json" (the same in OTLP's JSON, on one
// line, as the collector's otlpjsonfile receiver reads it) are registered by importing the package.
// Definitions: https://opentelemetry.io/docs/specs/otlp and opentelemetry-proto.
package otlp
