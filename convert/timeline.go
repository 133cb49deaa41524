package convert

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
)

// TimelineName is the timeline's name in a run.
const TimelineName = "timeline.pftrace"

// RankInput is one rank's part in a timeline.
type RankInput struct {
	Rank      protocol.RankID
	StageName string
	Trace     *trace.Trace
	Clock     protocol.ClockError // of the hub's probes; zero if it was never probed
}

// Timeline says what a timeline holds.
type Timeline struct {
	Artifact protocol.Artifact `json:"artifact"`
	StartNs  int64             `json:"start_ns"` // hub's clock, Unix ns
	EndNs    int64             `json:"end_ns"`
	Slices   int               `json:"slices"`
	Flows    int               `json:"flow_ends"`
	Counters int               `json:"counter_samples"`
	Overlaps int               `json:"overlapping_slices"` // on lanes of their own
	// UncertaintyNs is the largest error of any rank's clock against the hub's.
	// Differences between ranks that are smaller mean nothing.
	UncertaintyNs int64       `json:"uncertainty_ns"`
	Ranks         []RankClock `json:"ranks"`
}

// RankClock is the clock that a rank was put on the timeline with.
type RankClock struct {
	protocol.RankID
	StageName   string  `json:"stage_name"`
	OffsetNs    int64   `json:"offset_ns"` // hub = rank + offset, at the window's start
	DriftPPM    float64 `json:"drift_ppm"`
	ErrorNs     int64   `json:"error_ns"`            // against the hub
	RelativeNs  int64   `json:"relative_error_ns"`   // against ranks of other hosts by common collectives; 0 if none
	Collectives int     `json:"collectives_matched"` // with other hosts, that refined the clock
	Contradicts bool    `json:"contradicts_probe,omitempty"`
	ResidualP50 int64   `json:"residual_p50_ns"` // between its ends of common collectives and the others', aligned
	ResidualP95 int64   `json:"residual_p95_ns"`
	Impossible  int     `json:"impossible_collectives,omitempty"` // it left before another had entered
	// HandOffs counts those to and from ranks on other clocks that no collective ties it to.
	HandOffs int `json:"handoffs_matched"`
	// HandOffNs is the error against those with which hand-offs went both ways; 0 if there are none.
	HandOffNs int64 `json:"handoff_error_ns"`
	// Early counts hand-offs that arrived before they were sent.
	Early       int  `json:"impossible_handoffs,omitempty"`
	NoWallClock bool `json:"no_wall_clock,omitempty"` // put at the start of the timeline
}

// Clocks returns the clock of each rank, in the order of ranks.
func Clocks(ranks []RankInput) []align.Clock {
	in := make([]align.Rank, len(ranks))
	for i, r := range ranks {
		if len(ranks) == 1 { // it has nobody to leave a collective together with
			in[i] = aloneRank(r.Trace, scope(r.Rank.Stage, r.Rank.Replica), r.Clock)
			break
		}
		in[i] = AlignRank(r.Trace, scope(r.Rank.Stage, r.Rank.Replica), r.Clock)
	}
	return align.Align(in)
}

// scope is within what names of process groups hold.
func scope(stage, replica int) string { return fmt.Sprintf("stage%d/replica%d", stage, replica) }

// Scope is the scope for AlignRank of a trace that says whose it is.
func Scope(m *trace.Meta) string { return scope(m.StageID, m.Replica) }

// AlignRank is what alignment needs of a rank, after which its trace may go. Names of process
// groups hold within scope.
func AlignRank(t *trace.Trace, scope string, clock protocol.ClockError) align.Rank {
	if !t.Meta.WallClock {
		return aloneRank(t, scope, clock)
	}
	return AlignSeen(look(t), scope, clock)
}

// AlignSeen is AlignRank of a trace that has been looked at.
func AlignSeen(seen *plausible.Trace, scope string, clock protocol.ClockError) align.Rank {
	r := aloneRank(seen.View.Trace, scope, clock)
	if seen.View.Trace.Meta.WallClock {
		r.Collectives = collectives(seen)
	}
	return r
}

// AlignOwn is AlignSeen of a trace that says itself whose it is and has no probed clock. A trace that is alone is
// compared with no other, and its collectives are not read.
func AlignOwn(seen *plausible.Trace, alone bool) align.Rank {
	t := seen.View.Trace
	if alone {
		return aloneRank(t, Scope(&t.Meta), protocol.ClockError{})
	}
	return AlignSeen(seen, Scope(&t.Meta), protocol.ClockError{})
}

// aloneRank is AlignRank of a rank that is compared with no other: without collectives.
func aloneRank(t *trace.Trace, scope string, clock protocol.ClockError) align.Rank {
	r := align.Rank{Host: t.Meta.Host, Scope: scope, Clock: clock, ProbedNs: t.Meta.WindowStart}
	if t.Meta.WallClock {
		r.HandOffs = handOffs(t)
	}
	return r
}

// Align says what Merge would of the clocks and the window of all ranks, and writes nothing.
func Align(ranks []RankInput) Timeline { return summarize(ranks, Clocks(ranks)) }

// Merge writes all ranks on one clock into TimelineName, in order of time.
func Merge(ctx context.Context, ranks []RankInput, to Sink) (Timeline, error) {
	if len(ranks) == 0 {
		return Timeline{}, fmt.Errorf("merge timeline: no rank left a trace")
	}
	ranks = slices.Clone(ranks)
	slices.SortStableFunc(ranks, func(a, b RankInput) int {
		return cmp.Or(cmp.Compare(a.Rank.Stage, b.Rank.Stage), cmp.Compare(a.Rank.Replica, b.Rank.Replica),
			cmp.Compare(a.Rank.Rank, b.Rank.Rank))
	})
	var clocks []align.Clock
	if len(ranks) == 1 {
		clocks = Clocks(ranks)
	} else {
		in := make([]align.Rank, len(ranks))
		for i := range ranks {
			r := &ranks[i]
			seen := look(r.Trace)
			in[i] = AlignSeen(seen, scope(r.Rank.Stage, r.Rank.Replica), r.Clock)
			r.Trace = OnHostClock(r.Trace, seen.Clocks)
		}
		clocks = align.Align(in)
	}
	tl := summarize(ranks, clocks)
	var stats perfetto.Stats
	var err error
	tl.Artifact, err = produce(ctx, to, TimelineName, protocol.KindTimeline, func(w io.Writer) (err error) {
		stats, err = writeTimeline(w, ranks, clocks, tl.StartNs)
		return err
	})
	if err != nil {
		return tl, fmt.Errorf("merge timeline of %d ranks: %w", len(ranks), err)
	}
	tl.Slices, tl.Flows, tl.Counters, tl.Overlaps = stats.Slices, stats.FlowEnds, stats.Counters, stats.Overlapped
	return tl, nil
}

// summarize says where the timeline begins and ends and how well that is known.
func summarize(ranks []RankInput, clocks []align.Clock) Timeline {
	tl := Timeline{StartNs: math.MaxInt64, EndNs: math.MinInt64}
	for i, r := range ranks {
		c, m := clocks[i], &r.Trace.Meta
		tl.Ranks = append(tl.Ranks, RankClock{
			RankID: r.Rank, StageName: r.StageName, OffsetNs: c.OffsetNs, DriftPPM: c.Drift * 1e6, ErrorNs: c.ErrorNs,
			RelativeNs: c.RelativeNs, Collectives: c.Matched, Contradicts: c.Contradicts, NoWallClock: !m.WallClock,
			ResidualP50: c.P50Ns, ResidualP95: c.P95Ns, Impossible: c.Impossible,
			HandOffs: c.HandOffs, HandOffNs: c.HandOffNs, Early: c.Early,
		})
		if !m.WallClock {
			continue
		}
		tl.UncertaintyNs = max(tl.UncertaintyNs, c.ErrorNs)
		if start, end, ok := window(r.Trace); ok {
			tl.StartNs, tl.EndNs = min(tl.StartNs, c.Map(start)), max(tl.EndNs, c.Map(end))
		}
	}
	if tl.StartNs > tl.EndNs {
		tl.StartNs, tl.EndNs = 0, 0
	}
	return tl
}

func window(t *trace.Trace) (start, end int64, ok bool) {
	if t.Meta.WindowEnd > t.Meta.WindowStart {
		return t.Meta.WindowStart, t.Meta.WindowEnd, true
	}
	return t.Extent()
}

func writeTimeline(w io.Writer, ranks []RankInput, clocks []align.Clock, startNs int64) (perfetto.Stats, error) {
	p := perfetto.NewCompressedWriter(w, startNs, gzipWorkers, perfetto.Fast)
	var seqs []iter.Seq[perfetto.Event]
	for i, r := range ranks {
		clock := clocks[i].Map
		if !r.Trace.Meta.WallClock {
			first, _, _ := r.Trace.Extent()
			clock = func(ns int64) int64 { return ns - first + startNs }
		}
		seqs = append(seqs, p.AddRank(r.Trace, perfetto.RankOptions{
			Name: processName(r), Labels: labels(r, clocks[i]), Clock: clock,
		})...)
	}
	for e := range align.Merge(func(e perfetto.Event) int64 { return e.Time }, seqs...) {
		p.Emit(e)
	}
	return p.Close()
}

// processName is the rank's name in the timeline, "stage0 thinker rank 1".
func processName(r RankInput) string {
	name := fmt.Sprintf("stage%d %s", r.Rank.Stage, cmp.Or(r.StageName, r.Trace.Meta.Stage))
	if r.Rank.Replica > 0 {
		name += fmt.Sprintf(" replica %d", r.Rank.Replica)
	}
	return fmt.Sprintf("%s rank %d", name, r.Rank.Rank)
}

func labels(r RankInput, c align.Clock) []string {
	var out []string
	if h := r.Trace.Meta.Host; h != "" {
		out = append(out, "host "+h)
	}
	if !r.Trace.Meta.WallClock {
		return append(out, "no wall clock: put at the start")
	}
	return append(out, "clock ±"+time.Duration(c.ErrorNs).Round(time.Microsecond).String())
}
