package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// scrapeTimeout bounds what a scrape asks the store for.
const scrapeTimeout = time.Second

// Buckets in seconds. Token times are a hundredth of the others.
var (
	requestBuckets = []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	tokenBuckets   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
)

// states are the values of the session state gauge.
var states = []session.State{
	session.StateIdle, session.StateArming, session.StateArmed, session.StateRecording, session.StateStopping,
	session.StateCollecting, session.StateConverting, session.StateComplete, session.StatePartial, session.StateFailed,
}

// metrics is everything /metrics shows of this server.
type metrics struct {
	serveHTTP  http.Handler
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	ttft       prometheus.Histogram
	tokenTime  prometheus.Histogram
	firstAudio prometheus.Histogram
	tokens     *prometheus.CounterVec
	audio      prometheus.Counter
	images     prometheus.Counter
	finished   finishedRing
}

func newMetrics(reg *prometheus.Registry, s *Server) *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "kinetoscope", Name: name, Help: help}
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "kinetoscope", Name: name, Help: help, Buckets: buckets}
	}
	m := &metrics{
		requests: register(reg, prometheus.NewCounterVec(
			counter("http_requests_total", "HTTP requests answered."), []string{"path", "method", "code"})),
		duration: register(reg, prometheus.NewHistogramVec(histogram("http_request_duration_seconds",
			"From a request's head to the end of its answer.", requestBuckets), []string{"path"})),
		inFlight: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "kinetoscope", Name: "http_requests_in_flight", Help: "HTTP requests being answered."})),
		ttft: register(reg, prometheus.NewHistogram(histogram("time_to_first_token_seconds",
			"Engine's time to the first text token.", requestBuckets))),
		tokenTime: register(reg, prometheus.NewHistogram(histogram("time_per_output_token_seconds",
			"Engine's mean time between text tokens of a request.", tokenBuckets))),
		firstAudio: register(reg, prometheus.NewHistogram(histogram("time_to_first_audio_seconds",
			"Engine's time to the first audio samples.", requestBuckets))),
		tokens: register(reg, prometheus.NewCounterVec(
			counter("tokens_total", "Tokens of finished requests."), []string{"kind"})),
		audio: register(reg, prometheus.NewCounter(
			counter("generated_requests_audio_total", "Finished requests that made audio."))),
		images: register(reg, prometheus.NewCounter(
			counter("generated_images_total", "Images of finished requests."))),
	}
	register(reg, newStateCollector(s))
	register(reg, newFeedCollector(s))
	register(reg, newDurationCollector(s))
	register(reg, collectors.NewGoCollector())
	register(reg, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.serveHTTP = promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})
	return m
}

// register adds c to reg, or returns the one that is there already: two
// servers may share a registry, and the caller may have the process's own
// collectors in it.
func register[C prometheus.Collector](reg *prometheus.Registry, c C) C {
	err := reg.Register(c)
	if dup, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := dup.ExistingCollector.(C); ok {
			return old
		}
	}
	if err != nil {
		panic(err) // two collectors of one name: a mistake in the program
	}
	return c
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) error {
	m.serveHTTP.ServeHTTP(w, r)
	return nil
}

// observe counts an answered request. The path is the route's pattern, so
// that clients cannot make labels.
func (m *metrics) observe(r *http.Request, status int, d time.Duration) {
	path := r.Pattern
	if path == "" || path == "/" {
		path = "other"
	}
	m.requests.WithLabelValues(path, methodLabel(r.Method), strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(path).Observe(d.Seconds())
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions, http.MethodPatch, http.MethodDelete:
		return method
	}
	return "other"
}

// generated counts a finished generation.
func (m *metrics) generated(a *openai.Answer) {
	m.finished.add(a, time.Now())
	for h, d := range map[prometheus.Histogram]time.Duration{
		m.ttft: a.Metrics.TTFT, m.tokenTime: a.Metrics.TimePerToken, m.firstAudio: a.Metrics.TimeToFirstAudio,
	} {
		if d > 0 {
			h.Observe(d.Seconds())
		}
	}
	m.tokens.WithLabelValues("prompt").Add(float64(a.Usage.PromptTokens))
	m.tokens.WithLabelValues("completion").Add(float64(a.Usage.CompletionTokens))
	m.images.Add(float64(len(a.Images)))
	if a.SampleRate > 0 {
		m.audio.Inc()
	}
}

// stateCollector asks the server at each scrape for what has no event: the
// session's state, the queues, the stages.
type stateCollector struct {
	s                             *Server
	session, strays, queue, ready *prometheus.Desc
}

func newStateCollector(s *Server) *stateCollector {
	return &stateCollector{
		s: s,
		session: prometheus.NewDesc("kinetoscope_profile_session_state",
			"1 for the state of the current or last session, idle before the first.", []string{"state"}, nil),
		strays: prometheus.NewDesc("kinetoscope_profilers_without_session",
			"Ranks whose profiler is on and which no session owns.", nil, nil),
		queue: prometheus.NewDesc("kinetoscope_stage_queue_depth", "Requests at a stage.", []string{"stage"}, nil),
		ready: prometheus.NewDesc("kinetoscope_stage_ready_ranks", "Ranks of a stage that serve.", []string{"stage"},
			nil),
	}
}

// Describe sends the collector's descriptions.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.session
	ch <- c.strays
	ch <- c.queue
	ch <- c.ready
}

// Collect sends the values of now.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.s.life, scrapeTimeout)
	defer cancel()
	now := session.StateIdle
	if st := c.s.current(ctx); st != nil {
		now = st.State
	}
	for _, st := range states {
		v := 0.0
		if st == now {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(c.session, prometheus.GaugeValue, v, string(st))
	}
	if api, ok := c.s.api.(Strayer); ok {
		ch <- prometheus.MustNewConstMetric(c.strays, prometheus.GaugeValue, float64(api.Strays()))
	}
	if q, ok := c.s.api.(QueueDepther); ok {
		for stage, n := range q.QueueDepth() {
			ch <- prometheus.MustNewConstMetric(c.queue, prometheus.GaugeValue, float64(n), stage)
		}
	}
	h, _ := c.s.healthNow()
	for _, st := range h.Stages {
		ch <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, float64(st.Ready), st.Name)
	}
}
