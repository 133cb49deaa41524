// Package drift says how the steps of a loop change over its time: slower as a device gets
// hot, faster after a warm-up.
package drift

import (
	"math"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
)

// MinSteps is the fewest steps for which a drift is computed: two in each quarter.
const MinSteps = 8

// Said is the change from which a drift is reported.
const Said = 0.1

// Drift describes how the durations of a loop's steps change. The first step only counts for its
// own field and the mean, because caches are cold and graphs are captured in it.
type Drift struct {
	Steps         int     `json:"steps"`
	HeadNs        float64 `json:"head_ns"`           // mean of the first quarter, the very first step left out
	TailNs        float64 `json:"tail_ns"`           // mean of the last quarter
	Change        float64 `json:"change"`            // TailNs by HeadNs, less 1; 0 with fewer than MinSteps steps
	SlopeNs       float64 `json:"slope_ns_per_step"` // least squares, without the first step
	FirstStepNs   int64   `json:"first_step_ns"`
	MeanNs        float64 `json:"mean_ns"`
	VariationCoef float64 `json:"variation"` // standard deviation by mean
}

// Step is one step of a kind, for Loops.
type Step struct {
	AtNs   int64 // when it began
	Ns     int64 // how long it took
	HostNs int64 // how long the host was in it; of the longest a pause is measured
	Same   bool  // it works on the same requests as the step before it in the list
}

// loopGap is the pause that separates two loops, in multiples of the longest step.
const loopGap = 3.0

// Loop is the steps First to Last of a list, which worked on the same requests one after the
// other, and their drift.
type Loop struct {
	First, Last int
	Drift
}

// Loops divides steps, in order of time, into loops. A loop ends where a request joins or leaves,
// because that changes a step's duration by itself, and where the device pauses. Loops of fewer
// than MinSteps steps are left out.
func Loops(steps []Step) []Loop {
	var out []Loop
	for i := 0; i < len(steps); {
		longest := steps[i].HostNs
		k := i + 1
		for ; k < len(steps); k++ {
			pause := steps[k].AtNs - steps[k-1].AtNs - steps[k-1].Ns
			if !steps[k].Same || float64(pause) > loopGap*float64(longest) {
				break
			}
			longest = max(longest, steps[k].HostNs)
		}
		if k-i >= MinSteps {
			ns := make([]int64, k-i)
			for j := range ns {
				ns[j] = steps[i+j].Ns
			}
			out = append(out, Loop{i, k - 1, Of(ns)})
		}
		i = k
	}
	return out
}

// Of returns the drift of a loop whose steps took ns, in their order. A loop of fewer than
// MinSteps steps has a mean and no drift.
func Of(ns []int64) Drift {
	n := len(ns)
	d := Drift{Steps: n}
	if n == 0 {
		return d
	}
	d.FirstStepNs = ns[0]
	var sum, sq, sx, sxy, sxx float64
	for i, x := range ns {
		v := float64(x)
		sum += v
		sq += v * v
		if i > 0 {
			x := float64(i)
			sx += x
			sxx += x * x
			sxy += x * v
		}
	}
	d.MeanNs = sum / float64(n)
	if d.MeanNs > 0 {
		d.VariationCoef = math.Sqrt(max(0, sq/float64(n)-d.MeanNs*d.MeanNs)) / d.MeanNs
	}
	if n < MinSteps {
		return d
	}
	m := float64(n - 1)
	if det := m*sxx - sx*sx; det > 0 {
		d.SlopeNs = (m*sxy - sx*(sum-float64(d.FirstStepNs))) / det
	}
	q := n / 4
	d.HeadNs, d.TailNs = stat.Mean(ns[1:1+q]), stat.Mean(ns[n-q:])
	if d.HeadNs > 0 {
		d.Change = d.TailNs/d.HeadNs - 1
	}
	return d
}
