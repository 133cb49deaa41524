package timeline

import (
	"cmp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Limits of the answers beside the slices.
const (
	maxSpans    = 4000 // steps in one answer; more are merged by column
	maxArrows   = 2000
	maxFindings = 200
)

// sideCells hold the analyses of a timeline, each made when first asked for.
type sideCells struct {
	steps    []stepsCell
	stepInit sync.Once
	report   sync.Once
	pipe     *pipeline.Report
	arrows   sync.Once
	all      []Arrow
	finds    sync.Once
	findings []Finding
	overview lazy[*Overview]
	comm     lazy[*Communication]
	tokens   lazy[*series]
	flights  lazy[[][]change] // see flights
}

type stepsCell struct {
	once sync.Once
	made *steps.Report
}

// stepsOf returns the steps of a trace.
func (tl *Timeline) stepsOf(i int) *steps.Report {
	tl.side.stepInit.Do(func() { tl.side.steps = make([]stepsCell, len(tl.parts)) })
	c := &tl.side.steps[i]
	c.once.Do(func() {
		c.made = steps.Find(tl.parts[i].t, steps.Options{Index: i, Seen: tl.parts[i].subject().Seen(),
			Host: tl.parts[i].subject().Host})
	})
	return c.made
}

// Span is a step, or several that are narrower than a column.
type Span struct {
	Kind    string `json:"kind"` // of the longest
	Name    string `json:"name"`
	Number  int    `json:"number"` // of the first, from 0
	Count   int    `json:"count"`
	StartNs int64  `json:"start_ns"`
	EndNs   int64  `json:"end_ns"`
	Batch   int    `json:"batch,omitempty"`
	Tokens  int    `json:"tokens,omitempty"`
	Slice   string `json:"slice,omitempty"`
}

// StepTrack is the steps of one trace: the ruler.
type StepTrack struct {
	Trace  int    `json:"trace"`
	Name   string `json:"name"`
	How    string `json:"how"` // what the steps were found by
	Method string `json:"method"`
	Total  int    `json:"total"`
	Steps  []Span `json:"steps"`
}

func (tl *Timeline) span(i int, k int, s *steps.Step) Span {
	p := tl.parts[i]
	out := Span{Kind: s.Kind.String(), Name: s.Name, Number: k, Count: 1, StartNs: p.clock.Map(s.StartNs),
		EndNs: p.clock.Map(s.EndNs),
		Batch: s.Batch, Tokens: s.Tokens}
	if s.Slice >= 0 {
		out.Slice = sliceID(i, uint32(s.Slice))
	}
	return out
}

// Steps returns the steps of every trace in a window; narrow ones are merged.
func (tl *Timeline) Steps(q Query) ([]StepTrack, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	out := []StepTrack{}
	column := (q.To - q.From) / int64(q.Px)
	for i := range tl.parts {
		rep := tl.stepsOf(i)
		if len(rep.Steps) == 0 {
			continue
		}
		name, _ := tl.rankName(i)
		t := StepTrack{Trace: i, Name: name, How: rep.How, Method: string(rep.Method), Total: len(rep.Steps),
			Steps: []Span{}}
		for k := range rep.Steps {
			s := tl.span(i, k, &rep.Steps[k])
			if s.EndNs <= q.From || s.StartNs >= q.To {
				continue
			}
			if n := len(t.Steps); n > 0 && s.EndNs-s.StartNs < column && s.StartNs-t.Steps[n-1].StartNs < column {
				last := &t.Steps[n-1]
				last.Count++
				last.EndNs = max(last.EndNs, s.EndNs)
				continue
			}
			if len(t.Steps) < maxSpans {
				t.Steps = append(t.Steps, s)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// stepOf returns the step in which a slice began.
func (tl *Timeline) stepOf(i int, s uint32) *Span {
	p, rep := tl.parts[i], tl.stepsOf(i)
	at := p.t.Slices.Start[s]
	k := sort.Search(len(rep.Steps), func(k int) bool { return rep.Steps[k].StartNs > at }) - 1
	if k < 0 || rep.Steps[k].EndNs <= at {
		return nil
	}
	out := tl.span(i, k, &rep.Steps[k])
	return &out
}

// Native reports whether all traces are ranks of a pipeline that recorded it or of a run of one, for
// which Report says more than about single traces.
func (tl *Timeline) Native() bool {
	return !slices.ContainsFunc(tl.parts, func(p *part) bool {
		return !pipeline.Recorded(p.t) && (p.t.Meta.StageID < 0 || p.t.Meta.Learnt[trace.FieldStage] != trace.FromRun)
	})
}

// Report analyses the traces as one pipeline; nil unless they are one. Its times are on
// the common clock.
func (tl *Timeline) Report() *pipeline.Report {
	tl.side.report.Do(func() {
		if !tl.Native() {
			return
		}
		o := pipeline.Options{UncertaintyNs: tl.UncertaintyNs, Subjects: tl.subjects(), Outcomes: tl.outcomes}
		var traces []*trace.Trace
		for _, p := range tl.parts {
			traces = append(traces, p.t)
			from := p.t.Meta.WindowStart
			o.Offsets = append(o.Offsets, p.Clock.Map(from)-from)
		}
		tl.side.pipe = pipeline.Analyze(traces, o)
	})
	return tl.side.pipe
}

// RequestSpan is a request's time in one stage, or in one kind of its steps.
type RequestSpan struct {
	Stage   string `json:"stage"`
	StageID int    `json:"stage_id"`
	Trace   int    `json:"trace"` // -1: not known
	StartNs int64  `json:"start_ns"`
	QueueNs int64  `json:"queue_ns"` // of it, until the first step
	EndNs   int64  `json:"end_ns"`
}

// RequestLane is one request's way.
type RequestLane struct {
	ID      string        `json:"id"`
	StartNs int64         `json:"start_ns"`
	EndNs   int64         `json:"end_ns"`
	FirstNs int64         `json:"first_ns"` // to its first token; -1 if not seen
	OutNs   int64         `json:"out_ns"`   // to its first audio or image; -1 if not seen
	Tokens  int           `json:"tokens"`
	Spans   []RequestSpan `json:"spans"`
}

// Requests lists the requests that the traces tell of, by arrival.
func (tl *Timeline) Requests() []RequestLane {
	out := []RequestLane{}
	if rep := tl.Report(); rep != nil {
		if tl.Placement != ByClock {
			return out // what compares ranks is not known
		}
		place := tl.places()
		for _, r := range rep.Requests {
			l := RequestLane{ID: r.ID, Spans: []RequestSpan{}, FirstNs: r.TTFTNs, OutNs: r.FirstOutputNs,
				Tokens: r.Tokens, StartNs: r.ArrivalNs - tl.StartNs}
			l.EndNs = l.StartNs + max(0, r.TotalNs)
			for _, s := range r.Stages {
				at, ok := place[[3]int{s.StageID, s.Replica, s.Rank}]
				if !ok {
					at = -1
				}
				l.Spans = append(l.Spans, RequestSpan{Stage: s.Name, StageID: s.StageID, Trace: at,
					StartNs: s.ArrivalNs - tl.StartNs, QueueNs: max(0, s.QueueNs), EndNs: s.EndNs - tl.StartNs})
			}
			out = append(out, l)
		}
		return out
	}
	for i, p := range tl.parts {
		name, _ := tl.rankName(i)
		for _, r := range tl.stepsOf(i).Requests {
			l := RequestLane{ID: r.ID, FirstNs: r.FirstStepNs, OutNs: -1, StartNs: p.clock.Map(r.FirstNs),
				EndNs: p.clock.Map(r.LastNs)}
			l.Spans = []RequestSpan{{Stage: name, StageID: -1, Trace: i, StartNs: l.StartNs, EndNs: l.EndNs}}
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b RequestLane) int { return cmp.Compare(a.StartNs, b.StartNs) })
	return out[:min(len(out), pipeline.MaxRequests)]
}

// places are the first traces by stage, replica and rank.
func (tl *Timeline) places() map[[3]int]int {
	out := make(map[[3]int]int, len(tl.parts))
	for i, p := range tl.parts {
		m := &p.t.Meta
		key := [3]int{m.StageID, m.Replica, m.Rank}
		if _, ok := out[key]; !ok {
			out[key] = i
		}
	}
	return out
}

// Arrow is a hand-off from one trace to another.
type Arrow struct {
	From    string `json:"from"` // slices
	To      string `json:"to"`
	FromAt  string `json:"from_track"`
	ToAt    string `json:"to_track"`
	StartNs int64  `json:"start_ns"`
	EndNs   int64  `json:"end_ns"`
}

// Arrows returns the arrows between traces that reach into q's window, the first 2000.
func (tl *Timeline) Arrows(q Query) ([]Arrow, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	tl.side.arrows.Do(func() { tl.side.all = tl.handoffs() })
	out := []Arrow{}
	for _, a := range tl.side.all {
		if max(a.StartNs, a.EndNs) >= q.From && min(a.StartNs, a.EndNs) < q.To && len(out) < maxArrows {
			out = append(out, a)
		}
	}
	return out, nil
}

// crosses reports whether arrow ids of a category hold in all traces: those of hand-offs do,
// whoever wrote them.
func crosses(category string) bool { return trace.Handoff(category) }

// handoffs joins the ends of arrows whose ids hold in all traces.
func (tl *Timeline) handoffs() []Arrow {
	starts := map[uint64]flowEnd{}
	each := func(f func(e flowEnd, id uint64, start bool)) {
		for i, p := range tl.parts {
			for row, c := range p.t.Flows.Cat {
				if crosses(p.t.String(c)) {
					f(flowEnd{i, row}, p.t.Flows.ID[row], p.t.Flows.Start[row])
				}
			}
		}
	}
	each(func(e flowEnd, id uint64, start bool) {
		if start {
			starts[id] = e
		}
	})
	var out []Arrow
	each(func(e flowEnd, id uint64, start bool) {
		from, ok := starts[id]
		if start || !ok {
			return
		}
		a := Arrow{}
		a.From, a.FromAt, a.StartNs = tl.endOf(from)
		a.To, a.ToAt, a.EndNs = tl.endOf(e)
		out = append(out, a)
	})
	slices.SortFunc(out, func(a, b Arrow) int {
		return cmp.Or(cmp.Compare(a.StartNs, b.StartNs), cmp.Compare(a.EndNs, b.EndNs))
	})
	return out
}

func (tl *Timeline) endOf(e flowEnd) (slice, track string, at int64) {
	p := tl.parts[e.part]
	k, t := p.t.Flows.Track[e.row], p.t.Flows.Time[e.row]
	if s, ok := p.around(k, t); ok {
		slice = sliceID(e.part, s)
	}
	return slice, trackID(e.part, k), p.clock.Map(t)
}

// Finding is a sentence about the traces and where to look.
type Finding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Doubt    bool   `json:"doubt,omitempty"` // about the trace, not about the program
	Where    string `json:"where,omitempty"`
	Slice    string `json:"slice,omitempty"`
	Track    string `json:"track,omitempty"`
	StartNs  int64  `json:"start_ns"`
	EndNs    int64  `json:"end_ns"`
}

// Findings says what stands out, what the traces are doubted for first, then the worst: of the pipeline,
// or of each trace.
func (tl *Timeline) Findings() []Finding {
	tl.side.finds.Do(func() { tl.side.findings = tl.find() })
	return tl.side.findings
}

func (tl *Timeline) find() []Finding {
	out := []Finding{}
	if rep := tl.Report(); rep != nil {
		for _, f := range rep.Findings {
			out = append(out, tl.finding(f.Finding, f.Where))
		}
		return out
	}
	subjects := tl.subjects() // held until the steps have been asked for, too
	list := analysis.AllOf(subjects, analysis.Options{}).Findings
	for i := range tl.parts {
		list = append(list, tl.stepsOf(i).Own()...)
	}
	runtime.KeepAlive(subjects)
	slices.SortStableFunc(list, finding.Compare) // doubts first
	for _, f := range list[:min(len(list), maxFindings)] {
		where := ""
		if len(tl.parts) > 1 && f.Evidence.Rank >= 0 && f.Evidence.Rank < len(tl.parts) {
			where, _ = tl.rankName(f.Evidence.Rank)
		}
		out = append(out, tl.finding(f, where))
	}
	return out
}

func (tl *Timeline) finding(f analysis.Finding, where string) Finding {
	out := Finding{Code: string(f.Code), Severity: f.Severity.String(), Text: f.Text, Doubt: f.Doubt,
		Where: where}
	e := f.Evidence
	if e.Rank < 0 || e.Rank >= len(tl.parts) {
		return out
	}
	p := tl.parts[e.Rank]
	out.StartNs, out.EndNs = p.clock.Map(e.StartNs), p.clock.Map(e.EndNs)
	if int(e.Track) < len(p.t.Tracks) {
		out.Track = strconv.Itoa(e.Rank) + ":" + strconv.Itoa(int(e.Track))
	}
	if e.Slice >= 0 && e.Slice < p.t.Slices.Len() {
		out.Slice = sliceID(e.Rank, uint32(e.Slice))
	}
	return out
}
