package view

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// What two runs can be compared by.
const (
	byPipelines = "pipelines"
	byTraces    = "traces"
)

// maxDiffRows bounds the names in one answer. The largest changes come first.
const maxDiffRows = 1000

// spokenRanks is how many traces a side's description names one by one.
const spokenRanks = 4

// compareSide is one side of GET /v1/compare.
type compareSide struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	compare.Side
	Slices   int      `json:"slices"`
	LengthNs int64    `json:"length_ns"`
	Traces   []string `json:"traces"` // names, in order

	tl     *timeline.Timeline
	opened *Opened
	// stamp tells readings of one id apart: a run may be read again when it was forgotten.
	stamp int64
}

// compareBody is the body of GET /v1/compare.
type compareBody struct {
	SchemaVersion int             `json:"schema_version"`
	By            string          `json:"by"` // "pipelines" or "traces"
	A             *compareSide    `json:"a"`
	B             *compareSide    `json:"b"`
	Differs       []string        `json:"differs"`
	Doubts        []string        `json:"doubts"`
	Pairs         []timeline.Pair `json:"pairs"`
	OnlyA         []string        `json:"only_a"` // traces without a counterpart
	OnlyB         []string        `json:"only_b"`

	// Verdict and what follows are set for pipelines. For traces, GET /v1/compare/traces has them
	// pair by pair.
	Verdict     string            `json:"verdict,omitempty"`
	Latency     []compare.Latency `json:"latency,omitempty"`
	Steps       []compare.Step    `json:"steps,omitempty"`
	Time        []compare.Time    `json:"time,omitempty"`
	BottleneckA string            `json:"bottleneck_a,omitempty"`
	BottleneckB string            `json:"bottleneck_b,omitempty"`
}

// sides waits until both runs that a request names are read.
func (a *API) sides(r *http.Request) ([2]*compareSide, error) {
	var out [2]*compareSide
	for _, name := range []string{"a", "b"} {
		id := r.URL.Query().Get(name)
		if id == "" {
			return out, refuse(400, "%s is missing: name two runs, /v1/compare?a=ID&b=ID", name)
		}
		// Both begin to be read before one is waited for.
		if err := a.Begin(id); err != nil {
			return out, err
		}
	}
	for k, name := range []string{"a", "b"} {
		id := r.URL.Query().Get(name)
		run, err := a.get(id)
		if err != nil {
			return out, err
		}
		select {
		case <-run.done:
		case <-r.Context().Done():
			return out, r.Context().Err()
		}
		if run.err != nil {
			return out, run.err
		}
		out[k] = sideOf(id, run)
	}
	return out, nil
}

func sideOf(id string, r *run) *compareSide {
	s := &compareSide{ID: id, Title: r.opened.Title, Detail: r.opened.Detail, Slices: r.tl.Count(),
		LengthNs: r.tl.EndNs,
		Traces:   []string{}, tl: r.tl, opened: r.opened, stamp: r.began.UnixNano()}
	var traces []*trace.Trace
	for i := range r.tl.Traces() {
		s.Traces = append(s.Traces, r.tl.Name(i))
		traces = append(traces, r.opened.Sources[i].Trace)
	}
	m := made.Of(traces...)
	s.Side = compare.Side{Name: r.opened.Title, Cards: m.Cards, Versions: m.Versions, Report: r.tl.Report()}
	if r.opened.CreatedBy != "" {
		s.Versions = append([]string{r.opened.CreatedBy}, s.Versions...)
	}
	s.Ranks = ranksText(traces, s.Traces)
	return s
}

// ranksText describes which ranks a side has: by name if there are few and the traces name them.
func ranksText(traces []*trace.Trace, names []string) string {
	unknown := slices.ContainsFunc(traces, func(t *trace.Trace) bool { return t.Meta.Rank < 0 })
	switch {
	case len(names) == 1 && unknown:
		return "1 trace"
	case unknown || len(names) > spokenRanks:
		return units.Count(int64(len(names))) + " traces"
	}
	return strings.Join(names, ", ")
}

// doubts lists reasons why the numbers of a run may mislead: traces that could not be read or were
// repaired.
func (s *compareSide) doubts(name string) []string {
	var out []string
	for _, f := range s.opened.Failed {
		out = append(out, fmt.Sprintf("%s: %s: %s.", name, f.Path, strings.TrimRight(f.Error, ".")))
	}
	for _, f := range s.opened.Left {
		out = append(out, fmt.Sprintf("%s: %s is left out: %s.", name, f.Path, strings.TrimRight(f.Error, ".")))
	}
	for i, src := range s.opened.Sources {
		if src.Note != "" {
			out = append(out, fmt.Sprintf("%s: %s: %s.", name, s.Traces[i], strings.TrimRight(src.Note, ".")))
		}
	}
	return out
}

// compare answers with what two runs are and how they differ as wholes.
func (a *API) compare(w http.ResponseWriter, r *http.Request) error {
	s, err := a.sides(r)
	if err != nil {
		return err
	}
	b := &compareBody{SchemaVersion: SchemaVersion, By: byTraces, A: s[0], B: s[1], Differs: []string{},
		Doubts: []string{}, OnlyA: []string{}, OnlyB: []string{}}
	b.Doubts = append(append(b.Doubts, s[0].doubts("A")...), s[1].doubts("B")...)
	pairs, onlyA, onlyB := timeline.Pairs(s[0].tl, s[1].tl)
	b.Pairs = append([]timeline.Pair{}, pairs...)
	for _, i := range onlyA {
		b.OnlyA = append(b.OnlyA, s[0].Traces[i])
	}
	for _, i := range onlyB {
		b.OnlyB = append(b.OnlyB, s[1].Traces[i])
	}
	if s[0].Report == nil || s[1].Report == nil {
		b.Differs = compare.Differs(&s[0].Side, &s[1].Side)
		return writeJSON(w, b)
	}
	b.By = byPipelines
	v, err := a.memo.get(memoKey(s, "pipelines"), func() (any, error) {
		return compare.Pipelines(s[0].pipeline(), s[1].pipeline()), nil
	})
	if err != nil {
		return err
	}
	rep := v.(*compare.Report)
	s[0].Side, s[1].Side = rep.A, rep.B
	b.Differs, b.Doubts = rep.Differs, append(rep.Doubts, b.Doubts...)
	b.Verdict, b.Latency, b.Steps, b.Time = rep.Verdict, rep.Latency, rep.Steps, rep.Time
	b.BottleneckA, b.BottleneckB = rep.BottleneckA, rep.BottleneckB
	return writeJSON(w, b)
}

// pipeline returns a side in the form that compare.Pipelines takes, with the cards and versions of
// the report added.
func (s *compareSide) pipeline() compare.Side {
	out := compare.Side{Name: s.Name, Report: s.Report}
	if m := s.Report.Made; m != nil {
		out.Versions = slices.DeleteFunc(slices.Clone(s.Versions),
			func(v string) bool { return slices.Contains(m.Versions, v) })
	}
	return out
}

// pairOf reads which trace of each side is asked for.
func pairOf(r *http.Request, s [2]*compareSide) (i, j int, err error) {
	var at [2]int
	for k, name := range []string{"trace_a", "trace_b"} {
		n, err := integer(r.URL.Query(), name, 0)
		if err != nil {
			return 0, 0, err
		}
		if n < 0 || n >= int64(s[k].tl.Traces()) {
			return 0, 0, refuse(404, "%s is %d; there are %d, from 0", name, n, s[k].tl.Traces())
		}
		at[k] = int(n)
	}
	return at[0], at[1], nil
}

// tracesBody is the body of GET /v1/compare/traces.
type tracesBody struct {
	SchemaVersion int `json:"schema_version"`
	TraceA        int `json:"trace_a"`
	TraceB        int `json:"trace_b"`
	*compare.TraceReport
	Names int `json:"names"` // of which Diff.Rows has the first 1000
}

// diff compares a trace of each side; the result is kept.
func (a *API) diff(s [2]*compareSide, i, j int, steps compare.StepChoice) (*compare.TraceReport, error) {
	v, err := a.memo.get(memoKey(s, "traces", i, j, steps), func() (any, error) { return diffOf(s, i, j, steps) })
	if err != nil {
		return nil, answered(err)
	}
	return v.(*compare.TraceReport), nil
}

func diffOf(s [2]*compareSide, i, j int, steps compare.StepChoice) (*compare.TraceReport, error) {
	x, err := s[0].tl.Subject(i)
	if err != nil {
		return nil, err
	}
	y, err := s[1].tl.Subject(j)
	if err != nil {
		return nil, err
	}
	return compare.Traces(x, y, compare.TraceOptions{Steps: steps})
}

// asked reads both sides, a pair of traces and by which steps they are compared.
func (a *API) asked(r *http.Request) (s [2]*compareSide, i, j int, rep *compare.TraceReport, err error) {
	if s, err = a.sides(r); err != nil {
		return s, 0, 0, nil, err
	}
	if i, j, err = pairOf(r, s); err != nil {
		return s, 0, 0, nil, err
	}
	steps := compare.StepChoice(cmp.Or(r.URL.Query().Get("steps"), string(compare.StepsAuto)))
	if steps != compare.StepsAuto && steps != compare.StepsAll && steps != compare.StepsProfiler {
		return s, 0, 0, nil, refuse(400, "steps is %.40q; allowed are auto, all and profiler", string(steps))
	}
	rep, err = a.diff(s, i, j, steps)
	return s, i, j, rep, err
}

func (a *API) compareTraces(w http.ResponseWriter, r *http.Request) error {
	if allAsked(r) {
		return a.compareAll(w, r)
	}
	_, i, j, rep, err := a.asked(r)
	if err != nil {
		return err
	}
	b := tracesBody{SchemaVersion: SchemaVersion, TraceA: i, TraceB: j, Names: len(rep.Diff.Rows)}
	short := *rep
	short.Diff.Rows = rep.Diff.Rows[:min(len(rep.Diff.Rows), maxDiffRows)]
	b.TraceReport = &short
	return writeJSON(w, b)
}

// flamesBody is the body of GET /v1/compare/flame.
type flamesBody struct {
	SchemaVersion int `json:"schema_version"`
	// StepsA and StepsB are the steps over which the times are means; 0: they are of the whole.
	StepsA int                 `json:"steps_a"`
	StepsB int                 `json:"steps_b"`
	Flame  *timeline.FlameDiff `json:"flame"`
}

func (a *API) compareFlames(w http.ResponseWriter, r *http.Request) error {
	of := cmp.Or(r.URL.Query().Get("of"), "host")
	if of != "host" && of != "device" {
		return refuse(400, "of is %.40q; allowed are host and device", of)
	}
	if allAsked(r) {
		return a.compareAllFlames(w, r, of == "device")
	}
	s, i, j, rep, err := a.asked(r)
	if err != nil {
		return err
	}
	f, err := a.flames(s, i, j, rep, of == "device")
	if err != nil {
		return err
	}
	return writeJSON(w, flamesBody{SchemaVersion, len(rep.WindowsA), len(rep.WindowsB), f})
}

// flames lays the flame graphs of a trace of each side over each other; the result is kept.
func (a *API) flames(s [2]*compareSide, i, j int, rep *compare.TraceReport, device bool) (*timeline.FlameDiff, error) {
	v, err := a.memo.get(memoKey(s, "flame", i, j, rep.ComparedBy, device), func() (any, error) {
		return a.flamesOf(s, i, j, rep, device)
	})
	if err != nil {
		return nil, answered(err)
	}
	return v.(*timeline.FlameDiff), nil
}

func (a *API) flamesOf(s [2]*compareSide, i, j int, rep *compare.TraceReport, device bool) (*timeline.FlameDiff,
	error) {
	return timeline.DiffFlames(a.life, timeline.FlameSide{Timeline: s[0].tl, Trace: i, Steps: rep.WindowsA},
		timeline.FlameSide{Timeline: s[1].tl, Trace: j, Steps: rep.WindowsB}, device)
}

// memoKey names a result about two readings of runs.
func memoKey(s [2]*compareSide, more ...any) string {
	return fmt.Sprintln(s[0].ID, s[0].stamp, s[1].ID, s[1].stamp, more)
}

// maxMemo is how many results of comparisons are kept: those that a page shows for a pair of
// traces, and those of the pairs that its reader looked at before.
const maxMemo = 24

// memo keeps the results asked for last. A caller that asks for a result which is being made waits
// for it.
type memo struct {
	mu    sync.Mutex
	cells map[string]*memoCell
	order []string // least recently asked for first
}

type memoCell struct {
	once sync.Once
	v    any
	err  error
}

func (m *memo) get(key string, make func() (any, error)) (any, error) {
	m.mu.Lock()
	c := m.cells[key]
	if c == nil {
		c = &memoCell{}
		if m.cells == nil {
			m.cells = map[string]*memoCell{}
		}
		m.cells[key] = c
	}
	m.order = append(slices.DeleteFunc(m.order, func(k string) bool { return k == key }), key)
	if len(m.order) > maxMemo {
		delete(m.cells, m.order[0])
		m.order = m.order[1:]
	}
	m.mu.Unlock()
	c.once.Do(func() { c.v, c.err = make() })
	if c.err != nil { // a failed comparison is tried again the next time
		m.mu.Lock()
		if m.cells[key] == c {
			delete(m.cells, key)
		}
		m.mu.Unlock()
	}
	return c.v, c.err
}
