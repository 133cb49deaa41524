package otlp

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

// The names of the formats, see the package's documentation.
const (
	Format     = "otlp"
	FormatJSON = "otlp-json"
)

// lacks is what files of spans have no place for.
const lacks = "anything but requests and the stages that they went through: no slices, no operators"

func init() {
	format.Register(format.Format{
		Name: Format, Title: "spans of OpenTelemetry (OTLP)", Extensions: []string{".otlp", ".otlp.pb"},
		OneClock: true, Lacks: lacks,
		Create: create(func(d *tracepb.TracesData) ([]byte, error) { return proto.Marshal(d) }),
	})
	format.Register(format.Format{
		Name: FormatJSON, Title: "spans of OpenTelemetry (OTLP, JSON)",
		Extensions: []string{".otlp.json", ".otlp.jsonl"}, OneClock: true, Create: create(JSON), Lacks: lacks,
	})
}

// ErrNoRequests reports that traces say nothing of requests.
var ErrNoRequests = errors.New("no request is named in these traces, so there are no spans: stages of this project, " +
	"torch ranks and SGLang-Omni's events name them")

// JSON writes spans as OTLP's JSON does, one line: ids in hexadecimal, enumerations as numbers. A terminal that shows
// it obeys none of its texts.
func JSON(d *tracepb.TracesData) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseEnumNumbers: true}.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write spans: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("write spans: %w", err)
	}
	hexIDs(v)
	out, err := json.Marshal(v)
	return append(neutral.JSON(out), '\n'), err
}

// hexIDs writes ids in hexadecimal, which protobuf's JSON has in base64.
func hexIDs(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if s, ok := x.(string); ok && (k == "traceId" || k == "spanId" || k == "parentSpanId") {
				if id, err := base64.StdEncoding.DecodeString(s); err == nil {
					v[k] = hex.EncodeToString(id)
				}
				continue
			}
			hexIDs(x)
		}
	case []any:
		for _, x := range v {
			hexIDs(x)
		}
	}
}

// create returns a maker of writers that write the requests of all ranks together.
func create(encode func(*tracepb.TracesData) ([]byte, error)) func(io.Writer, format.WriteOptions) format.Writer {
	return func(w io.Writer, o format.WriteOptions) format.Writer { return &writer{w: w, o: o, encode: encode} }
}

type writer struct {
	w      io.Writer
	o      format.WriteOptions
	encode func(*tracepb.TracesData) ([]byte, error)
	traces []*trace.Trace
	moved  []int64
}

// Add implements format.Writer.
func (w *writer) Add(ctx context.Context, r format.Rank) error {
	offset := int64(0)
	if start, _, ok := r.Trace.Extent(); ok && r.Clock != nil {
		offset = r.Clock(start) - start
	}
	w.traces, w.moved = append(w.traces, r.Trace), append(w.moved, offset)
	return ctx.Err()
}

// Close implements format.Writer.
func (w *writer) Close(ctx context.Context) error {
	d := Spans(cmp.Or(w.o.Source, w.o.Name), pipeline.Analyze(w.traces, pipeline.Options{Offsets: w.moved}))
	if Count(d) == 0 {
		return ErrNoRequests
	}
	out, err := w.encode(d)
	if err != nil {
		return err
	}
	if _, err := w.w.Write(out); err != nil {
		return fmt.Errorf("write spans: %w", err)
	}
	return ctx.Err()
}
