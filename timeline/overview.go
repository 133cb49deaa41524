package timeline

import (
	"slices"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
)

// lazy is a value that is made when it is first asked for.
type lazy[T any] struct {
	once sync.Once
	v    T
}

func (l *lazy[T]) get(make func() T) T {
	l.once.Do(func() { l.v = make() })
	return l.v
}

// cells are what analyses say of one trace, each made when first asked for.
type cells struct {
	temporal lazy[analysis.Temporal]
	ops      [numOpsBy]lazy[OpsTable]
	flame    lazy[*Flame]
	nested   lazy[[]bool] // by slice: whether it lies in one of its own name
	held     lazy[analysis.MemoryTimeline]
	roof     lazy[Roofline]
	path     lazy[pathFound]
	derived  lazy[[]derived]
}

// Share is a part of a trace's time.
type Share struct {
	Name  string  `json:"name"`
	Ns    int64   `json:"ns"`
	Share float64 `json:"share"` // of the trace's window
}

// TraceTime is how the time of one trace divides.
type TraceTime struct {
	Trace    int    `json:"trace"`
	Stage    string `json:"stage,omitempty"`
	Name     string `json:"name"`
	WindowNs int64  `json:"window_ns"`
	// Of says what Parts divide without gap or overlap: "rank", the time of a pipeline's rank by
	// its own slices; "device", the time by what ran on the devices; "" if neither is known.
	Of    string  `json:"of"`
	Parts []Share `json:"parts"`
	// Devices is each device of several on its own; Parts are of all together: a moment is
	// idle if none of them works.
	Devices []analysis.DeviceTime `json:"devices,omitempty"`
}

// StageLatency is how long requests were in a stage.
type StageLatency struct {
	Stage   string             `json:"stage"`
	StageID int                `json:"stage_id"`
	Queue   pipeline.Quantiles `json:"queue"` // until their first step there
	Time    pipeline.Quantiles `json:"time"`
}

// Overview is what the traces come to as a whole.
type Overview struct {
	Traces []TraceTime `json:"traces"`
	// Latency and Stages sum up the requests; those that the traces show in part are left out.
	Requests   int                  `json:"requests"`
	Latency    pipeline.Latency     `json:"latency"`
	Stages     []StageLatency       `json:"stages"`
	Bottleneck *pipeline.Bottleneck `json:"bottleneck"` // of a pipeline
}

// Overview says how the time of every trace divides and how long requests took.
func (tl *Timeline) Overview() *Overview { return tl.side.overview.get(tl.overview) }

func (tl *Timeline) overview() *Overview {
	out := &Overview{Traces: []TraceTime{}, Stages: []StageLatency{}}
	rep := tl.Report()
	for i, p := range tl.parts {
		name, _ := tl.rankName(i)
		t := TraceTime{Trace: i, Stage: p.t.Meta.Stage, Name: name, WindowNs: p.to - p.from, Parts: []Share{}}
		if rep == nil {
			p.device(&t)
		}
		out.Traces = append(out.Traces, t)
	}
	if rep != nil {
		out.Bottleneck, out.Latency = rep.Bottleneck, rep.Latency
		for _, s := range rep.Stages {
			for k := range s.Ranks {
				ofRank(&out.Traces[s.Ranks[k].Trace], &s.Ranks[k])
			}
		}
	}
	list := tl.Requests()
	out.Requests = len(list)
	if rep == nil {
		out.Latency = latencyOf(list)
	} else {
		out.Requests = rep.RequestCount
	}
	out.Stages = stageLatencies(list)
	return out
}

// device divides the time of a trace by the work on its devices.
func (p *part) device(t *TraceTime) {
	d := p.cells.temporal.get(func() analysis.Temporal { return p.look().Temporal() })
	if !d.HasDevice || d.SpanNs <= 0 {
		return
	}
	t.Of, t.WindowNs = "device", d.SpanNs
	if len(d.Devices) > 1 {
		t.Devices = d.Devices
	}
	for _, s := range []Share{{Name: "compute", Ns: d.ComputeNs}, {Name: "communication", Ns: d.ExposedCommunicationNs},
		{Name: "memory", Ns: d.ExposedMemoryNs},
		{Name: "other", Ns: d.OtherNs}, {Name: "idle", Ns: d.IdleNs}} {
		s.Share = float64(s.Ns) / float64(d.SpanNs)
		t.Parts = append(t.Parts, s)
	}
}

func ofRank(t *TraceTime, r *pipeline.Rank) {
	t.Of, t.WindowNs = "rank", r.WindowNs
	for _, c := range r.Time {
		t.Parts = append(t.Parts, Share{Name: c.Category.String(), Ns: c.ExclusiveNs, Share: c.Share})
	}
}

func latencyOf(list []RequestLane) pipeline.Latency {
	var first, output, total []int64
	for i := range list {
		r := &list[i]
		total = append(total, r.EndNs-r.StartNs)
		if r.FirstNs >= 0 {
			first = append(first, r.FirstNs)
		}
		if r.OutNs >= 0 {
			output = append(output, r.OutNs)
		}
	}
	return pipeline.Latency{TTFT: pipeline.QuantilesOf(first), FirstOutput: pipeline.QuantilesOf(output),
		Total: pipeline.QuantilesOf(total)}
}

func stageLatencies(list []RequestLane) []StageLatency {
	type times struct{ queue, time []int64 }
	by := map[int]*times{}
	out := []StageLatency{}
	at := func(s *RequestSpan) int {
		k := slices.IndexFunc(out, func(l StageLatency) bool { return l.StageID == s.StageID && l.Stage == s.Stage })
		if k < 0 {
			k = len(out)
			out = append(out, StageLatency{Stage: s.Stage, StageID: s.StageID})
			by[k] = &times{}
		}
		return k
	}
	for i := range list {
		for j := range list[i].Spans {
			s := &list[i].Spans[j]
			t := by[at(s)]
			t.queue, t.time = append(t.queue, s.QueueNs), append(t.time, s.EndNs-s.StartNs)
		}
	}
	for k := range out {
		out[k].Queue, out[k].Time = pipeline.QuantilesOf(by[k].queue), pipeline.QuantilesOf(by[k].time)
	}
	slices.SortStableFunc(out, func(a, b StageLatency) int { return a.StageID - b.StageID })
	return out
}

// maxStepPoints is how many steps of a trace are listed one by one: several for each column of a
// large picture. If there are more, the longest step of every stretch of time is listed.
const maxStepPoints = 8000

// KindTimes sums the steps of one kind up.
type KindTimes struct {
	steps.Stats
	Longest  string `json:"longest,omitempty"` // slice of the longest step; "" if it has none
	LongestS int64  `json:"longest_start_ns"`
	LongestE int64  `json:"longest_end_ns"`
}

// StepTimes is how long each step of a trace took, in order of time.
type StepTimes struct {
	Trace   int         `json:"trace"`
	Stage   string      `json:"stage,omitempty"`
	Name    string      `json:"name"`
	How     string      `json:"how"`
	Total   int         `json:"total"`
	Kinds   []KindTimes `json:"kinds"` // most time first
	Verdict string      `json:"verdict,omitempty"`
	StartNs []int64     `json:"start_ns"`
	Ns      []int64     `json:"ns"`   // see steps.Step.Ns
	Kind    []int       `json:"kind"` // place in Kinds
	Batch   []int       `json:"batch"`
	Number  []int       `json:"number"`
	Slice   []string    `json:"slice"` // "" if the step has none
}

// StepTimes returns the steps of every trace that has some.
func (tl *Timeline) StepTimes() []StepTimes {
	out := []StepTimes{}
	for i := range tl.parts {
		if len(tl.stepsOf(i).Steps) > 0 {
			out = append(out, tl.stepTimes(i))
		}
	}
	return out
}

func (tl *Timeline) stepTimes(i int) StepTimes {
	p, rep := tl.parts[i], tl.stepsOf(i)
	name, _ := tl.rankName(i)
	out := StepTimes{Trace: i, Stage: p.t.Meta.Stage, Name: name, How: rep.How, Total: len(rep.Steps),
		Kinds: []KindTimes{}, Verdict: rep.Verdict.Text}
	kinds := map[steps.Kind]int{}
	slice := func(s *steps.Step) string {
		if s.Slice < 0 {
			return ""
		}
		return sliceID(i, uint32(s.Slice))
	}
	for _, k := range rep.Kinds {
		kinds[k.Kind] = len(out.Kinds)
		t := KindTimes{Stats: k}
		if k.Worst >= 0 && k.Worst < len(rep.Steps) {
			s := &rep.Steps[k.Worst]
			t.Longest, t.LongestS, t.LongestE = slice(s), p.clock.Map(s.StartNs), p.clock.Map(s.EndNs)
		}
		out.Kinds = append(out.Kinds, t)
	}
	stride := (len(rep.Steps) + maxStepPoints - 1) / maxStepPoints
	for at := 0; at < len(rep.Steps); at += stride {
		k := at
		for j := at; j < min(at+stride, len(rep.Steps)); j++ {
			if rep.Steps[j].Ns() > rep.Steps[k].Ns() {
				k = j
			}
		}
		s := &rep.Steps[k]
		out.StartNs, out.Ns = append(out.StartNs, p.clock.Map(s.StartNs)), append(out.Ns, s.Ns())
		out.Kind, out.Batch = append(out.Kind, kinds[s.Kind]), append(out.Batch, s.Batch)
		out.Number, out.Slice = append(out.Number, k), append(out.Slice, slice(s))
	}
	return out
}
