package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/drift"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/units"
)

// Thresholds of the findings: below them the number is not worth a sentence.
const (
	commShareMin     = 0.15 // communication, of a stage's busy time
	commBound        = 0.4  // communication of busy time from which it is the limit
	hostBound        = 0.4  // scheduling and sampling of busy time, likewise
	handoffBound     = 0.4
	handoffShareMin  = 0.05 // hand-off, of a stage's busy time
	handoffWindowMin = 0.01 // and of its window
	lastInMin        = 0.7  // of matched collectives, for a straggler; half is chance with two ranks
	lastInCalls      = 10   // collectives needed to say so
	stragglerWaitMin = 0.01 // of the window: what the others lose
	linkShareMin     = 0.25 // of the time to first output
	topOpMin         = 0.3  // one operator, of the bottleneck's busy time
	loadedMin        = 0.5  // busy share from which a stage counts as loaded
	otherShareMin    = 0.2  // of a rank's window with nothing recorded
	queueShareMin    = 0.25 // of a request's time in the pipeline
	uncertaintyMax   = 0.5  // clock error, of a hand-off's time: more and the number means little
)

// severityOf grades a loss of a share of the window. The thresholds above decide what is worth a
// sentence, so it is a notice at least; it is never critical, because the report itself is right.
func severityOf(share float64) analysis.Severity {
	return min(analysis.Warning, max(analysis.Notice, finding.SeverityOf(share)))
}

// exclusive returns a category's time in a list.
func exclusive(l []CategoryTime, c Category) int64 {
	for _, t := range l {
		if t.Category == c {
			return t.ExclusiveNs
		}
	}
	return 0
}

// busyNs sums the busy categories of a list.
func busyNs(l []CategoryTime) int64 {
	var n int64
	for _, t := range l {
		if t.Category.IsBusy() {
			n += t.ExclusiveNs
		}
	}
	return n
}

// active returns the time from the first step to the end of the last, over all ranks.
func (a *analyzer) active() (lo, hi int64) {
	found := false
	for _, d := range a.ranks {
		for k := range d.spans {
			if s := &d.spans[k]; s.cls.isStep() {
				if !found || s.start < lo {
					lo = s.start
				}
				if !found || s.end > hi {
					hi = s.end
				}
				found = true
			}
		}
	}
	return lo, hi
}

// bottleneck fills Report.Bottleneck.
func (a *analyzer) bottleneck(r *Report) {
	lo, hi := a.active()
	if hi <= lo {
		return
	}
	busy := make([]StageBusy, len(r.Stages))
	best := 0
	for i, s := range r.Stages {
		n := int64(len(s.Ranks)) * (hi - lo)
		busy[i] = StageBusy{StageID: s.StageID, Stage: s.Name, BusyShare: min(1, stat.Ratio(busyNs(s.Time), n))}
		if busy[i].BusyShare > busy[best].BusyShare {
			best = i
		}
	}
	s := &r.Stages[best]
	b := &Bottleneck{StageID: s.StageID, Stage: s.Name, BusyShare: busy[best].BusyShare, Others: []StageBusy{}}
	for i := range busy {
		if i != best {
			b.Others = append(b.Others, busy[i])
		}
	}
	b.Limit, b.Why = limit(s, b.BusyShare)
	if gone := r.stagesWithout(); len(gone) > 0 {
		b.Why += fmt.Sprintf("; of %s there is no trace, so this is the busiest of the stages that are left",
			strings.Join(gone, ", "))
	}
	r.Bottleneck = b
}

// limit says what limits the pace of s, from the division of its busy time.
func limit(s *Stage, busyShare float64) (Limit, string) {
	busy := busyNs(s.Time)
	comm := stat.Ratio(exclusive(s.Time, CatComm), busy)
	hand := stat.Ratio(exclusive(s.Time, CatHandoff), busy)
	host := stat.Ratio(exclusive(s.Time, CatSchedule)+exclusive(s.Time, CatSample), busy)
	peer := stat.Ratio(min(s.PeerWaitNs, exclusive(s.Time, CatComm)), busy)
	var work int64
	top := CategoryTime{Category: NumCategories}
	for _, t := range s.Time {
		if t.Category.IsWork() {
			work += t.ExclusiveNs
			if t.Category.IsStep() && (top.Category == NumCategories || t.ExclusiveNs > top.ExclusiveNs) {
				top = t
			}
		}
	}
	detail := fmt.Sprintf("%s of its busy time is model work, %s communication, %s hand-off",
		units.Share(stat.Ratio(work, busy)), units.Share(comm), units.Share(hand))
	switch {
	case busyShare < loadedMin:
		return LimitLoad,
			fmt.Sprintf("no stage is busy more than %s of the time while requests run: the stages wait for one another or for requests; %s", units.Share(busyShare), detail)
	case peer >= commBound/2 && peer >= comm/2:
		return LimitPeer, fmt.Sprintf("%s of its busy time is waiting in collectives for a slower rank; %s",
			units.Share(peer), detail)
	case comm >= commBound:
		return LimitComm, detail
	case hand >= handoffBound:
		return LimitHandoff, detail
	case host >= hostBound:
		return LimitHost, fmt.Sprintf("%s of its busy time is scheduling and sampling; %s", units.Share(host), detail)
	}
	if top.Category != NumCategories {
		detail += fmt.Sprintf("; most of it %s", stepWords[top.Category])
	}
	if s.GFLOPPerS > 0 {
		detail += " at " + units.Digits(s.GFLOPPerS) + " GFLOP/s a rank"
	}
	return LimitCompute, detail
}

// finder collects the findings of one report.
type finder struct {
	a *analyzer
	r *Report
}

// add notes a finding about slice i of rank d, or about its whole window if i < 0.
func (f *finder) add(c finding.Code, sev analysis.Severity, d *rankData, i int, number float64, text string) {
	x := Finding{Finding: analysis.Finding{Code: c, Severity: sev, Text: text, Number: number, Unit: c.Unit()}}
	if i >= 0 {
		x.Evidence = analysis.SliceEvidence(d.t, d.index, i)
		x.Where = fmt.Sprintf("%s: %s at +%s", d.label(), d.t.String(d.t.Slices.Name[i]),
			units.Duration(float64(d.t.Slices.Start[i]+d.offset-f.r.StartNs)))
	} else {
		x.Evidence = analysis.SpanEvidence(d.index, 0, d.start-d.offset, d.end-d.offset)
		x.Where = d.label() + ": whole window"
	}
	f.r.Findings = append(f.r.Findings, x)
}

// stageWord names a stage that has no name.
func stageWord(id int) string {
	if id < 0 {
		return "program"
	}
	return fmt.Sprintf("stage %d", id)
}

// name is the stage's name, or what stands for it.
func (s *Stage) name() string {
	if s.Name == "" {
		return stageWord(s.StageID)
	}
	return s.Name
}

// label names a rank.
func (d *rankData) label() string {
	name := d.stage
	if name == "" {
		name = stageWord(d.stageID)
	}
	if d.t.Meta.Replica > 0 {
		name += fmt.Sprintf(" replica %d", d.t.Meta.Replica)
	}
	return fmt.Sprintf("%s rank %d", name, max(0, d.t.Meta.Rank))
}

// findings fills Report.Findings, worst first.
func (a *analyzer) findings(r *Report) {
	f := &finder{a, r}
	if !a.aligned && len(a.ranks) > 1 {
		f.add(finding.NoCommonClock, analysis.Critical, a.ranks[0], -1, float64(len(a.ranks)),
			fmt.Sprintf("the %d traces have no common clock, so nothing is said about hand-offs, requests and waiting between ranks", len(a.ranks)))
	}
	f.outcomes()
	f.doubts()
	f.limits()
	f.topOp()
	f.chainLink()
	f.clock()
	f.unmatched()
	n := 0
	for i := range r.Stages {
		s := &r.Stages[i]
		ranks := a.ranks[n : n+len(s.Ranks)]
		n += len(s.Ranks)
		f.communication(s, ranks)
		f.handoff(s, ranks)
		for k := range s.Ranks {
			f.straggler(s, &s.Ranks[k], ranks[k])
			f.outliers(&s.Ranks[k], ranks[k], k > 0 && s.Ranks[k-1].Replica == s.Ranks[k].Replica)
		}
	}
	f.queues()
	f.drift()
	f.unrecorded()
	slices.SortStableFunc(r.Findings, func(x, y Finding) int { return finding.Compare(x.Finding, y.Finding) })
}

// rankOf returns the rankData of the trace with this index.
func (f *finder) rankOf(index int) *rankData {
	for _, d := range f.a.ranks {
		if d.index == index {
			return d
		}
	}
	return nil
}

func (f *finder) limits() {
	b := f.r.Bottleneck
	if b == nil {
		return
	}
	for i, s := range f.r.Stages {
		if s.StageID != b.StageID || s.Name != b.Stage {
			continue
		}
		d := f.rankOf(s.Ranks[0].Trace)
		slice := -1
		// The longest step of the kind that takes the most time shows it best.
		var most int64
		for _, st := range f.r.Stages[i].Ranks[0].Steps {
			if st.TotalNs > most {
				most, slice = st.TotalNs, st.MaxSlice
			}
		}
		sev := severityOf(b.BusyShare)
		text := fmt.Sprintf("%s is the bottleneck: busy %s of the time while steps run%s; limit: %s", s.name(),
			units.Share(b.BusyShare), others(b), b.Limit)
		if b.Limit == LimitLoad {
			sev = analysis.Info
			text = fmt.Sprintf("no stage is saturated: the busiest, %s, is busy %s of the time while steps run%s",
				s.name(), units.Share(b.BusyShare), others(b))
		}
		if b.Missing = f.missing(); b.Missing != "" {
			text += "; " + b.Missing
		}
		f.add(finding.Bottleneck, sev, d, slice, 100*b.BusyShare, text)
		return
	}
}

// others lists the other stages' busy shares in brackets.
func others(b *Bottleneck) string {
	if len(b.Others) == 0 {
		return ""
	}
	l := make([]string, len(b.Others))
	for i, o := range b.Others {
		l[i] = o.Stage + " " + units.Share(o.BusyShare)
	}
	return " (" + strings.Join(l, ", ") + ")"
}

// selfNs sums the operators' self times.
func selfNs(ops []Op) int64 {
	var ns int64
	for i := range ops {
		ns += ops[i].SelfNs
	}
	return ns
}

// topOp names the operator that takes the most of the bottleneck's work.
func (f *finder) topOp() {
	b := f.r.Bottleneck
	if b == nil {
		return
	}
	for i := range f.r.Stages {
		s := &f.r.Stages[i]
		if s.StageID != b.StageID || s.Name != b.Stage {
			continue
		}
		for _, o := range s.Ops {
			if o.Comm || o.MaxSlice < 0 {
				continue // communication has findings of its own
			}
			p := stat.Ratio(o.SelfNs, max(busyNs(s.Time), selfNs(s.Ops))) // several threads of a rank add up
			if p < topOpMin {
				return
			}
			text := fmt.Sprintf("%s takes %s of %s's busy time: %d calls of %s", o.Name, units.Share(p), s.name(),
				o.Calls, units.Duration(float64(o.SelfNs)/float64(o.Calls)))
			if o.GFLOPPerS > 0 {
				text += ", " + units.Digits(o.GFLOPPerS) + " GFLOP/s"
			}
			if o.Bytes > 0 {
				text += ", " + units.Rate(stat.Ratio(o.Bytes, o.TotalNs)) + " GB/s"
			}
			f.add(finding.TopOperator, severityOf(stat.Ratio(o.SelfNs, s.WindowNs)), f.rankOf(o.MaxTrace), o.MaxSlice,
				100*p, text)
			return
		}
	}
}

func (f *finder) chainLink() {
	c := f.r.FirstOutput
	if c == nil || c.TotalNs == 0 {
		return
	}
	best := c.Links[0]
	for _, l := range c.Links {
		if l.DurNs > best.DurNs {
			best = l
		}
	}
	if p := stat.Ratio(best.DurNs, c.TotalNs); p >= linkShareMin {
		if d := f.rankOf(best.Trace); d != nil {
			f.add(finding.FirstOutput, analysis.Info, d, best.Slice, 100*p,
				fmt.Sprintf("%s of the time to the first %s went into %s: %s of %s",
					units.Share(p), c.Output, best.Text, units.Duration(float64(best.DurNs)),
					units.Duration(float64(c.TotalNs))))
		}
	}
}

// clock warns if the clocks' error is as large as the times that are compared.
func (f *finder) clock() {
	c := f.r.FirstOutput
	if c == nil || f.r.ClockUncertaintyNs == 0 {
		return
	}
	for _, l := range c.Links {
		if l.Kind == "handoff" && float64(f.r.ClockUncertaintyNs) > uncertaintyMax*float64(l.DurNs) {
			f.add(finding.ClockUncertain, analysis.Notice, f.rankOf(l.Trace), l.Slice,
				float64(f.r.ClockUncertaintyNs)/1e3,
				fmt.Sprintf("the ranks' clocks agree to ±%s only, and the %s took %s: do not trust its duration",
					units.Duration(float64(f.r.ClockUncertaintyNs)), l.Text, units.Duration(float64(l.DurNs))))
			return
		}
	}
}

// maxUnmatched bounds the findings about collectives that were not compared.
const maxUnmatched = 3

// unmatched says which collectives were not compared between ranks.
func (f *finder) unmatched() {
	for _, u := range f.a.unmatched[:min(len(f.a.unmatched), maxUnmatched)] {
		f.add(finding.NotCompared, analysis.Notice, f.a.ranks[u.Ranks[0]], -1, float64(u.Count),
			analysis.UnmatchedText(u))
		f.r.Findings[len(f.r.Findings)-1].Doubt = true
	}
}

func (f *finder) communication(s *Stage, ranks []*rankData) {
	busy, comm := busyNs(s.Time), exclusive(s.Time, CatComm)
	p := stat.Ratio(comm, busy)
	if p < commShareMin {
		return
	}
	d, slice, longest := ranks[0], -1, int64(0)
	for _, x := range ranks {
		if c := x.comms.longest(); c != nil && (slice < 0 || c.Ns > longest) {
			d, slice, longest = x, c.Slice, c.Ns
		}
	}
	text := fmt.Sprintf("%s spends %s of its busy time in collectives", s.name(), units.Share(p))
	if s.PeerWaitNs > 0 {
		text += fmt.Sprintf(", %s of that waiting until the last rank has entered",
			units.Share(stat.Ratio(min(comm, s.PeerWaitNs), comm)))
	}
	f.add(finding.CommShare, severityOf(stat.Ratio(comm, s.WindowNs)), d, slice, 100*p, text)
}

func (f *finder) handoff(s *Stage, ranks []*rankData) {
	busy, hand := busyNs(s.Time), exclusive(s.Time, CatHandoff)
	p := stat.Ratio(hand, busy)
	if p < handoffShareMin || stat.Ratio(hand, s.WindowNs) < handoffWindowMin {
		return
	}
	d, slice := ranks[0], -1
	for _, x := range ranks {
		for i := range x.spans {
			if c := x.spans[i].cls; c != clsSend && c != clsRecv {
				continue
			}
			if slice < 0 || x.spans[i].end-x.spans[i].start > d.t.Slices.Dur[slice] {
				d, slice = x, x.spans[i].slice
			}
		}
	}
	f.add(finding.HandoffShare, severityOf(stat.Ratio(hand, s.WindowNs)), d, slice, 100*p,
		fmt.Sprintf("%s spends %s of its busy time on hand-offs, %s in all", s.name(), units.Share(p),
			units.Duration(float64(hand))))
}

func (f *finder) straggler(s *Stage, r *Rank, d *rankData) {
	if r.Matched < lastInCalls || r.LastInShare < lastInMin {
		return
	}
	// What the peers of this replica lose.
	var lost int64
	for _, x := range s.Ranks {
		if x.Replica == r.Replica && x.Rank != r.Rank {
			lost = max(lost, x.PeerWaitNs)
		}
	}
	p := stat.Ratio(lost, r.WindowNs)
	if p < stragglerWaitMin {
		return
	}
	f.add(finding.LastIn, severityOf(p), d, d.comms.blame.Worst, 100*r.LastInShare, fmt.Sprintf(
		"%s enters %s of %d collectives last; its peers wait for it %s of the window (%s)",
		d.label(), units.Share(r.LastInShare), r.Matched, units.Share(p), units.Duration(float64(lost))))
}

func (f *finder) outliers(r *Rank, d *rankData, follower bool) {
	if follower {
		return
	}
	for _, st := range r.Steps {
		tail := finding.Tail{Step: stepWords[st.Category] + " step", Count: st.Count, P50Ns: st.P50Ns, P99Ns: st.P99Ns,
			MaxNs: st.MaxNs}
		if text, ratio, ok := tail.Text(); ok {
			f.add(finding.SlowSteps, analysis.Notice, d, st.MaxSlice, ratio, d.label()+": "+text)
		}
	}
}

// unrecorded reports how much of the window has no slices, once for all ranks.
func (f *finder) unrecorded() {
	var worst *Rank
	var most float64
	n, all := 0, 0
	for i := range f.r.Stages {
		for k := range f.r.Stages[i].Ranks {
			r := &f.r.Stages[i].Ranks[k]
			p := stat.Ratio(exclusive(r.Time, CatOther), r.WindowNs)
			all++
			if p >= otherShareMin {
				n++
			}
			if p > most {
				worst, most = r, p
			}
		}
	}
	if n == 0 {
		return
	}
	d := f.rankOf(worst.Trace)
	f.add(finding.Unrecorded, analysis.Info, d, -1, 100*most,
		fmt.Sprintf("%d of %d ranks recorded nothing for %s of their window or more, %s for %s",
			n, all, units.Share(otherShareMin), d.label(), units.Share(most)))
}

// queues looks for the stage in whose queue requests lose the most.
func (f *finder) queues() {
	wait := map[int]int64{}
	var total int64
	for _, q := range f.r.Requests {
		if q.Partial {
			continue
		}
		total += q.TotalNs
		for _, s := range q.Stages {
			wait[s.StageID] += max(0, s.QueueNs)
		}
	}
	for _, s := range f.r.Stages {
		p := stat.Ratio(wait[s.StageID], total)
		if p < queueShareMin {
			continue
		}
		f.add(finding.QueueWait, severityOf(p), f.rankOf(s.Ranks[0].Trace), -1, 100*p,
			fmt.Sprintf("requests spend %s of their time in the queue of %s", units.Share(p), s.name()))
	}
}

func (f *finder) drift() {
	for _, b := range f.r.Batches {
		if b.Drift < drift.Said {
			continue
		}
		for _, d := range f.a.ranks {
			if d.stageID == b.StageID && d.t.Meta.Replica == b.Replica {
				f.add(finding.StepDrift, analysis.Notice, d, b.Steps.MaxSlice, 100*b.Drift, fmt.Sprintf(
					"denoise steps get slower within a batch: the last quarter takes %s longer than the first",
					units.Share(b.Drift)))
				break
			}
		}
		return
	}
}
