package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/internal/wait"
)

// Limits of pushing.
const (
	// maxBatch is how many spans one request to a collector has: OpenTelemetry's own default.
	maxBatch = 512
	// maxTries bounds how often a batch is sent to a collector that cannot take it now. With
	// firstWait doubled each time, that is half a minute.
	maxTries  = 6
	firstWait = time.Second
	// maxWait bounds what a collector's Retry-After may ask for.
	maxWait = 30 * time.Second
	// maxAnswer bounds what is read of an answer, bytes.
	maxAnswer = 64 << 10
)

// DefaultPath is where collectors take traces if a URL has no path.
const DefaultPath = "/v1/traces"

// Collector is where spans are pushed: OTLP over HTTP or gRPC, protobuf, gzip.
type Collector struct {
	URL    string            // http://HOST:4318, with or without a path, or grpc://HOST:4317; https, grpcs: with TLS
	Header map[string]string // of every request, for keys
	Client *http.Client      // nil: one that waits a minute for an answer

	wait func(ctx context.Context, d time.Duration) error // nil: a timer
}

// CheckURL says what is wrong with the URL of a collector.
func CheckURL(text string) error {
	_, err := endpoint(text)
	return err
}

// target is where requests go, and how.
type target struct {
	url  string
	grpc bool
}

func endpoint(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return target{}, err
	}
	root := u.Path == "" || u.Path == "/"
	scheme, grpc := schemes[u.Scheme], strings.HasPrefix(u.Scheme, "grpc")
	switch {
	case scheme == "" || u.Host == "":
		return target{},
			fmt.Errorf("%s: want http://HOST:4318, where a collector takes OTLP over HTTP, or grpc://HOST:4317", text)
	case grpc && !root:
		return target{}, fmt.Errorf("%s: gRPC has no paths: want %s://%s", text, u.Scheme, u.Host)
	case grpc:
		u.Path = exportProcedure
	case root:
		u.Path = DefaultPath
	}
	u.Scheme = scheme
	return target{u.String(), grpc}, nil
}

// schemes are those of URLs of collectors, with what each is of HTTP's.
var schemes = map[string]string{"http": "http", "https": "https", "grpc": "http", "grpcs": "https"}

// ParseHeaders reads headers as the environment variable OTEL_EXPORTER_OTLP_HEADERS has them:
// key=value, parted by commas, values escaped as in a URL.
func ParseHeaders(text string) (map[string]string, error) {
	out := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		k, v, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(v))
		if !ok || err != nil || strings.TrimSpace(k) == "" {
			return nil, errors.New("headers are key=value, parted by commas")
		}
		out[strings.TrimSpace(k)] = value
	}
	return out, nil
}

// Push sends all spans, in batches, and returns how many the collector took. A collector that
// cannot take a batch now is asked again a few times. Batches sent before an error stay at the
// collector; since ids do not change, pushing again replaces them in backends that go by ids.
func (c *Collector) Push(ctx context.Context, d *tracepb.TracesData) (taken int, err error) {
	to, err := endpoint(c.URL)
	if err != nil {
		return 0, err
	}
	once := func(ctx context.Context, r *collectorpb.ExportTraceServiceRequest) (int, time.Duration, error) {
		return c.once(ctx, to.url, r)
	}
	if to.grpc {
		g := c.dial(to.url)
		defer g.close()
		once = g.once
	}
	for _, batch := range batches(d) {
		rejected, err := c.send(ctx, once, &collectorpb.ExportTraceServiceRequest{ResourceSpans: batch})
		if err != nil {
			return taken, fmt.Errorf("push spans to %s: %w", c.URL, err)
		}
		taken += Count(&tracepb.TracesData{ResourceSpans: batch}) - rejected
	}
	if n := Count(d); taken < n {
		return taken, fmt.Errorf("push spans to %s: the collector took %d of %d", c.URL, taken, n)
	}
	return taken, nil
}

// batches parts spans into requests of at most maxBatch.
func batches(d *tracepb.TracesData) (out [][]*tracepb.ResourceSpans) {
	var now []*tracepb.ResourceSpans
	room := maxBatch
	for _, r := range d.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for rest := s.Spans; len(rest) > 0; {
				n := min(room, len(rest))
				now = append(now, &tracepb.ResourceSpans{Resource: r.Resource,
					ScopeSpans: []*tracepb.ScopeSpans{{Scope: s.Scope, Spans: rest[:n]}}})
				rest, room = rest[n:], room-n
				if room == 0 {
					out, now, room = append(out, now), nil, maxBatch
				}
			}
		}
	}
	if len(now) > 0 {
		out = append(out, now)
	}
	return out
}

// sender sends a request. again is how long to wait before the next try: 0 if the collector does not
// say, negative if another try would fail in the same way.
type sender func(context.Context, *collectorpb.ExportTraceServiceRequest) (rejected int, again time.Duration, err error)

// send sends one request until the collector takes it.
func (c *Collector) send(ctx context.Context, once sender, r *collectorpb.ExportTraceServiceRequest) (rejected int,
	err error) {
	backoff := firstWait
	for try := 1; ; try++ {
		again := time.Duration(0)
		if rejected, again, err = once(ctx, r); err == nil || again < 0 || try == maxTries {
			return rejected, err
		}
		if again == 0 {
			again = backoff
		}
		backoff *= 2
		if werr := c.pause(ctx, min(again, maxWait)); werr != nil {
			return 0, errors.Join(err, werr)
		}
	}
}

func (c *Collector) pause(ctx context.Context, d time.Duration) error {
	if c.wait != nil {
		return c.wait(ctx, d)
	}
	return wait.For(ctx, d)
}

// once is a sender over HTTP.
func (c *Collector) once(ctx context.Context, to string, r *collectorpb.ExportTraceServiceRequest) (rejected int,
	again time.Duration, err error) {
	body, err := proto.Marshal(r)
	if err != nil {
		return 0, -1, err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(body); err != nil {
		return 0, -1, err
	}
	if err := z.Close(); err != nil {
		return 0, -1, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, &packed)
	if err != nil {
		return 0, -1, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	for k, v := range c.Header {
		req.Header.Set(k, v)
	}
	client := c.Client
	if client == nil {
		client = &http.Client{Timeout: answerTimeout}
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, 0, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		var said collectorpb.ExportTraceServiceResponse
		if err := proto.Unmarshal(answer, &said); err != nil {
			return 0, -1, fmt.Errorf("it answers 200 and no OTLP: is it a collector?")
		}
		return int(said.GetPartialSuccess().GetRejectedSpans()), 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		s, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return 0, time.Duration(max(0, min(s, int(maxWait/time.Second)))) * time.Second, statusError(res, answer)
	}
	return 0, -1, statusError(res, answer)
}

// said is how many bytes of an answer's text a message quotes.
const said = 200

func statusError(res *http.Response, answer []byte) error {
	text := neutral.Plain(string(answer[:min(len(answer), said)]))
	return fmt.Errorf("it answers %s: %s", res.Status, strings.TrimSpace(text))
}
