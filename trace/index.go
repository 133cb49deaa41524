package trace

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/trace/order"
)

// NestTolerance is how far, in ns, a slice may reach out of its parent and still be
// its child in an Index: microseconds with three decimals are rounded at both ends. Who
// called whom is decided more generously, by view.CallOverrunNs.
const NestTolerance = 2

// maxLanes bounds the lanes of one track, so that a track on which everything
// overlaps costs lanes x slices at most. What finds no lane shares the last one.
const maxLanes = 1024

// NoParent is the Parent of a slice that lies in no other.
const NoParent int32 = -1

// Index is the order and nesting of a trace's slices, track by track. A slice's
// parent is the innermost slice of its track that holds it, within NestTolerance.
// Within one Lane slices nest exactly; slices that overlap in part lie in lanes
// from 1 on. (Track, Lane, Depth) is where a viewer draws a slice without collision.
type Index struct {
	Order    []uint32 // slices by (track, start ascending, dur descending, file order)
	Parent   []int32  // by slice: its parent or NoParent
	Depth    []uint16 // by slice: number of slices of its lane that hold it
	Lane     []uint16 // by slice: 0 unless it overlaps another in part
	Self     []int64  // by slice: ns not covered by its children, >= 0
	Lanes    []uint16 // by track: number of lanes, 0 if it has no slices
	Overlaps int      // slices in lanes from 1 on

	first []uint32 // by track: where it begins in Order; one more at the end
}

type indexCell struct {
	mu   sync.Mutex
	made *Index
	n    int // slices when it was made
}

// Index returns the order and nesting of t's slices; it is computed when first asked
// for, and again after slices were added. Safe for use by several goroutines.
func (t *Trace) Index() *Index {
	c := &t.index
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil || c.n != t.Slices.Len() {
		c.made, c.n = buildIndex(t), t.Slices.Len()
	}
	return c.made
}

// Track returns the slices of a track in order. The result must not be changed.
func (x *Index) Track(id TrackID) []uint32 {
	if int(id)+1 >= len(x.first) {
		return nil
	}
	return x.Order[x.first[id]:x.first[id+1]]
}

func buildIndex(t *Trace) *Index {
	s := &t.Slices
	n := s.Len()
	x := &Index{
		Order: make([]uint32, n), Parent: make([]int32, n), Depth: make([]uint16, n),
		Lane: make([]uint16, n), Self: slices.Clone(s.Dur),
		Lanes: make([]uint16, len(t.Tracks)), first: make([]uint32, len(t.Tracks)+1),
	}
	for _, k := range s.Track {
		x.first[k+1]++
	}
	for k := 1; k < len(x.first); k++ {
		x.first[k] += x.first[k-1]
	}
	next := slices.Clone(x.first)
	for i, k := range s.Track {
		x.Order[next[k]] = uint32(i)
		next[k]++
	}
	less := func(a, b uint32) bool {
		if s.Start[a] != s.Start[b] {
			return s.Start[a] < s.Start[b]
		}
		if s.Dur[a] != s.Dur[b] {
			return s.Dur[a] > s.Dur[b]
		}
		return a < b
	}
	var wg sync.WaitGroup
	var overlaps, track atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(t.Tracks), n/minParallel+1) {
		wg.Go(func() { // each track belongs to one worker, so no two write the same slices
			var nest nester
			for k := int(track.Add(1)) - 1; k < len(t.Tracks); k = int(track.Add(1)) - 1 {
				rows := x.Track(TrackID(k))
				order.By(rows, less)
				x.Lanes[k] = nest.track(x, s, rows)
			}
			overlaps.Add(int64(nest.overlaps))
		})
	}
	wg.Wait()
	x.Overlaps = int(overlaps.Load())
	return x
}

// minParallel is the number of slices that is worth a goroutine.
const minParallel = 10_000

// nester finds parents and lanes on one track after the other.
type nester struct {
	// open are slices that may still hold others, by start. A slice that ends no later than a later one
	// is left out, as that one is nearer to whatever both hold: so the ends fall, and each slice is passed
	// over once.
	open  []uint32
	lanes [][]int64 // by lane: ends of its open slices, outermost first
	heads []int64   // by lane: the last of lanes' ends, some of which may be over

	overlaps int // slices in lanes from 1 on
}

func (m *nester) track(x *Index, s *Slices, order []uint32) uint16 {
	m.open = m.open[:0]
	m.lanes, m.heads = m.lanes[:0], m.heads[:0]
	for _, i := range order {
		start, end := s.Start[i], s.End(int(i))
		p := m.parent(s, start, end)
		x.Parent[i] = p
		if p != NoParent {
			covered := min(end, s.End(int(p))) - start
			x.Self[p] = max(0, x.Self[p]-max(0, covered))
		}
		m.push(s, i, end)
		lane := m.lane(start, end)
		x.Lane[i], x.Depth[i] = lane, uint16(min(len(m.lanes[lane])-1, 1<<16-1))
		if lane > 0 {
			m.overlaps++
		}
	}
	return uint16(len(m.lanes))
}

// parent returns the innermost open slice that holds [start, end], and forgets those
// that ended.
func (m *nester) parent(s *Slices, start, end int64) int32 {
	for len(m.open) > 0 && ended(s, m.open[len(m.open)-1], start) {
		m.open = m.open[:len(m.open)-1]
	}
	for j := len(m.open) - 1; j >= 0; j-- {
		o := m.open[j]
		if end <= s.End(int(o))+NestTolerance && !ended(s, o, start) {
			return int32(o)
		}
	}
	return NoParent
}

// push opens slice i, which ends at end.
func (m *nester) push(s *Slices, i uint32, end int64) {
	for n := len(m.open); n > 0; n = len(m.open) {
		o := m.open[n-1]
		if s.End(int(o)) > end || s.Dur[o] <= NestTolerance && s.Dur[i] > NestTolerance {
			break // it ends later, by what ended says
		}
		m.open = m.open[:n-1]
	}
	m.open = append(m.open, i)
}

// ended reports whether o is over when a slice begins at start. A slice without
// duration holds nothing: files in whole microseconds have many at one instant, and
// which would hold which is not known.
func ended(s *Slices, o uint32, start int64) bool {
	slack := int64(NestTolerance)
	if s.Dur[o] <= NestTolerance {
		slack = 0
	}
	return s.End(int(o))-slack <= start
}

// lane returns the first lane in which [start, end] nests exactly.
func (m *nester) lane(start, end int64) uint16 {
	for l, head := range m.heads {
		if start < head && head < end && l < maxLanes-1 {
			continue
		}
		ends := m.lanes[l]
		for len(ends) > 0 && ends[len(ends)-1] <= start {
			ends = ends[:len(ends)-1]
		}
		if len(ends) == 0 || end <= ends[len(ends)-1] || l == maxLanes-1 {
			m.lanes[l], m.heads[l] = append(ends, end), end
			return uint16(l)
		}
		m.lanes[l], m.heads[l] = ends, ends[len(ends)-1]
	}
	m.lanes, m.heads = append(m.lanes, []int64{end}), append(m.heads, end)
	return uint16(len(m.lanes) - 1)
}
