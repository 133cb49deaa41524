package finding

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/units"
)

// Tail is how far the slowest steps of a kind lie from the others.
type Tail struct {
	Step         string // "decode step"
	Count        int
	P50Ns, P99Ns float64 // interpolated between steps
	MaxNs        int64
}

// When a tail is worth a sentence.
const (
	tailSteps = 20  // fewest steps
	tailRatio = 3.0 // P99Ns by P50Ns
	// tailHundred is the fewest steps of which one in a hundred can be told; of fewer, P99Ns lies between
	// the slowest two, and no step took it.
	tailHundred = 100
)

// Text says it, and how many times the median it is; ok is false if it is not worth a sentence.
func (t Tail) Text() (text string, ratio float64, ok bool) {
	if t.Count < tailSteps || t.P99Ns < tailRatio*t.P50Ns {
		return "", 0, false
	}
	if t.Count < tailHundred {
		ratio = float64(t.MaxNs) / t.P50Ns
		return fmt.Sprintf("the slowest of %s takes %s, %.1f times the median of %s", units.Plural(t.Count, t.Step),
			units.Duration(float64(t.MaxNs)), ratio, units.Duration(t.P50Ns)), ratio, true
	}
	ratio = t.P99Ns / t.P50Ns
	return fmt.Sprintf("one %s in a hundred takes %s or more, %.1f times the median of %s; the longest took %s", t.Step,
		units.Duration(t.P99Ns), ratio, units.Duration(t.P50Ns), units.Duration(float64(t.MaxNs))), ratio, true
}
