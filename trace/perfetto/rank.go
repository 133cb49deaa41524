package perfetto

import (
	"cmp"
	"hash/fnv"
	"iter"
	"math"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
)

// RankOptions says how a rank appears in the file.
type RankOptions struct {
	Name   string            // of the process, "stage0 thinker rank 1"
	Labels []string          // shown beside the name
	Clock  func(int64) int64 // from the trace's time to the file's, ns, not decreasing; nil: the same
	// GlobalFlow reports whether flow ids of a category hold across ranks; ids of
	// other categories are the rank's own. nil: those of hand-offs hold.
	GlobalFlow func(category string) bool
}

// rankTracks is one rank's trace, declared in a Writer.
type rankTracks struct {
	p       *Writer
	t       *trace.Trace
	clock   func(int64) int64
	global  func(string) bool
	number  uint64 // of the rank in the file, from 1; tells local flow ids apart
	process uint64
	lanes   []lane
	series  map[seriesKey]uint64 // counter tracks
	memory  map[string]uint64    // counter tracks of [memory] instants
	shapes  []shape              // of arguments, by template

	flowCat    trace.StringID // the category last asked for
	flowAsked  bool
	flowGlobal bool // its flow ids hold across ranks
}

// lane is a Perfetto track of slices.
type lane struct {
	uuid     uint64
	slices   []int32 // by start, outer before inner
	instants []int32 // by time
	flows    [][]int32
	loose    []int32 // flow ends that lie in no slice, by time
}

type seriesKey struct {
	track        trace.TrackID
	name, series trace.StringID
}

// Event is one event of a rank, to be given to Writer.Emit.
type Event struct {
	Time int64 // in the file's time, ns

	rank  *rankTracks
	kind  eventKind
	lane  int32 // index of the lane
	index int32 // index in the trace's column
	slot  int32 // of a slice: its position in the lane
}

type eventKind uint8

const (
	eventBegin eventKind = iota
	eventEnd
	eventInstant
	eventFlow
	eventCounter
	eventMemory
)

// AddRank declares the tracks of t and returns its events: one sequence a lane, each
// in order of time. The sequences may be read once each, in any interleaving.
func (p *Writer) AddRank(t *trace.Trace, o RankOptions) []iter.Seq[Event] {
	p.threads += 1000 // room to see in the numbers what belongs to one rank
	p.threads -= p.threads % 1000
	r := &rankTracks{
		p: p, t: t, clock: o.Clock, global: o.GlobalFlow, number: uint64(p.threads / 1000),
		series: map[seriesKey]uint64{}, memory: map[string]uint64{},
	}
	if r.clock == nil {
		r.clock = func(ns int64) int64 { return ns }
	}
	if r.global == nil {
		r.global = trace.Handoff
	}
	process := appendVarint(nil, fieldProcessPID, uint64(p.threads))
	process = appendText(process, fieldProcessName, o.Name)
	for _, l := range o.Labels {
		process = appendText(process, fieldProcessLabels, l)
	}
	r.process = p.track(trackSpec{process: process})
	r.layOut(p.threads)
	var seqs []iter.Seq[Event]
	for i := range r.lanes {
		seqs = append(seqs, r.laneEvents(int32(i)))
	}
	return append(seqs, r.counterEvents(), r.memoryEvents())
}

// layOut makes the lanes and their tracks.
func (r *rankTracks) layOut(pid int64) {
	index := r.t.Index()
	byInstant := groupByTrack(len(r.t.Tracks), r.t.Instants.Track, r.t.Instants.Time)
	byFlow := groupByTrack(len(r.t.Tracks), r.t.Flows.Track, r.t.Flows.Time)
	for order, id := range r.trackOrder() {
		rows := index.Track(trace.TrackID(id))
		byInstant[id] = slices.DeleteFunc(byInstant[id], r.isMemory)
		if len(rows)+len(byInstant[id])+len(byFlow[id]) == 0 {
			continue
		}
		first := len(r.lanes)
		main := r.declare(id, pid, order)
		r.lanes = append(r.lanes, lane{uuid: main, instants: byInstant[id]})
		for i := 1; i < int(index.Lanes[id]); i++ {
			name := r.laneName(id) + " overlap " + strconv.Itoa(i)
			r.lanes = append(r.lanes, lane{uuid: r.p.track(trackSpec{name: name, parent: main, order: i})})
		}
		for _, i := range rows {
			l := &r.lanes[first+int(index.Lane[i])]
			l.slices = append(l.slices, int32(i))
		}
		r.bind(first, byFlow[id])
	}
	r.p.stats.Overlapped += index.Overlaps
}

func (r *rankTracks) isMemory(i int32) bool {
	return r.t.String(r.t.Instants.Name[i]) == trace.NameMemory
}

// trackOrder returns the tracks as they appear below the process.
func (r *rankTracks) trackOrder() []int {
	order := make([]int, len(r.t.Tracks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &r.t.Tracks[a], &r.t.Tracks[b]
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.PID, y.PID),
			cmp.Compare(x.SortIndex, y.SortIndex), cmp.Compare(x.TID, y.TID))
	})
	return order
}

// groupByTrack returns, for each track, the rows on it by time. Rows on a track that
// does not exist are left out.
func groupByTrack(tracks int, column []trace.TrackID, times []int64) [][]int32 {
	out := make([][]int32, tracks)
	for i, id := range column {
		if int(id) < tracks {
			out[id] = append(out[id], int32(i))
		}
	}
	for _, rows := range out {
		slices.SortStableFunc(rows, func(a, b int32) int { return cmp.Compare(times[a], times[b]) })
	}
	return out
}

func (r *rankTracks) laneName(id int) string {
	tr := &r.t.Tracks[id]
	switch {
	case tr.Name != "":
		return tr.Name
	case tr.Kind == trace.TrackGPU:
		return "GPU " + strconv.FormatInt(tr.Device, 10) + " stream " + strconv.FormatInt(tr.Stream, 10)
	case tr.TIDText != "":
		return tr.TIDText
	}
	return "thread " + strconv.FormatInt(tr.TID, 10)
}

// declare makes the track of a lane: a thread for a CPU track, else a plain track.
// Thread ids are synthetic, as those of several hosts and containers collide.
func (r *rankTracks) declare(id int, pid int64, order int) uint64 {
	name := r.laneName(id)
	if r.t.Tracks[id].Kind != trace.TrackCPU {
		return r.p.track(trackSpec{name: name, parent: r.process, order: order})
	}
	r.p.threads++
	thread := appendVarint(nil, fieldThreadPID, uint64(pid))
	thread = appendVarint(thread, fieldThreadTID, uint64(r.p.threads))
	thread = appendText(thread, fieldThreadName, name)
	return r.p.track(trackSpec{parent: r.process, order: order, thread: thread})
}

// bind gives every flow end of a track to the innermost slice around its time, on
// whichever lane from first on that is; ends in no slice stay loose.
func (r *rankTracks) bind(first int, flows []int32) {
	if len(flows) == 0 {
		return
	}
	finders := make([]finder, len(r.lanes)-first)
	for i := range finders {
		l := &r.lanes[first+i]
		finders[i] = finder{s: &r.t.Slices, rows: l.slices}
		l.flows = make([][]int32, len(l.slices))
	}
	for _, f := range flows {
		best, bestStart, slot := -1, int64(math.MinInt64), 0
		for i := range finders {
			if k, ok := finders[i].at(r.t.Flows.Time[f]); ok {
				if start := r.t.Slices.Start[r.lanes[first+i].slices[k]]; start > bestStart {
					best, bestStart, slot = i, start, k
				}
			}
		}
		if best < 0 {
			r.lanes[first].loose = append(r.lanes[first].loose, f)
			continue
		}
		l := &r.lanes[first+best]
		l.flows[slot] = append(l.flows[slot], f)
	}
}

// finder finds the innermost slice at times that do not decrease.
type finder struct {
	s     *trace.Slices
	rows  []int32
	next  int
	stack []int
}

func (f *finder) at(ns int64) (slot int, ok bool) {
	for f.next < len(f.rows) && f.s.Start[f.rows[f.next]] <= ns {
		f.endBefore(f.s.Start[f.rows[f.next]])
		f.stack = append(f.stack, f.next)
		f.next++
	}
	f.endBefore(ns)
	if len(f.stack) == 0 {
		return 0, false
	}
	return f.stack[len(f.stack)-1], true
}

// endBefore forgets the slices that end before ns. One that ends at ns stays, as an
// arrow may start at the very end of its slice.
func (f *finder) endBefore(ns int64) {
	for len(f.stack) > 0 && f.s.End(int(f.rows[f.stack[len(f.stack)-1]])) < ns {
		f.stack = f.stack[:len(f.stack)-1]
	}
}

// flowID returns the id of flow end f in the file. Ids of a rank's own begin with its number, and are
// otherwise alike from arrow to arrow, so that they pack well; those that have no room so are hashed.
func (r *rankTracks) flowID(f int32) uint64 {
	id, cat := r.t.Flows.ID[f], r.t.Flows.Cat[f]
	if cat != r.flowCat || !r.flowAsked {
		r.flowCat, r.flowAsked, r.flowGlobal = cat, true, r.global(r.t.String(cat))
	}
	if r.flowGlobal {
		return id
	}
	if id < 1<<flowIDBits && cat < 1<<flowCatBits && r.number < 1<<(64-flowIDBits-flowCatBits) {
		return r.number<<(flowIDBits+flowCatBits) | uint64(cat)<<flowIDBits | id
	}
	h := fnv.New64a()
	var b [16]byte
	for i := range 8 {
		b[i] = byte(id >> (8 * i))
		b[8+i] = byte(r.number >> (8 * i))
	}
	h.Write(b[:])
	h.Write([]byte(r.t.String(cat)))
	return h.Sum64()
}

// How a rank's own flow ids are made: its number above the number of the category's text above the id.
const (
	flowIDBits  = 32
	flowCatBits = 16
)
