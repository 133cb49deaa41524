package web

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/wire"
)

// StageTimer knows how long the phases of the stages took, for /metrics.
type StageTimer interface {
	StageDurations(ctx context.Context) ([]omni.StageDuration, error)
}

// durationTimeout bounds what a scrape waits for the ranks: a rank that is in a long
// step answers beside it, and Prometheus gives up after ten seconds.
const durationTimeout = 2 * time.Second

// durationCollector asks the ranks at each scrape.
type durationCollector struct {
	s    *Server
	desc *prometheus.Desc
}

func newDurationCollector(s *Server) *durationCollector {
	return &durationCollector{s: s, desc: prometheus.NewDesc("kinetoscope_stage_duration_seconds",
		"Steps and hand-offs of a stage, measured whether or not a session records.", []string{"stage", "phase"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *durationCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. What does not answer is left out.
func (c *durationCollector) Collect(ch chan<- prometheus.Metric) {
	timer, ok := c.s.api.(StageTimer)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), durationTimeout)
	defer cancel()
	list, err := timer.StageDurations(ctx)
	if err != nil {
		c.s.log.Debug("stage durations", "err", err)
	}
	for _, d := range list {
		buckets := map[float64]uint64{}
		for i, n := range d.Buckets {
			buckets[wire.DurationBounds[i]] = n
		}
		ch <- prometheus.MustNewConstHistogram(c.desc, d.Count, d.SumSeconds, buckets, d.Stage, d.Phase)
	}
}
