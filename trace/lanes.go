package trace

import "container/heap"

// Lanes lay intervals that may overlap, such as the requests that a server works on at once, on tracks on
// which none does: on as few as the intervals of a kind K need.
type Lanes[K comparable] struct{ of map[K]*kindLanes }

// kindLanes are the lanes of one kind.
type kindLanes struct {
	tracks []TrackID
	taken  laneHeap // by when their last interval ends
	free   laneHeap // by their number: those whose last interval had ended when the newest began
}

// Place returns the track of the interval [start, end) of a kind: the first of the kind's on which nothing
// lies that ends later than start. If there is none, it is what track returns for the number of the kind's
// lanes so far. The intervals of a kind come in the order of their starts.
func (l *Lanes[K]) Place(kind K, start, end int64, track func(lane int) TrackID) TrackID {
	of := l.of[kind]
	if of == nil {
		if l.of == nil {
			l.of = map[K]*kindLanes{}
		}
		of = &kindLanes{}
		l.of[kind] = of
	}
	for len(of.taken) > 0 && of.taken[0].key <= start {
		lane := heap.Pop(&of.taken).(keyedLane).lane
		heap.Push(&of.free, keyedLane{int64(lane), lane})
	}
	lane := len(of.tracks)
	if len(of.free) > 0 {
		lane = heap.Pop(&of.free).(keyedLane).lane
	} else {
		of.tracks = append(of.tracks, track(lane))
	}
	heap.Push(&of.taken, keyedLane{end, lane})
	return of.tracks[lane]
}

// laneHeap has the lane of the lowest key on top.
type laneHeap []keyedLane

type keyedLane struct {
	key  int64
	lane int
}

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].key < h[j].key }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laneHeap) Push(x any)        { *h = append(*h, x.(keyedLane)) }

func (h *laneHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
