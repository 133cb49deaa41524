package wire

// DurationBounds are the upper bounds, in seconds, of the buckets in which stages count
// their steps: from a decode step of a small model to a denoise loop of a large one.
var DurationBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
	60}

// Durations is a histogram of one phase of a stage.
type Durations struct {
	Buckets    []uint64 `json:"buckets"` // observations up to DurationBounds[i], cumulative
	Count      uint64   `json:"count"`
	SumSeconds float64  `json:"sum_seconds"`
}

// Add adds o, of another rank, to d.
func (d *Durations) Add(o Durations) {
	if d.Buckets == nil {
		d.Buckets = make([]uint64, len(DurationBounds))
	}
	for i := range min(len(d.Buckets), len(o.Buckets)) {
		d.Buckets[i] += o.Buckets[i]
	}
	d.Count += o.Count
	d.SumSeconds += o.SumSeconds
}
