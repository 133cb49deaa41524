package compare

import (
	"fmt"
	"math"
	"strings"

	"github.com/kinetoscope/kinetoscope/units"
)

// Spoken is the name of a Latency in a sentence.
func (l *Latency) Spoken() string {
	if l.What == "ttft" {
		return "TTFT"
	}
	return strings.ReplaceAll(l.What, "_", " ")
}

// Change returns the relative change from a to b: 0.5 means half as much again. It is 0 if a is 0.
func Change(a, b float64) float64 {
	if a == 0 {
		return 0
	}
	return (b - a) / a
}

// slightChange is the relative change of a step's median below which it counts as unchanged.
const slightChange = 0.05

// verdict returns one sentence: the most important latency, the step that changed most, and the
// bottleneck.
func verdict(r *Report) string {
	parts := []string{"no latency of a request was measured on both sides"}
	if l := decisive(r); l != nil {
		parts[0] = latencyWords(l)
	}
	if w := stepWords(r); w != "" {
		parts = append(parts, w)
	}
	switch a, b := r.BottleneckA, r.BottleneckB; {
	case a == "" || b == "":
		parts = append(parts, "a bottleneck is not known on both sides")
	case a == b:
		parts = append(parts, fmt.Sprintf("the bottleneck stays at %s", a))
	default:
		parts = append(parts, fmt.Sprintf("the bottleneck moved from %s to %s", a, b))
	}
	return capital(strings.Join(parts, "; ") + ".")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// decisive returns the latency that users of the pipeline notice first: the time to the first
// output, else to the first token, else in total.
func decisive(r *Report) *Latency {
	for _, i := range []int{1, 0, 2} {
		if l := &r.Latency[i]; l.A.Count > 0 && l.B.Count > 0 {
			return l
		}
	}
	return nil
}

func latencyWords(l *Latency) string {
	numbers := fmt.Sprintf("p50 %s → %s over %d and %d requests", units.Duration(l.A.P50Ns), units.Duration(l.B.P50Ns),
		l.A.Count, l.B.Count)
	change := Change(l.A.P50Ns, l.B.P50Ns)
	switch {
	case l.TooFew():
		return fmt.Sprintf("too few requests to tell a difference in %s from chance (%s)", l.Spoken(), numbers)
	case !l.Significant:
		return fmt.Sprintf("no difference in %s that could not be chance (%s)", l.Spoken(), numbers)
	case change > 0:
		return fmt.Sprintf("%s takes %s longer in B (%s)", l.Spoken(), units.Share(change), numbers)
	}
	return fmt.Sprintf("%s takes %s less in B (%s)", l.Spoken(), units.Share(-change), numbers)
}

// stepWords names the step whose median changed most. It prefers steps with a significant change,
// then steps of which there are enough to decide. It is "" if none changed by more than
// slightChange.
func stepWords(r *Report) string {
	var most *Step
	var by float64
	for i := range r.Steps {
		s := &r.Steps[i]
		c := math.Abs(Change(s.A.P50Ns, s.B.P50Ns))
		if s.A.Count == 0 || s.B.Count == 0 || c <= slightChange {
			continue
		}
		if most == nil || s.weight() > most.weight() || s.weight() == most.weight() && c > by {
			most, by = s, c
		}
	}
	if most == nil {
		return ""
	}
	how := ""
	switch {
	case min(most.A.Count, most.B.Count) < MinRequests:
		how = ", too few to tell from chance"
	case most.TooFew():
		how = ", not tested against chance"
	case !most.Significant:
		how = ", which may be chance"
	}
	return fmt.Sprintf("of the steps, %s %s changed most (p50 %s → %s over %d and %d%s)", most.Stage, most.Category,
		units.Duration(most.A.P50Ns), units.Duration(most.B.P50Ns), most.A.Count, most.B.Count, how)
}

// weight ranks how meaningful a difference of the step is.
func (s *Step) weight() int {
	switch {
	case s.Significant:
		return 2
	case !s.TooFew():
		return 1
	}
	return 0
}
