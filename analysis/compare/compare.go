// Package compare says what changed between two captures. Of whole pipelines: how long requests
// took to their first token and output, how long the steps of each stage took, where the stages'
// time went, and whether another stage sets the pace. Of two traces: how long their steps took,
// and what changed by name. Both end in a verdict of one sentence.
package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// Side is one of two captures, and how it was made.
type Side struct {
	Name     string           `json:"name"`     // the name that users know: the run's directory
	Cards    []string         `json:"cards"`    // see made.Made; Pipelines takes them from Report
	Versions []string         `json:"versions"` // "kinetoscope 1.2"; Pipelines adds those of Report
	Ranks    string           `json:"ranks"`    // "thinker ×2, talker ×1"; Pipelines fills it
	Requests int              `json:"requests"` // of the capture; Pipelines fills it
	Report   *pipeline.Report `json:"-"`
}

// Report describes what changed from A to B.
type Report struct {
	A       Side      `json:"a"`
	B       Side      `json:"b"`
	Differs []string  `json:"differs"` // how A and B were made differently, a phrase each
	Doubts  []string  `json:"doubts"`  // why the numbers may mislead, a sentence each
	Verdict string    `json:"verdict"` // one sentence
	Latency []Latency `json:"latency"` // of requests
	Steps   []Step    `json:"steps"`   // by stage, then category
	Time    []Time    `json:"time"`    // by stage, then category
	// BottleneckA and BottleneckB are the names of the stages that set the pace; "" if none did.
	BottleneckA string `json:"bottleneck_a"`
	BottleneckB string `json:"bottleneck_b"`
}

// MinRequests is how many requests each side must have for a difference to be significant. The test
// assumes that requests are independent; requests of one batch share their steps, so a few requests
// may be a single observation.
const MinRequests = 10

// TooFew says that a side has too few requests to tell a difference from chance.
func (l *Latency) TooFew() bool { return min(l.A.Count, l.B.Count) < MinRequests }

// Latency is one duration of requests on both sides. A side without such requests has Count 0.
type Latency struct {
	// "ttft", "first_audio", "first_image", "first_text", "first_output" or "total"
	What string             `json:"what"`
	A    pipeline.Quantiles `json:"a"`
	B    pipeline.Quantiles `json:"b"`
	// Chance is the probability that requests without a difference would differ in rank as much as
	// these do (Mann and Whitney); 1 if a side has no requests.
	Chance      float64 `json:"chance"`
	Significant bool    `json:"significant"` // Chance is under analysis.SignificanceLevel, and requests were not TooFew
}

// Step is one kind of a stage's steps on both sides. A side without it has Count 0.
type Step struct {
	Stage    string             `json:"stage"`
	Category pipeline.Category  `json:"category"`
	A        pipeline.StepStats `json:"a"`
	B        pipeline.StepStats `json:"b"`
	// Chance and Significant are defined as in Latency, over the durations that the reports keep; 1
	// and false if one report keeps none.
	Chance      float64 `json:"chance"`
	Significant bool    `json:"significant"`
}

// TooFew says that a side has too few steps to tell a difference from chance, or that its
// report, of an older version, does not keep them.
func (s *Step) TooFew() bool { return min(len(s.A.Sample), len(s.B.Sample)) < MinRequests }

// Time is a category's part of a stage's window, summed over its ranks, on both sides.
type Time struct {
	Stage    string            `json:"stage"`
	Category pipeline.Category `json:"category"`
	ANs      int64             `json:"a_ns"`
	BNs      int64             `json:"b_ns"`
	AShare   float64           `json:"a_share"` // of the window
	BShare   float64           `json:"b_share"`
}

// Pipelines compares two captures; both must have a Report. Stages are matched by name.
func Pipelines(a, b Side) *Report {
	for _, s := range []*Side{&a, &b} {
		s.Ranks, s.Requests = ranksOf(s.Report), s.Report.RequestCount
		s.known(s.Report.Made)
	}
	r := &Report{A: a, B: b, Differs: Differs(&a, &b), Steps: []Step{}, Time: []Time{}}
	r.Doubts = append(doubts("A", a.Report), doubts("B", b.Report)...)
	r.Latency = latencies(a.Report, b.Report)
	for _, name := range stageNames(a.Report, b.Report) {
		x, y := stage(a.Report, name), stage(b.Report, name)
		r.Steps = append(r.Steps, stepsOf(name, x, y)...)
		r.Time = append(r.Time, timesOf(name, x, y)...)
	}
	r.BottleneckA, r.BottleneckB = bottleneck(a.Report), bottleneck(b.Report)
	r.Verdict = verdict(r)
	return r
}

// known adds the cards and versions from the traces of a side; m may be nil.
func (s *Side) known(m *made.Made) {
	s.Cards, s.Versions = append([]string{}, s.Cards...), append([]string{}, s.Versions...)
	if m != nil {
		s.Cards, s.Versions = append(s.Cards, m.Cards...), append(s.Versions, m.Versions...)
	}
	slices.Sort(s.Cards)
	slices.Sort(s.Versions)
}

// stageNames returns the stages of a in order, then those that only b has.
func stageNames(a, b *pipeline.Report) []string {
	var out []string
	for _, r := range []*pipeline.Report{a, b} {
		for i := range r.Stages {
			if !slices.Contains(out, r.Stages[i].Name) {
				out = append(out, r.Stages[i].Name)
			}
		}
	}
	return out
}

// stage returns the stage with this name, or an empty one if r has none.
func stage(r *pipeline.Report, name string) *pipeline.Stage {
	for i := range r.Stages {
		if r.Stages[i].Name == name {
			return &r.Stages[i]
		}
	}
	return &pipeline.Stage{}
}

func bottleneck(r *pipeline.Report) string {
	if r.Bottleneck == nil {
		return ""
	}
	return r.Bottleneck.Stage
}

func ranksOf(r *pipeline.Report) string {
	parts := make([]string, len(r.Stages))
	for i := range r.Stages {
		parts[i] = fmt.Sprintf("%s ×%d", r.Stages[i].Name, len(r.Stages[i].Ranks))
	}
	return strings.Join(parts, ", ")
}

// Differs says how two sides were made differently, a phrase for each difference. What is unknown
// on both sides is not a difference.
func Differs(a, b *Side) []string {
	out := []string{}
	out = append(out, unlike("cards", listed(a.Cards), listed(b.Cards))...)
	out = append(out, unlike("ranks", a.Ranks, b.Ranks)...)
	out = append(out, unlike("versions", listed(a.Versions), listed(b.Versions))...)
	if a.Requests != b.Requests {
		out = append(out, fmt.Sprintf("requests: %d in A, %d in B", a.Requests, b.Requests))
	}
	return out
}

func listed(names []string) string { return strings.Join(names, ", ") }

// unlike returns a phrase that says how A and B differ, or nothing if they do not.
func unlike(what, a, b string) []string {
	if a == b {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s in A, %s in B", what, cmp.Or(a, "unknown"), cmp.Or(b, "unknown"))}
}

func doubts(side string, r *pipeline.Report) []string {
	out := []string{}
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		out = append(out, fmt.Sprintf("%s: %s replica %d rank %d is %s: %s.", side, o.Stage, o.Replica, o.Rank, o.State,
			strings.TrimRight(o.Reason, ".")))
	}
	if !r.Aligned && len(r.Stages) > 1 {
		out = append(out, side+": the clocks of its ranks are not comparable; durations across stages may be wrong.")
	}
	return out
}

func latencies(a, b *pipeline.Report) []Latency {
	ttft := func(q *pipeline.Request) int64 { return q.TTFTNs }
	first := func(q *pipeline.Request) int64 { return q.FirstOutputNs }
	total := func(q *pipeline.Request) int64 { return q.TotalNs }
	return []Latency{
		latency("ttft", a, b, a.Latency.TTFT, b.Latency.TTFT, ttft),
		latency("first_"+outputKind(a, b), a, b, a.Latency.FirstOutput, b.Latency.FirstOutput, first),
		latency("total", a, b, a.Latency.Total, b.Latency.Total, total),
	}
}

// outputKind returns the kind of output of all requests on both sides, "output" if there are
// several kinds or it is unknown.
func outputKind(reports ...*pipeline.Report) string {
	kind := ""
	for _, r := range reports {
		for i := range r.Requests {
			switch k := r.Requests[i].OutputKind; {
			case k == "":
			case kind == "":
				kind = k
			case kind != k:
				return "output"
			}
		}
	}
	return cmp.Or(kind, "output")
}

func latency(what string, a, b *pipeline.Report, qa, qb pipeline.Quantiles, of func(*pipeline.Request) int64) Latency {
	values := func(r *pipeline.Report) (out []float64) {
		for i := range r.Requests {
			if v := of(&r.Requests[i]); v >= 0 && !r.Requests[i].Partial {
				out = append(out, float64(v))
			}
		}
		return out
	}
	p := analysis.Chance(values(a), values(b))
	l := Latency{What: what, A: qa, B: qb, Chance: p}
	l.Significant = p < analysis.SignificanceLevel && !l.TooFew()
	return l
}

func stepsOf(name string, x, y *pipeline.Stage) []Step {
	var out []Step
	find := func(s *pipeline.Stage, c pipeline.Category) pipeline.StepStats {
		return first(s.Steps, func(st pipeline.StepStats) bool { return st.Category == c },
			pipeline.StepStats{Category: c})
	}
	for c := range pipeline.NumCategories {
		s := Step{Stage: name, Category: c, A: find(x, c), B: find(y, c)}
		if s.A.Count > 0 || s.B.Count > 0 {
			s.Chance = analysis.Chance(floats(s.A.Sample), floats(s.B.Sample))
			s.Significant = s.Chance < analysis.SignificanceLevel && !s.TooFew()
			out = append(out, s)
		}
	}
	return out
}

func floats(v []int64) []float64 {
	out := make([]float64, len(v))
	for i, n := range v {
		out[i] = float64(n)
	}
	return out
}

func timesOf(name string, x, y *pipeline.Stage) []Time {
	var out []Time
	find := func(s *pipeline.Stage, c pipeline.Category) pipeline.CategoryTime {
		return first(s.Time, func(t pipeline.CategoryTime) bool { return t.Category == c },
			pipeline.CategoryTime{Category: c})
	}
	for c := range pipeline.NumCategories {
		a, b := find(x, c), find(y, c)
		if a.ExclusiveNs > 0 || b.ExclusiveNs > 0 {
			out = append(out, Time{name, c, a.ExclusiveNs, b.ExclusiveNs, a.Share, b.Share})
		}
	}
	return out
}

// first returns the first element of list for which is returns true, none if there is none.
func first[T any](list []T, is func(T) bool, none T) T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return none
}
