package pipeline

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/trace"
)

// spent is a division of time, ns by category.
func spent(ns map[Category]int64) (list []CategoryTime) {
	for c := range NumCategories {
		if n := ns[c]; n > 0 {
			list = append(list, CategoryTime{Category: c, ExclusiveNs: n, TotalNs: n})
		}
	}
	return list
}

// found is what a finder of one rank, whose trace has one slice, finds in a report: code, severity and number.
func found(r Report, look func(f *finder, d *rankData)) string {
	t := trace.New()
	t.AddSlice(trace.Slice{Name: "op", Dur: 1, Track: t.AddTrack(trace.Track{})})
	d := &rankData{t: t, stage: "s", comms: communication{blame: coll.Blame{Worst: -1}}}
	f := &finder{a: &analyzer{ranks: []*rankData{d}}, r: &r}
	look(f, d)
	var out []string
	for _, x := range r.Findings {
		out = append(out, fmt.Sprintf("%s %v %s", x.Code, x.Severity, strings.TrimRight(strings.TrimRight(
			fmt.Sprintf("%.6f", x.Number), "0"), ".")))
	}
	return strings.Join(out, "; ")
}

// TestFindingNumbers: from which share on a loss is said, how severe it is, and the number that stands for it, which
// is in percent where it is a share.
func TestFindingNumbers(t *testing.T) {
	comm := func(comm, rest, window int64) string {
		s := Stage{Name: "s", WindowNs: window, Time: spent(map[Category]int64{CatComm: comm, CatDecode: rest})}
		return found(Report{}, func(f *finder, d *rankData) { f.communication(&s, []*rankData{d}) })
	}
	handoff := func(hand, rest, window int64) string {
		s := Stage{Name: "s", WindowNs: window, Time: spent(map[Category]int64{CatHandoff: hand, CatDecode: rest})}
		return found(Report{}, func(f *finder, d *rankData) { f.handoff(&s, []*rankData{d}) })
	}
	straggler := func(matched int, last float64, wait int64) string {
		// The rank itself, its peer, and a rank of another replica, which loses nothing by it.
		s := Stage{Name: "s", Ranks: []Rank{{Matched: matched, LastInShare: last, WindowNs: 1000, PeerWaitNs: 900},
			{Rank: 1, PeerWaitNs: wait}, {Rank: 1, Replica: 1, PeerWaitNs: 900}}}
		return found(Report{}, func(f *finder, d *rankData) { f.straggler(&s, &s.Ranks[0], d) })
	}
	queues := func(wait int64) string {
		return found(Report{Stages: []Stage{{Name: "s", Ranks: []Rank{{}}}}, Requests: []Request{
			{TotalNs: 600, Stages: []RequestStage{{QueueNs: wait}}},
			{TotalNs: 400, Stages: []RequestStage{{QueueNs: -1}}}, // not known
			{TotalNs: 9000, Partial: true, Stages: []RequestStage{{QueueNs: 9000}}},
		}}, func(f *finder, _ *rankData) { f.queues() })
	}
	unrecorded := func(nothing int64) string {
		return found(Report{Stages: []Stage{{Ranks: []Rank{
			{WindowNs: 1000, Time: spent(map[Category]int64{CatOther: nothing, CatDecode: 1000 - nothing})},
			{WindowNs: 1000, Time: spent(map[Category]int64{CatOther: 10, CatDecode: 990})},
		}}}}, func(f *finder, _ *rankData) { f.unrecorded() })
	}
	topOp := func(self, others, busy int64) string {
		return found(Report{Bottleneck: &Bottleneck{Stage: "s"}, Stages: []Stage{{Name: "s", WindowNs: 1000,
			Time: spent(map[Category]int64{CatDecode: busy}), Ops: []Op{
				{Name: "c10d::allreduce_", Comm: true, Calls: 1},
				{Name: "aten::mm", SelfNs: self, TotalNs: self, Calls: 2},
				{Name: "aten::add", SelfNs: others, TotalNs: others, Calls: 1}}}}},
			func(f *finder, _ *rankData) { f.topOp() })
	}
	first := func(longest int64) string {
		return found(Report{FirstOutput: &Chain{Output: "audio", TotalNs: 100, Links: []Link{{DurNs: 5, Slice: -1},
			{DurNs: longest, Slice: 0}, {DurNs: 6, Slice: -1}}}}, func(f *finder, _ *rankData) { f.chainLink() })
	}
	clock := func(uncertainty int64) string {
		return found(Report{ClockUncertaintyNs: uncertainty, FirstOutput: &Chain{TotalNs: 100,
			Links: []Link{{Kind: "queue", DurNs: 1, Slice: -1}, {Kind: "handoff", DurNs: 3000, Slice: -1}}}},
			func(f *finder, _ *rankData) { f.clock() })
	}
	drifts := func(change float64) string {
		return found(Report{Batches: []Batch{{Drift: change, Steps: StepStats{MaxSlice: -1}}}},
			func(f *finder, _ *rankData) { f.drift() })
	}
	for _, c := range []struct{ name, got, want string }{
		{"communication", comm(30, 170, 1000), "communication notice 15"},
		{"a little less", comm(29, 171, 1000), ""},
		{"of a tenth of the window", comm(30, 170, 300), "communication warning 15"},
		{"a little less of it", comm(30, 170, 301), "communication notice 15"},
		{"of all of it", comm(100, 0, 100), "communication warning 100"},
		{"of hardly any of it", comm(30, 170, 100_000), "communication notice 15"},
		{"hand-offs", handoff(10, 190, 1000), "handoffs notice 5"},
		{"a little less", handoff(9, 191, 1000), ""},
		{"less of the window", handoff(10, 190, 1001), ""},
		{"a straggler", straggler(10, 0.7, 10), "last_in notice 70"},
		{"too few collectives", straggler(9, 0.7, 10), ""},
		{"not so often the last", straggler(10, 0.69, 10), ""},
		{"for which nobody waits long", straggler(10, 0.7, 9), ""},
		{"queues", queues(250), "queue_wait warning 25"},
		{"a little less", queues(249), ""},
		{"nothing recorded", unrecorded(200), "unrecorded info 20"},
		{"a little less", unrecorded(199), ""},
		{"an operator", topOp(30, 20, 100), "top_operator notice 30"},
		{"a little less", topOp(29, 20, 100), ""},
		{"several threads of a rank add up", topOp(30, 70, 99), "top_operator notice 30"},
		{"and may be more than the rank's time", topOp(30, 71, 99), ""},
		{"the first output", first(25), "first_output info 25"},
		{"a little less", first(24), ""},
		{"clocks, in µs", clock(1501), "clock_uncertain notice 1.501"},
		{"as good as half of the hand-off", clock(1500), ""},
		{"drift", drifts(0.5), "step_drift notice 50"},
		{"the least that is said", drifts(0.1), "step_drift notice 10"},
		{"less", drifts(0.099), ""},
		{"of steps that get faster", drifts(-0.5), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}

// TestLimit: what limits a stage, by the parts of its busy time, here in percent.
func TestLimit(t *testing.T) {
	for _, c := range []struct {
		name  string
		busy  float64
		time  map[Category]int64
		peer  int64
		limit Limit
		says  string
	}{
		{"half busy", 0.5, map[Category]int64{CatDecode: 70, CatPrefill: 30}, 0, LimitCompute, "most of it decode"},
		{"less", 0.49, map[Category]int64{CatDecode: 100}, 0, LimitLoad, "no stage is busy more than 49%"},
		{"communication", 1, map[Category]int64{CatDecode: 60, CatComm: 40}, 0, LimitComm, "40% communication"},
		{"less", 1, map[Category]int64{CatDecode: 61, CatComm: 39}, 0, LimitCompute,
			"61% of its busy time is model work"},
		{"half of it waits for a slower rank", 1, map[Category]int64{CatDecode: 60, CatComm: 40}, 20, LimitPeer,
			"20% of its busy time is waiting in collectives"},
		{"less", 1, map[Category]int64{CatDecode: 60, CatComm: 40}, 19, LimitComm, "40% communication"},
		{"of more, less than half", 1, map[Category]int64{CatDecode: 50, CatComm: 50}, 24, LimitComm,
			"50% communication"},
		{"waiting is no more than communication", 1, map[Category]int64{CatDecode: 70, CatComm: 30}, 99, LimitPeer,
			"30% of its busy time is waiting"},
		{"hand-offs", 1, map[Category]int64{CatDecode: 60, CatHandoff: 40}, 0, LimitHandoff, "40% hand-off"},
		{"less", 1, map[Category]int64{CatDecode: 61, CatHandoff: 39}, 0, LimitCompute, "39% hand-off"},
		{"scheduling and sampling", 1, map[Category]int64{CatDecode: 60, CatSchedule: 25, CatSample: 15}, 0, LimitHost,
			"40% of its busy time is scheduling and sampling"},
		{"less", 1, map[Category]int64{CatDecode: 61, CatSchedule: 25, CatSample: 14}, 0, LimitCompute, "decode"},
		// What is not busy is in none of the parts.
		{"beside waiting", 1, map[Category]int64{CatDecode: 60, CatComm: 40, CatWait: 900, CatOther: 900}, 0, LimitComm,
			"60% of its busy time is model work"},
	} {
		s := Stage{Time: spent(c.time), PeerWaitNs: c.peer}
		if got, why := limit(&s, c.busy); got != c.limit || !strings.Contains(why, c.says) {
			t.Errorf("%s: %v, %s; want %v, %s", c.name, got, why, c.limit, c.says)
		}
	}
}

// TestBottleneck: a stage's busy share is of the time from the first step to the last on all its ranks.
func TestBottleneck(t *testing.T) {
	step := func(start, end int64) *rankData {
		return &rankData{t: trace.New(), spans: []span{{start: start, end: end, cls: clsDecode}}}
	}
	a := &analyzer{ranks: []*rankData{step(150, 300), step(100, 250), step(200, 350)}} // 100 to 350
	r := Report{Stages: []Stage{
		{StageID: 0, Name: "one", Ranks: make([]Rank, 2), Time: spent(map[Category]int64{CatDecode: 300})},
		{StageID: 1, Name: "two", Ranks: make([]Rank, 1),
			Time: spent(map[Category]int64{CatDecode: 175, CatWait: 900})},
	}}
	a.bottleneck(&r)
	b := r.Bottleneck
	if b == nil || b.Stage != "two" || math.Abs(b.BusyShare-0.7) > 1e-12 || len(b.Others) != 1 ||
		b.Others[0].Stage != "one" || math.Abs(b.Others[0].BusyShare-0.6) > 1e-12 {
		t.Errorf("%+v", b)
	}
	// Of two that are as busy it is the first.
	r.Stages[1].Time = spent(map[Category]int64{CatDecode: 150})
	if a.bottleneck(&r); r.Bottleneck.Stage != "one" {
		t.Errorf("%+v", r.Bottleneck)
	}
}

// TestSeverityOf: what is said at all is a notice at least, and never critical.
func TestSeverityOf(t *testing.T) {
	for share, want := range map[float64]analysis.Severity{0: analysis.Notice, 0.05: analysis.Notice,
		0.1: analysis.Warning, 1: analysis.Warning} {
		if got := severityOf(share); got != want {
			t.Errorf("a share of %g: %v, want %v", share, got, want)
		}
	}
}
