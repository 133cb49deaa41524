package pipeline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/trace"
)

// DefaultStripCells is the number of letters in a strip: four to a cell of a wide
// terminal, two pixels a cell in a picture.
const DefaultStripCells = 800

// DefaultTopOps is how many operators a rank and a stage list.
const DefaultTopOps = 20

// MaxRequests bounds Report.Requests: a hundred requests are a page of report.json, and
// Report.Latency covers all requests anyway.
const MaxRequests = 1000

// Options changes what Analyze does. The zero value is usable.
type Options struct {
	// Offsets[i] is added to every time of traces[i] to bring all on one clock. Nil:
	// the traces are aligned already.
	Offsets []int64
	// UncertaintyNs is the error of comparisons between ranks, ±.
	UncertaintyNs int64
	// Arrivals are the times at which requests came to the pipeline, by request id, on the common
	// clock, if a component in front of the first stage knows them better than the stage's trace.
	// They only make an arrival earlier.
	Arrivals map[string]int64
	// Outcomes are the ranks that did not complete, with or without a trace. Analyze sets their
	// Trace.
	Outcomes []Outcome
	// Subjects[i] is the subject of traces[i], for callers that ask more of the traces. If nil,
	// Analyze makes them.
	Subjects   []*analysis.Subject
	TopOps     int // operators listed per rank and stage; 0: DefaultTopOps, < 0: all
	StripCells int // letters in Rank.Strip; 0: DefaultStripCells
}

// Analyze says where the time of a captured pipeline went. traces holds one trace a
// rank, whose Meta says stage, replica and rank; nil entries are skipped. The traces
// are not changed, and equal input gives an equal report.
//
// Without wall-clock times on every trace the ranks are laid on top of each other by
// the starts of their windows, Report.Aligned is false and nothing that compares
// times of ranks is computed. Who waited for whom in collectives is known without a clock.
func Analyze(traces []*trace.Trace, o Options) *Report {
	if o.TopOps == 0 {
		o.TopOps = DefaultTopOps
	}
	if o.StripCells <= 0 {
		o.StripCells = DefaultStripCells
	}
	a := &analyzer{o: o, ids: interner{ids: map[string]int32{}}}
	a.read(traces)
	r := &Report{
		SchemaVersion: SchemaVersion, Aligned: a.aligned, ClockUncertaintyNs: o.UncertaintyNs, StripCells: o.StripCells,
		Stages: []Stage{}, Requests: []Request{}, Batches: []Batch{}, Findings: []Finding{}, Outcomes: a.outcomes(),
	}
	m := made.Of(traces...)
	r.Made = &m
	if len(a.ranks) == 0 {
		(&finder{a, r}).outcomes()
		return r
	}
	r.StartNs, r.EndNs = a.start, a.end
	r.WindowNs = a.end - a.start
	a.matchComms()
	a.stages(r)
	a.requests(r)
	a.batches(r)
	a.bottleneck(r)
	a.findings(r)
	r.RequestCount = len(r.Requests)
	r.Requests = r.Requests[:min(len(r.Requests), MaxRequests)]
	return r
}

// analyzer holds what the parts of one Analyze share.
type analyzer struct {
	o          Options
	ids        interner
	ranks      []*rankData // by stage, replica, rank, trace
	aligned    bool
	start, end int64
	unmatched  []coll.Unmatched    // collectives that were not compared; ranks by place in ranks
	coders     map[int32][]spanRef // see findCoders
}

// numberStages numbers stages that have names but no numbers in the order in which they begin to
// work, because a request reaches the stages in that order.
func (a *analyzer) numberStages() {
	first := map[string]int64{}
	for _, d := range a.ranks {
		if d.stageID >= 0 || d.stage == "" || !a.aligned {
			return
		}
		at := d.end
		for k := range d.spans {
			at = min(at, d.spans[k].start)
		}
		if have, ok := first[d.stage]; !ok || at < have {
			first[d.stage] = at
		}
	}
	order := slices.SortedFunc(maps.Keys(first), func(x, y string) int {
		return cmp.Or(cmp.Compare(first[x], first[y]), cmp.Compare(x, y))
	})
	for _, d := range a.ranks {
		d.stageID = slices.Index(order, d.stage)
	}
}

// read makes the rankData of all traces, several at a time.
func (a *analyzer) read(traces []*trace.Trace) {
	type result struct {
		d   *rankData
		ids interner
	}
	a.aligned = true
	for _, t := range traces {
		if t != nil && !t.Meta.WallClock {
			a.aligned = false
		}
	}
	results := make([]result, len(traces))
	cores.Each(len(traces), func(i int) {
		if traces[i] == nil {
			return
		}
		var offset int64
		if i < len(a.o.Offsets) {
			offset = a.o.Offsets[i]
		}
		var subject *analysis.Subject
		if a.o.Subjects != nil {
			subject = a.o.Subjects[i]
		} else {
			subject = analysis.NewSubject(traces[i])
		}
		results[i].ids = interner{ids: map[string]int32{}}
		results[i].d = readRank(i, subject, offset, &results[i].ids)
	})
	for _, res := range results {
		if res.d == nil {
			continue
		}
		for k := range res.d.spans {
			reqs := res.d.spans[k].reqs
			for j, id := range reqs {
				reqs[j] = a.ids.id(res.ids.names[id])
			}
		}
		if !a.aligned {
			res.d.shift(-res.d.start)
		}
		a.ranks = append(a.ranks, res.d)
	}
	a.numberStages()
	slices.SortStableFunc(a.ranks, func(x, y *rankData) int {
		return cmp.Or(cmp.Compare(x.stageID, y.stageID), cmp.Compare(x.stage, y.stage),
			cmp.Compare(x.t.Meta.Replica, y.t.Meta.Replica), cmp.Compare(x.t.Meta.Rank, y.t.Meta.Rank))
	})
	for i, d := range a.ranks {
		if i == 0 {
			a.start, a.end = d.start, d.end
		}
		a.start, a.end = min(a.start, d.start), max(a.end, d.end)
	}
}

// shift moves everything that was read by ns.
func (d *rankData) shift(ns int64) {
	d.offset += ns
	d.start += ns
	d.end += ns
	for i := range d.segs {
		d.segs[i].start += ns
		d.segs[i].end += ns
	}
	for i := range d.spans {
		d.spans[i].start += ns
		d.spans[i].end += ns
	}
	for i := range d.comms.list {
		d.comms.list[i].StartNs += ns
	}
}

// stages fills Report.Stages.
func (a *analyzer) stages(r *Report) {
	for lo := 0; lo < len(a.ranks); {
		hi := lo + 1
		for hi < len(a.ranks) && a.ranks[hi].stageID == a.ranks[lo].stageID && a.ranks[hi].stage == a.ranks[lo].stage {
			hi++
		}
		r.Stages = append(r.Stages, a.stage(a.ranks[lo:hi]))
		lo = hi
	}
}

func (a *analyzer) stage(ranks []*rankData) Stage {
	s := Stage{StageID: ranks[0].stageID, Name: ranks[0].stage}
	var (
		excl, covered [NumCategories]int64
		ops           []opAcc
		lead          []*rankData
	)
	for _, d := range ranks {
		rank, e := a.rank(d)
		s.Ranks = append(s.Ranks, rank)
		s.WindowNs += rank.WindowNs
		s.FLOPs += rank.FLOPs
		s.CommBytes += rank.CommBytes
		s.HandoffBytes += rank.HandoffBytes
		s.PeerWaitNs += rank.PeerWaitNs
		for c := range excl {
			excl[c] += e[c]
			covered[c] += d.covered[c]
		}
		ops = append(ops, d.ops...)
		if len(lead) == 0 || lead[len(lead)-1].t.Meta.Replica != d.t.Meta.Replica {
			lead = append(lead, d)
		}
	}
	s.Time, s.BusyShare = categoryTimes(excl, covered, s.WindowNs)
	s.Steps = stepStats(lead)
	sample(s.Steps, lead)
	s.Ops = topOps(ops, s.WindowNs, a.o.TopOps)
	var work int64
	for c := range excl {
		if Category(c).IsWork() {
			work += excl[c]
		}
	}
	s.GFLOPPerS = stat.Ratio(s.FLOPs, work)
	return s
}

// rank reports one rank and returns its exclusive times.
func (a *analyzer) rank(d *rankData) (Rank, [NumCategories]int64) {
	var (
		excl    [NumCategories]int64
		byClass [numClasses]int64
	)
	for _, s := range d.segs {
		byClass[s.cls] += s.end - s.start
		excl[classCategory[s.cls]] += s.end - s.start
	}
	m := &d.t.Meta
	r := Rank{
		Trace: d.index, Replica: m.Replica, Rank: m.Rank, Host: m.Host, File: m.File, Slices: d.t.Slices.Len(),
		Metrics: metrics(d.t),
		StartNs: d.start, EndNs: d.end, WindowNs: d.end - d.start, FLOPs: d.flops,
		HasDevice: d.hasDevice, DeviceBusyNs: d.deviceBusy, DeviceBusyShare: stat.Ratio(d.deviceBusy, d.end-d.start),
		WaitReasons: []WaitReason{},
	}
	r.Time, r.BusyShare = categoryTimes(excl, d.covered, r.WindowNs)
	for _, w := range []struct {
		c class
		s string
	}{{clsWaitQueue, "queue"}, {clsWaitInput, "input"}, {clsWaitPeer, "peer"}, {clsWait, "unknown"}} {
		if byClass[w.c] > 0 {
			r.WaitReasons = append(r.WaitReasons, WaitReason{w.s, byClass[w.c]})
		}
	}
	r.Steps = stepStats([]*rankData{d})
	r.Ops = topOps(d.ops, r.WindowNs, a.o.TopOps)
	r.Comms = d.comms.rows()
	for i := range d.comms.list {
		r.CommBytes += d.comms.list[i].Bytes()
	}
	for _, s := range d.spans {
		if s.cls == clsSend {
			r.HandoffBytes += s.bytes
		}
	}
	if b := &d.comms.blame; b.Matched > 0 {
		r.PeerWaitNs, r.Matched = b.WaitNs, b.Matched
		r.LastInShare = float64(b.Last) / float64(b.Matched)
	}
	r.Strip = strip(d.segs, a.start, a.end, a.o.StripCells)
	return r, excl
}

// categoryTimes lists the categories that occur and returns the busy share.
func categoryTimes(excl, covered [NumCategories]int64, window int64) ([]CategoryTime, float64) {
	out := []CategoryTime{}
	var busy int64
	for c := range excl {
		if excl[c] == 0 && covered[c] == 0 {
			continue
		}
		if Category(c).IsBusy() {
			busy += excl[c]
		}
		out = append(out, CategoryTime{Category: Category(c), ExclusiveNs: excl[c], TotalNs: max(covered[c], excl[c]),
			Share: stat.Ratio(excl[c], window)})
	}
	return out, stat.Ratio(busy, window)
}

// topOps merges equal names and keeps the n with the most self time; n < 0 keeps all.
func topOps(ops []opAcc, window int64, n int) []Op {
	at := map[string]int{}
	out := []Op{}
	for i := range ops {
		o := &ops[i].Op
		k, ok := at[o.Name]
		if !ok {
			at[o.Name] = len(out)
			out = append(out, *o)
			continue
		}
		x := &out[k]
		x.Calls += o.Calls
		x.SelfNs += o.SelfNs
		x.TotalNs += o.TotalNs
		x.FLOPs += o.FLOPs
		x.Bytes += o.Bytes
		x.flopNs += o.flopNs
		if o.MaxNs > x.MaxNs {
			x.MaxNs, x.MaxTrace, x.MaxSlice = o.MaxNs, o.MaxTrace, o.MaxSlice
		}
	}
	slices.SortFunc(out, func(a, b Op) int {
		return cmp.Or(cmp.Compare(b.SelfNs, a.SelfNs), cmp.Compare(a.Name, b.Name))
	})
	if n >= 0 && len(out) > n {
		out = out[:n]
	}
	for i := range out {
		x := &out[i]
		x.Share = stat.Ratio(x.SelfNs, window)
		x.GFLOPPerS = stat.Ratio(x.FLOPs, x.flopNs)
	}
	return out
}
