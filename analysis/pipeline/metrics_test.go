package pipeline

import (
	"math"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// What a server told of itself is summed up by name; counters of others, and what is no number, are not.
func TestMetrics(t *testing.T) {
	tr := trace.New()
	own := tr.AddTrack(trace.Track{Name: "pool"})
	srv := tr.AddTrack(trace.Track{Name: trace.TrackServer})
	for i, v := range []float64{2, 4, math.NaN(), 9} {
		tr.AddCounter(int64(i), "requests waiting", "requests waiting", srv, v)
		tr.AddCounter(int64(i), "bytes", "bytes", own, v)
	}
	got := metrics(tr)
	if len(got) != 1 || got[0] != (Metric{Name: "requests waiting", Samples: 3, Min: 2, Mean: 5, Max: 9, Last: 9}) {
		t.Errorf("%+v", got)
	}
}
