package tables

import (
	"slices"
	"sync"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// Part is what the tables with rows of all traces need to know of one trace. The trace itself
// need not be kept.
type Part struct {
	Name  string // of the trace, as in its other tables
	Label string // for sentences about several: "thinker 0"
	Meta  trace.Meta

	slices, repaired int
	first, last      int64
	analysis         analysis.RankPart
	steps            *steps.Report
	clock            align.Rank
	found            analyses.Found
	err              error
}

// page is the part of the report's page from which the table of findings is made.
var page = sync.OnceValue(func() *analyses.Page { return analyses.NewPage(analyses.Asked{}) })

// PartOf looks at a trace as far as the tables that are wanted need it.
func (d Wanted) PartOf(r Rank) Part {
	t, s := r.Trace, r.Subject
	p := Part{Name: r.Name, Meta: t.Meta, slices: t.Slices.Len(), steps: &steps.Report{}}
	p.first, p.last, _ = t.Extent()
	for _, n := range t.Repairs.Count {
		p.repaired += n
	}
	if d.Wants("ranks") {
		p.clock = convert.AlignOwn(s.Seen(), r.Alone)
	}
	if d.Wants("ranks") || d.Wants("findings") {
		p.analysis = analysis.PartOf(s, analysis.Options{})
		p.analysis.Report.Launches.Launches = nil // by far the largest part, and no table has it
	}
	if d.Wants("findings") {
		p.found, p.err = page().Rank(s)
	}
	if d.Wants("ranks") || d.Wants("requests") {
		p.steps = steps.Find(t, steps.Options{Seen: s.Seen(), Host: s.Host})
	}
	return p
}

// Answers are what analyses say of traces that belong together.
type Answers struct {
	Parts []Part
	// Pipelines are the reports of captured pipelines, which say more of requests than their
	// traces one by one; without them findings and requests are those of the traces.
	Pipelines []Pipeline
}

// Pipeline is the report of one run. Name is the run's, for rows that belong to no single rank.
type Pipeline struct {
	Name   string
	Report *pipeline.Report
}

// answerMakers make the tables of Answers, by name.
var answerMakers = []struct {
	name string
	make func(*Answers) (table.Table, error)
}{{"ranks", ranks}, {"requests", requests}, {"findings", findings}}

// Make makes a table with rows of all traces; ok is false if there is none of that name.
func (a *Answers) Make(name string) (t table.Table, ok bool, err error) {
	for _, m := range answerMakers {
		if m.name == name {
			t, err = m.make(a)
			return t, true, err
		}
	}
	return t, false, nil
}

func (p *Part) who() table.Who { return table.Who{Name: p.Name, Meta: &p.Meta} }

// yes is a column that is 1 where something holds and 0 where not.
func yes(name, doc string, at func(i int) bool) table.Column {
	return table.Ints(name, doc, func(i int) int64 {
		if at(i) {
			return 1
		}
		return 0
	})
}

func ranks(a *Answers) (table.Table, error) {
	at := func(i int) *Part { return &a.Parts[i] }
	clocks := make([]align.Rank, len(a.Parts))
	for i := range a.Parts {
		clocks[i] = a.Parts[i].clock
	}
	aligned := align.Align(clocks)
	device := func(name, doc string, f func(t *analysis.Temporal) int64) table.Column {
		return table.Known(name, doc, func(i int) int64 {
			if t := &at(i).analysis.Report.Temporal; t.HasDevice {
				return f(t)
			}
			return none
		})
	}
	return table.Table{
		Name: "ranks", Rows: len(a.Parts),
		Doc: "the traces, a row each: whose they are, what they cover, where their devices' time went",
		Columns: table.Identities(func(i int) table.Who { return at(i).who() },
			table.Texts("format", "format of the file", func(i int) string { return at(i).Meta.Format }),
			table.Texts("host", "name of the host", func(i int) string { return at(i).Meta.Host }),
			table.Texts("role", "what a process does that is no plain rank: front end, prefill …",
				func(i int) string { return at(i).Meta.Role }),
			table.Known("world_size", "ranks of the job, as the trace says",
				func(i int) int64 { return int64(positive(at(i).Meta.WorldSize)) }),
			table.Texts("device_name", "name of the first card", func(i int) string {
				if l := at(i).Meta.Devices; len(l) > 0 {
					return l[0].Name
				}
				return ""
			}),
			table.Ints("slices", "slices in it", func(i int) int64 { return int64(at(i).slices) }),
			table.Ints("repairs", "what had to be repaired or left out when it was read; kinetoscope inspect says what",
				func(i int) int64 { return int64(at(i).repaired) }),
			table.Ints("ts", "begin of the first slice, ns", func(i int) int64 { return at(i).first }),
			table.Ints("dur", "from there to the end of the last slice, ns",
				func(i int) int64 { return at(i).last - at(i).first }),
			yes("wall_clock", "1 if ts counts from the Unix epoch, else 0",
				func(i int) bool { return at(i).Meta.WallClock }),
			table.Ints("clock_offset",
				"to add to times of this trace to put them on the clock that all share, ns, at the rank's first collective", func(i int) int64 { return aligned[i].OffsetNs }),
			table.Floats("clock_drift", "to add to the offset per ns after that",
				func(i int) float64 { return aligned[i].Drift }),
			table.Ints("clock_matched", "collectives that the offset rests on; 0: nothing is known of it",
				func(i int) int64 { return int64(aligned[i].Matched) }),
			device("device_span", "from the first to the last work of its devices, ns",
				func(t *analysis.Temporal) int64 { return t.SpanNs }),
			device("device_busy", "of it, any work on any stream, ns",
				func(t *analysis.Temporal) int64 { return t.BusyNs }),
			device("device_idle", "of it, no work, ns", func(t *analysis.Temporal) int64 { return t.IdleNs }),
			device("compute", "of it, compute kernels, ns", func(t *analysis.Temporal) int64 { return t.ComputeNs }),
			device("communication", "of it, communication, ns",
				func(t *analysis.Temporal) int64 { return t.CommunicationNs }),
			device("exposed_communication", "of it, communication without compute beside it, ns",
				func(t *analysis.Temporal) int64 { return t.ExposedCommunicationNs }),
			device("exposed_memory", "of it, copies and fills with neither beside them, ns",
				func(t *analysis.Temporal) int64 { return t.ExposedMemoryNs }),
			device("other", "of it, other work with none of these beside it, ns: compute, both exposed, this and device_idle are all of it",
				func(t *analysis.Temporal) int64 { return t.OtherNs }),
			table.Ints("steps", "iterations found", func(i int) int64 { return int64(len(at(i).steps.Steps)) }),
			table.Texts("verdict", "who sets the steps' pace, a sentence",
				func(i int) string { return at(i).steps.Verdict.Text }),
		),
	}, nil
}

// positive returns n, or none where it is 0: not said.
func positive(n int) int {
	if n <= 0 {
		return none
	}
	return n
}

type requestRow struct {
	who                    table.Who
	id, traceID, output    string
	ts, dur, ttft, first   int64
	partial, steps, tokens int64
	perToken               float64
	stepNs, betweenNs      int64
}

func (a *Answers) requestRows() (rows []requestRow) {
	for _, p := range a.Pipelines {
		for i := range p.Report.Requests {
			q := &p.Report.Requests[i]
			row := requestRow{
				who: table.Who{Name: p.Name}, id: q.ID, traceID: q.TraceID, output: q.OutputKind, ts: q.ArrivalNs,
				dur:  q.TotalNs,
				ttft: q.TTFTNs, first: q.FirstOutputNs, tokens: int64(positive(q.Tokens)), perToken: q.PerTokenNs,
				betweenNs: none,
			}
			if q.Partial {
				row.partial = 1
			}
			for _, s := range q.Stages {
				for _, ph := range s.Phases {
					row.steps += int64(ph.Steps)
					row.stepNs += ph.TotalNs
				}
			}
			rows = append(rows, row)
		}
	}
	if len(a.Pipelines) > 0 {
		return rows
	}
	for i := range a.Parts {
		p := &a.Parts[i]
		for _, q := range p.steps.Requests {
			row := requestRow{
				who: p.who(), id: q.ID, ts: q.FirstNs, dur: q.LastNs - q.FirstNs, ttft: none, first: none,
				partial: none, tokens: none, betweenNs: q.GapNs,
			}
			for _, k := range q.Kinds {
				row.steps += int64(k.Steps)
				row.stepNs += k.Ns
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func requests(a *Answers) (table.Table, error) {
	rows := a.requestRows()
	at := func(i int) *requestRow { return &rows[i] }
	return table.Table{
		Name: "requests", Rows: len(rows),
		Doc: "requests: of a captured pipeline one row each, its trace being the run; of other traces one for each rank whose steps name it",
		Columns: table.Identities(func(i int) table.Who { return at(i).who },
			table.Texts("request", "id of the request", func(i int) string { return at(i).id }),
			table.Texts("w3c_trace_id", "of the W3C trace context that it came with",
				func(i int) string { return at(i).traceID }),
			table.Ints("ts",
				"arrival, ns on the clock that all share; of a rank's request the begin of its first step, on the trace's",
				func(i int) int64 { return at(i).ts }),
			table.Known("dur", "to the end of the last that names it, ns", func(i int) int64 { return at(i).dur }),
			table.Known("ttft", "from arrival to the first token, ns", func(i int) int64 { return at(i).ttft }),
			table.Known("first_output", "from arrival to the first audio chunk or image, ns",
				func(i int) int64 { return at(i).first }),
			table.Texts("output", "audio, image or text", func(i int) string { return at(i).output }),
			table.Known("tokens", "made by the first stage that makes tokens",
				func(i int) int64 { return at(i).tokens }),
			table.Column{
				Name: "per_token", Doc: "mean time between tokens after the first, ns", Type: table.Float64,
				Float: func(i int) (float64, bool) { return at(i).perToken, at(i).perToken > 0 },
			},
			table.Known("partial", "1 if it began before the recording or went on after it",
				func(i int) int64 { return at(i).partial }),
			table.Ints("steps", "steps that it took part in", func(i int) int64 { return at(i).steps }),
			table.Ints("step_time", "those steps' time, ns; others share them",
				func(i int) int64 { return at(i).stepNs }),
			table.Known("between_steps", "from its first step to its last, time in no step of its own, ns",
				func(i int) int64 { return at(i).betweenNs }),
		),
	}, nil
}

type findingRow struct {
	who table.Who
	analysis.Finding
}

func (a *Answers) findingRows() (rows []findingRow, err error) {
	for _, p := range a.Pipelines {
		for _, f := range p.Report.Findings {
			rows = append(rows, findingRow{a.rankOf(p, f.Evidence.Rank), f.Finding})
		}
	}
	if len(a.Pipelines) > 0 || len(a.Parts) == 0 {
		return rows, nil
	}
	// Names of slices stand in the page's tables only, which are not asked for here.
	r := report.TraceReport{Names: func(int, int) string { return "" }}
	parts, found := make([]analysis.RankPart, len(a.Parts)), make([]analyses.Found, len(a.Parts))
	for i := range a.Parts {
		p := &a.Parts[i]
		if p.err != nil {
			return nil, p.err
		}
		parts[i], found[i], r.Labels = p.analysis, p.found, append(r.Labels, p.Label)
	}
	r.Report = analysis.Join(parts)
	if _, err := page().Build(&r, found); err != nil {
		return nil, err
	}
	for _, f := range r.Report.Findings {
		rows = append(rows, findingRow{a.Parts[f.Evidence.Rank].who(), f})
	}
	return rows, nil
}

// rankOf returns the rank of trace i of a pipeline's report.
func (a *Answers) rankOf(p Pipeline, i int) table.Who {
	for s := range p.Report.Stages {
		stage := &p.Report.Stages[s]
		for k := range stage.Ranks {
			r := &stage.Ranks[k]
			if r.Trace != i {
				continue
			}
			same := func(x Part) bool {
				return x.Meta.StageID == stage.StageID && x.Meta.Replica == r.Replica && x.Meta.Rank == r.Rank
			}
			if at := slices.IndexFunc(a.Parts, same); at >= 0 && len(a.Pipelines) == 1 {
				return a.Parts[at].who()
			}
			return table.Who{Name: p.Name, Meta: &trace.Meta{StageID: stage.StageID, Stage: stage.Name,
				Replica: r.Replica, Rank: r.Rank}}
		}
	}
	return table.Who{Name: p.Name}
}

func findings(a *Answers) (table.Table, error) {
	rows, err := a.findingRows()
	at := func(i int) *findingRow { return &rows[i] }
	return table.Table{
		Name: "findings", Rows: len(rows),
		Doc: "what the report says in words, first what is in doubt, then worst first",
		Columns: table.Identities(func(i int) table.Who { return at(i).who },
			table.Ints("id", "its place among all, from 0", func(i int) int64 { return int64(i) }),
			table.Texts("code", "what it is about, the same in every release; docs/troubleshooting.md explains each",
				func(i int) string { return string(at(i).Code) }),
			table.Texts("severity", "info, notice, warning, critical",
				func(i int) string { return at(i).Severity.String() }),
			yes("doubt",
				"1 if it is about the trace and not about the program: other answers rest on what is missing or cannot be true", func(i int) bool { return at(i).Doubt }),
			table.Texts("text", "one sentence", func(i int) string { return at(i).Text }),
			table.Floats("number", "the number that the sentence rests on",
				func(i int) float64 { return at(i).Number }),
			table.Texts("unit", "unit of number", func(i int) string { return at(i).Unit }),
			table.Known("slice_id", "the slice to look at, of table slices",
				func(i int) int64 { return int64(at(i).Evidence.Slice) }),
			table.Ints("track_id", "its track, of table tracks",
				func(i int) int64 { return int64(at(i).Evidence.Track) }),
			table.Ints("ts", "begin of the time to look at, ns", func(i int) int64 { return at(i).Evidence.StartNs }),
			table.Ints("dur", "its length, ns",
				func(i int) int64 { return at(i).Evidence.EndNs - at(i).Evidence.StartNs }),
		),
	}, err
}
