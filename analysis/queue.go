package analysis

import (
	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Queue is how much launched work waited on each stream of a rank.
type Queue struct {
	Rank    int           `json:"rank"`
	Streams []StreamQueue `json:"streams"`
}

// StreamQueue is one stream's queue: work is in it from the start of its launch call
// to its own start.
type StreamQueue struct {
	Lane   Lane     `json:"lane"`
	Series []Point  `json:"-"`
	ByTime Weighted `json:"by_time"`
	// Points describes the length after every change, each change counting once; it is
	// HTA's summary and leans towards busy phases.
	Points Stats `json:"points"`
	// BlockedNs is the time for which the queue was full: at its ceiling while a launch
	// call waited for room. With Options.HTA it is the time at FullQueueLength or more.
	BlockedNs    int64   `json:"blocked_ns"`
	BlockedShare float64 `json:"blocked_share"` // of the series' span
	// FullLength is the length, in launches, from which it counts as full; 0 if it never
	// was. FullQueueLength with Options.HTA.
	FullLength int `json:"full_length"`
	// MaxAt is the device slice whose launch first brought the longest queue.
	MaxAt int `json:"max_at"`

	points []Point `pack:"-"` // every change, for a different limit
	spanNs int64   `pack:"-"` // what BlockedShare is a share of
}

// QueueLength answers how full each stream's queue was over time.
func QueueLength(tr *trace.Trace, opt Options) Queue { return newFrame(tr, opt).queue() }

func (f *frame) queue() Queue {
	out := Queue{Rank: f.rank}
	if f.several() {
		return out
	}
	out.Streams = make([]StreamQueue, 0, len(f.lanes))
	for l, steps := range f.queueSteps() {
		if len(steps) == 0 {
			continue
		}
		sq := StreamQueue{Lane: f.lanes[l], MaxAt: NoSlice}
		vals := make([]float64, len(steps))
		sq.points = make([]Point, len(steps))
		v, most := 0.0, 0.0
		for i, st := range steps {
			v += st.delta
			vals[i] = v
			sq.points[i] = Point{st.at, v}
			if v > most {
				most, sq.MaxAt = v, int(st.owner)
			}
		}
		sq.Series = accumulate(steps)
		sq.spanNs = steps[len(steps)-1].at - steps[0].at
		if f.rules.FullAtLimit {
			sq.spanNs = f.rows.StartsSpan()
		}
		sq.ByTime, sq.Points = weigh(sq.Series), describe(vals)
		if f.rules.FullAtLimit {
			sq.FullLength = FullQueueLength
			sq.BlockedNs, sq.BlockedShare = sq.Blocked(FullQueueLength)
		} else if most >= FullQueueLength-fullNear {
			sq.BlockedNs, sq.FullLength = f.fullTime(steps)
			sq.BlockedShare = share(sq.BlockedNs, sq.spanNs)
		}
		out.Streams = append(out.Streams, sq)
	}
	return out
}

// Blocked returns the time during which the queue held at least limit entries, in ns
// and as a share of the series' span, whether launch calls waited or not.
func (q StreamQueue) Blocked(limit int) (int64, float64) {
	var ns int64
	for i := 0; i+1 < len(q.points); i++ {
		if q.points[i].Value >= float64(limit) {
			ns += q.points[i+1].TimeNs - q.points[i].TimeNs
		}
	}
	return ns, share(ns, q.spanNs)
}

// queueSteps returns the changes of every lane's queue in order of time; at one time
// what enters comes before what leaves.
func (f *frame) queueSteps() [][]step {
	out := make([][]step, len(f.lanes))
	for l, rows := range f.byLane() {
		steps := make([]step, 0, 2*len(rows))
		for _, d := range rows {
			h := f.partner[d]
			if h < 0 || f.rules.OneSliceALaunch && (f.partner[h] != d || !f.keep[h] || !hta.Enqueues(f.name(h))) {
				continue
			}
			steps = append(steps, step{f.start[h], 1, 0, d}, step{max(f.start[d], f.start[h]), -1, 1, d})
		}
		sortSteps(steps)
		out[l] = steps
	}
	return out
}
