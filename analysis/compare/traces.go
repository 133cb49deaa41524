package compare

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// StepChoice says by which steps two traces are compared.
type StepChoice string

// The choices.
const (
	StepsAuto     StepChoice = "auto"     // those that both are found to have by one method, else none
	StepsProfiler StepChoice = "profiler" // ProfilerStep
	StepsAll      StepChoice = "all"      // none: the whole traces
)

// Ways of TraceReport.ComparedBy beside the methods of package steps.
const (
	ByWholeTrace    = "whole_trace"
	ByProfilerSteps = "profiler_step"
)

// Errors of Traces.
var (
	ErrNoProfilerSteps = errors.New("not both traces have ProfilerStep labels")
	ErrNoSlices        = errors.New("a trace without slices: nothing to compare")
)

// TraceReport describes what changed from trace A to trace B.
type TraceReport struct {
	A       made.Made `json:"a"`
	B       made.Made `json:"b"`
	Differs []string  `json:"differs"` // how A and B were made differently, a phrase each
	Verdict string    `json:"verdict"` // one sentence
	// ComparedBy is how the steps were found over which Diff takes its means; ByWholeTrace if the
	// traces were not divided into steps.
	ComparedBy string             `json:"compared_by"`
	Steps      []TraceSteps       `json:"steps"` // by kind, most time of both together first
	Diff       analysis.TraceDiff `json:"diff"`
	// WindowsA and WindowsB are the steps compared; nil with ByWholeTrace.
	WindowsA []analysis.Window `json:"-"`
	WindowsB []analysis.Window `json:"-"`
}

// TraceSteps compares the steps of one kind on both sides.
type TraceSteps struct {
	Kind        steps.Kind `json:"kind"`
	A           Durations  `json:"a"`
	B           Durations  `json:"b"`
	Chance      float64    `json:"chance"`      // see Latency
	Significant bool       `json:"significant"` // Chance is under analysis.SignificanceLevel, and steps were not TooFew
}

// Durations describe durations, in ns. Without any Count is 0.
type Durations struct {
	Count int     `json:"count"`
	P50Ns float64 `json:"p50_ns"`
	P99Ns float64 `json:"p99_ns"`
	SumNs int64   `json:"sum_ns"`
	// Longest is the index of the longest one among the trace's steps; -1 if there is none.
	Longest int `json:"longest"`
}

// TooFew says that a side has too few steps to tell a difference from chance.
func (s *TraceSteps) TooFew() bool { return min(s.A.Count, s.B.Count) < MinRequests }

// TraceOptions choose how traces are compared.
type TraceOptions struct {
	Steps StepChoice // "" is StepsAuto
	analysis.Options
	Diff analysis.DiffOptions // without steps of its own
}

// Traces compares the trace of after with that of before. It reads each subject once for the steps
// and the differences, and shares what was read with other questions of the subject.
func Traces(before, after *analysis.Subject, o TraceOptions) (*TraceReport, error) {
	a, b := before.Trace, after.Trace
	sa := steps.Find(a, steps.Options{Seen: before.Seen(), Host: before.Host, NoPeriod: true})
	sb := steps.Find(b, steps.Options{Seen: after.Seen(), Host: after.Host, NoPeriod: true})
	r := &TraceReport{A: made.Of(a), B: made.Of(b), Differs: []string{}, Steps: []TraceSteps{}}
	r.Differs = append(r.Differs, unlike("cards", listed(r.A.Cards), listed(r.B.Cards))...)
	r.Differs = append(r.Differs, unlike("versions", listed(r.A.Versions), listed(r.B.Versions))...)
	by, err := comparedBy(a, b, sa, sb, o)
	if err != nil {
		return nil, err
	}
	r.ComparedBy = by
	do := o.Diff
	switch by {
	case ByWholeTrace:
		do.StepsA, do.StepsB = whole(a), whole(b)
	case ByProfilerSteps: // Diff finds these steps itself
		r.WindowsA, r.WindowsB = sa.Windows(), sb.Windows()
	default:
		r.WindowsA, r.WindowsB = sa.Windows(), sb.Windows()
		do.StepsA, do.StepsB = r.WindowsA, r.WindowsB
	}
	r.Diff = analysis.DiffOf(before, after, o.Options, do)
	if by != ByWholeTrace {
		r.Steps = traceSteps(sa, sb)
	}
	r.Verdict = traceVerdict(r)
	return r, nil
}

func comparedBy(a, b *trace.Trace, sa, sb *steps.Report, o TraceOptions) (string, error) {
	switch {
	case o.HTA:
		return ByProfilerSteps, nil
	case o.Steps == StepsProfiler:
		if sa.Method != steps.ByProfilerStep || sb.Method != steps.ByProfilerStep {
			return "", ErrNoProfilerSteps
		}
		return ByProfilerSteps, nil
	case o.Steps != StepsAll && sa.Method == sb.Method && len(sa.Steps) > 1 && len(sb.Steps) > 1:
		return string(sa.Method), nil
	case a.Slices.Len() == 0 || b.Slices.Len() == 0:
		return "", ErrNoSlices
	}
	return ByWholeTrace, nil
}

func whole(t *trace.Trace) []analysis.Window {
	start, end, _ := t.Extent()
	return []analysis.Window{{StartNs: start, EndNs: end + 1}}
}

// traceSteps sums the steps of both sides by kind.
func traceSteps(a, b *steps.Report) []TraceSteps {
	type side struct {
		ns      []int64
		longest int
	}
	by := map[steps.Kind]*[2]side{}
	for k, r := range []*steps.Report{a, b} {
		for i := range r.Steps {
			s := &r.Steps[i]
			if by[s.Kind] == nil {
				by[s.Kind] = &[2]side{{longest: -1}, {longest: -1}}
			}
			x := &by[s.Kind][k]
			if x.longest < 0 || s.Ns() > r.Steps[x.longest].Ns() {
				x.longest = i
			}
			x.ns = append(x.ns, s.Ns())
		}
	}
	out := []TraceSteps{}
	for kind, x := range by {
		s := TraceSteps{Kind: kind, Chance: analysis.Chance(floats(x[0].ns), floats(x[1].ns))}
		s.A, s.B = durations(x[0].ns, x[0].longest), durations(x[1].ns, x[1].longest)
		s.Significant = s.Chance < analysis.SignificanceLevel && !s.TooFew()
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y TraceSteps) int {
		return cmp.Or(cmp.Compare(y.A.SumNs+y.B.SumNs, x.A.SumNs+x.B.SumNs), cmp.Compare(x.Kind, y.Kind))
	})
	return out
}

func durations(ns []int64, longest int) Durations {
	sum := int64(0)
	for _, n := range ns {
		sum += n
	}
	q := pipeline.QuantilesOf(ns)
	return Durations{Count: q.Count, P50Ns: q.P50Ns, P99Ns: q.P99Ns, SumNs: sum, Longest: longest}
}

// traceVerdict returns one sentence about the steps that took most, or about all device or host
// work if there are none, and about the name that changed most.
func traceVerdict(r *TraceReport) string {
	s := workWords(r)
	for i := range r.Steps {
		if x := &r.Steps[i]; x.A.Count > 0 && x.B.Count > 0 {
			s = stepsWords(x)
			break
		}
	}
	if w := nameWords(r); w != "" {
		s += "; " + w
	}
	return s + "."
}

func stepsWords(s *TraceSteps) string {
	name := "steps"
	if s.Kind != steps.Unknown {
		name = s.Kind.String() + " steps"
	}
	numbers := fmt.Sprintf("p50 %s → %s over %d and %d", units.Duration(s.A.P50Ns), units.Duration(s.B.P50Ns),
		s.A.Count, s.B.Count)
	change := Change(s.A.P50Ns, s.B.P50Ns)
	switch {
	case s.TooFew():
		return fmt.Sprintf("Too few %s to tell a difference from chance (%s)", name, numbers)
	case !s.Significant:
		return fmt.Sprintf("No difference in %s that could not be chance (%s)", name, numbers)
	case change > 0:
		return fmt.Sprintf("%s take %s longer in B (%s)", capital(name), units.Share(change), numbers)
	}
	return fmt.Sprintf("%s take %s less in B (%s)", capital(name), units.Share(-change), numbers)
}

// workWords says how the total work of the traces changed: that of the devices, or of the host if
// there is not a device work.
func workWords(r *TraceReport) string {
	who, a, b := "Device work takes", 0.0, 0.0
	for _, device := range []bool{true, false} {
		for i := range r.Diff.Rows {
			if x := &r.Diff.Rows[i]; x.Device == device {
				a, b = a+x.A.StepNs, b+x.B.StepNs
			}
		}
		if a > 0 || b > 0 {
			break
		}
		who = "Host calls, nested ones counted again, take"
	}
	numbers := fmt.Sprintf("%s → %s", units.Duration(a), units.Duration(b))
	if r.ComparedBy == ByWholeTrace {
		numbers += " in all, measured once"
	}
	switch change := Change(a, b); {
	case a == 0 && b == 0:
		return "Nothing takes time on either side"
	case a == 0:
		return fmt.Sprintf("%s time in B alone (%s)", who, numbers)
	case math.Abs(change) < noChange:
		return fmt.Sprintf("%s as long in B (%s)", who, numbers)
	case change > 0:
		return fmt.Sprintf("%s %s longer in B (%s)", who, units.Share(change), numbers)
	default:
		return fmt.Sprintf("%s %s less in B (%s)", who, units.Share(-change), numbers)
	}
}

// noChange is the relative change of a sum below which it counts as unchanged.
const noChange = 0.005

// nameWords names what changed most: on the device if it has work, else on the host. Significant
// changes are preferred.
func nameWords(r *TraceReport) string {
	var most *analysis.DiffRow
	better := func(x, y *analysis.DiffRow) bool {
		switch {
		case x.Device != y.Device:
			return x.Device
		case x.Significant != y.Significant:
			return x.Significant
		}
		return math.Abs(x.DeltaNs) > math.Abs(y.DeltaNs)
	}
	for i := range r.Diff.Rows {
		if x := &r.Diff.Rows[i]; x.DeltaNs != 0 && (most == nil || better(x, most)) {
			most = x
		}
	}
	if most == nil {
		return ""
	}
	sign, each := "+", " in a mean step"
	if most.DeltaNs < 0 {
		sign = "−"
	}
	if r.ComparedBy == ByWholeTrace {
		each = ""
	}
	return fmt.Sprintf("%s changed most (%s%s%s)", shortened(analysis.ShortName(most.Name)), sign,
		units.Duration(math.Abs(most.DeltaNs)), each)
}

// maxSpokenName is how many bytes of a name a sentence shows.
const maxSpokenName = 60

func shortened(name string) string {
	if r := []rune(name); len(r) > maxSpokenName {
		return string(r[:maxSpokenName-1]) + "…"
	}
	return name
}
