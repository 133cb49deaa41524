package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/otlp"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

// headersVariable is OpenTelemetry's own variable for headers of exporters.
const headersVariable = "OTEL_EXPORTER_OTLP_HEADERS"

// collector returns the collector of --otlp. It is checked before anything is read.
func (c *convertCmd) collector() (*otlp.Collector, error) {
	if c.OTLP == "" {
		return nil, nil
	}
	if err := otlp.CheckURL(c.OTLP); err != nil {
		return nil, cli.Usage("--otlp %w", err)
	}
	header, err := otlp.ParseHeaders(os.Getenv(headersVariable))
	if err != nil {
		return nil, cli.Usage("%s: %w", headersVariable, err)
	}
	return &otlp.Collector{URL: c.OTLP, Header: header}, nil
}

// push sends the spans of the parts' requests.
func (w *rewriting) push(to *otlp.Collector) error {
	var spans bytes.Buffer
	f, ok := format.Lookup(otlp.Format)
	if !ok {
		return fmt.Errorf("no format %s", otlp.Format)
	}
	if err := w.write(&spans, f, format.Plain); err != nil {
		return err
	}
	var d tracepb.TracesData
	if err := proto.Unmarshal(spans.Bytes(), &d); err != nil {
		return fmt.Errorf("push spans: %w", err)
	}
	n, err := to.Push(w.e.Ctx, &d)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.e.Out, "%s  %d spans\n", to.URL, n)
	return nil
}

// source names what the spans are of: the run, else the first input. Ids are made of it, so that spans which are
// written here and pushed there are the same.
func (w *rewriting) source() (string, error) {
	if w.c.piped {
		return "standard input", nil
	}
	run, err := w.c.FindRun(w.c.Paths[0])
	if err != nil {
		return "", err
	}
	if run == nil {
		return filepath.Base(w.c.Paths[0]), nil
	}
	defer run.Close()
	return filepath.Base(run.Dir()), nil
}
