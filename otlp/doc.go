// Package otlp says what requests did in a captured pipeline as spans of OpenTelemetry, in
// files and to a collector, so that they lie beside those of the services in front.
//
// A request is a trace: a span "request" from its arrival to the last that names it, and under
// it a span for every stage that it went through, with the wait for its first step there as
// a span "queue". What its steps took is in the stage's attributes, summed by kind: a request's
// steps are shared with others and number hundreds. A request that came with a W3C trace
// context keeps its trace id; ids else are made of what is known, so that a file written twice
// has equal ids. First token and first output are events of the request.
//
// Stages are services (resource attribute service.name), a rank an instance of one. Times
// are those of the common clock; without one there are no requests and so no spans.
//
// The formats "otlp" (protobuf, a TracesData) and "otlp-json" (the same in OTLP's JSON, a line,
// as the collector's otlpjsonfile receiver reads it) are registered by importing the
// package. Definitions: https://opentelemetry.io/docs/specs/otlp and opentelemetry-proto.
package otlp
