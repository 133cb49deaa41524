package scrape

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// maxText bounds what is read of one answer: large servers have some hundred KiB.
	maxText = 16 << 20
	// fetchTimeout bounds one question: a busy server answers within seconds.
	fetchTimeout = 10 * time.Second
)

// Sample is a server's metrics at one time. Values of all label sets of a name are summed, so for
// several engines behind one server it describes them together; of shares, which have no sum, the
// largest counts.
type Sample struct {
	At time.Time
	// Values are of gauges and counters.
	Values map[string]float64
	// Gauges are the names of those that are no counters.
	Gauges map[string]bool
	// Histograms have their buckets by name.
	Histograms map[string]Histogram
	// Engines are the numbers in labels engine, ascending: of the engines of a vLLM's data-parallel replicas.
	Engines []int
}

// Histogram is a histogram's observations since the server's start.
type Histogram struct {
	Count uint64
	Sum   float64
	// Bounds are the buckets' upper bounds, ascending, and Counts how many observations are
	// at most as large.
	Bounds []float64
	Counts []uint64
}

// Read reads the text format of Prometheus.
func Read(r io.Reader, at time.Time) (*Sample, error) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(io.LimitReader(r, maxText))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s := &Sample{At: at, Values: map[string]float64{}, Gauges: map[string]bool{},
		Histograms: map[string]Histogram{}}
	engines := map[int]bool{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if n, err := strconv.ParseUint(l.GetValue(), 10, 31); err == nil && l.GetName() == "engine" {
					engines[int(n)] = true
				}
			}
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				s.Histograms[name] = s.Histograms[name].add(m.GetHistogram())
			case dto.MetricType_COUNTER:
				s.Values[name] += m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				v := m.GetGauge().GetValue()
				if was, more := s.Values[name]; !more || !isShare(name) {
					s.Values[name] = was + v
				} else {
					s.Values[name] = max(was, v)
				}
				s.Gauges[name] = true
			case dto.MetricType_UNTYPED:
				s.Values[name] += m.GetUntyped().GetValue()
			}
		}
	}
	s.Engines = slices.Sorted(maps.Keys(engines))
	return s, nil
}

// isShare reports whether a gauge is of a part of something, by its name: vLLM's *_usage_perc, which are
// 1 at most, and SGLang's *token_usage.
func isShare(name string) bool {
	return strings.HasSuffix(name, "_perc") || strings.HasSuffix(name, "token_usage")
}

// add sums the observations of two label sets; buckets that only one of them has are left
// out, for the other's count at such a bound is not known.
func (h Histogram) add(o *dto.Histogram) Histogram {
	counts := map[float64]uint64{}
	for _, b := range o.GetBucket() {
		counts[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	out := Histogram{Count: h.Count + o.GetSampleCount(), Sum: h.Sum + o.GetSampleSum()}
	if h.Count == 0 && h.Bounds == nil {
		out.Bounds = slices.Sorted(maps.Keys(counts))
		for _, b := range out.Bounds {
			out.Counts = append(out.Counts, counts[b])
		}
		return out
	}
	for i, b := range h.Bounds {
		if n, ok := counts[b]; ok {
			out.Bounds, out.Counts = append(out.Bounds, b), append(out.Counts, h.Counts[i]+n)
		}
	}
	return out
}

// since are the observations after before; all of h if the server has been started anew.
func (h Histogram) since(before Histogram) Histogram {
	if before.Count > h.Count || !slices.Equal(before.Bounds, h.Bounds) {
		return h
	}
	out := Histogram{Count: h.Count - before.Count, Sum: h.Sum - before.Sum, Bounds: h.Bounds}
	for i := range h.Counts {
		out.Counts = append(out.Counts, h.Counts[i]-min(before.Counts[i], h.Counts[i]))
	}
	return out
}

// Quantile is the value that a share q of the observations is at most as large as, linear
// within a bucket, as PromQL's histogram_quantile has it: of the last bucket its lower bound.
// It is not known of a histogram without observations.
func (h Histogram) Quantile(q float64) (float64, bool) {
	if h.Count == 0 || len(h.Bounds) == 0 {
		return 0, false
	}
	want := q * float64(h.Count)
	for i, n := range h.Counts {
		if float64(n) < want {
			continue
		}
		lower, before := 0.0, uint64(0)
		if i > 0 {
			lower, before = h.Bounds[i-1], h.Counts[i-1]
		}
		if math.IsInf(h.Bounds[i], 1) {
			return lower, true
		}
		if n == before {
			return h.Bounds[i], true
		}
		return lower + (h.Bounds[i]-lower)*(want-float64(before))/float64(n-before), true
	}
	return h.Bounds[len(h.Bounds)-1], true
}

// Mean is the mean of the observations.
func (h Histogram) Mean() (float64, bool) {
	if h.Count == 0 {
		return 0, false
	}
	return h.Sum / float64(h.Count), true
}

// Names are all that the sample has, sorted.
func (s *Sample) Names() []string {
	var out []string
	for n := range s.Values {
		out = append(out, n)
	}
	for n := range s.Histograms {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Fetch asks a server's /metrics. The token, if any, is sent in the header.
func Fetch(ctx context.Context, c *http.Client, url, header, token string) (*Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set(header, token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %s: an SGLang has it with --enable-metrics", resp.Status)
	}
	return Read(resp.Body, time.Now())
}
