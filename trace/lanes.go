package trace

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
	"strings"
)

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

// Span is an interval of something's work, known from events that told of its begin and end.
type Span struct {
	Kind       string // what shares lanes with it
	Start, End int64  // ns, as in Slice
	Name       string
	Args       []byte // JSON, as in Slice
}

// AddSpans adds spans that may overlap, each as a slice of CatUserAnnotation on a lane of its kind.
// track makes the kind's lane of that number. The order of the spans does not matter; they are sorted.
func (t *Trace) AddSpans(spans []Span, track func(kind string, lane int) TrackID) {
	slices.SortFunc(spans, func(x, y Span) int {
		return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(y.End, x.End), strings.Compare(x.Kind, y.Kind),
			strings.Compare(x.Name, y.Name), bytes.Compare(x.Args, y.Args))
	})
	var lanes Lanes[string]
	for _, s := range spans {
		on := lanes.Place(s.Kind, s.Start, s.End, func(lane int) TrackID { return track(s.Kind, lane) })
		t.AddSlice(Slice{Start: s.Start, Dur: s.End - s.Start, Name: s.Name, Cat: CatUserAnnotation, Track: on,
			Corr: NoCorrelation, Args: s.Args})
	}
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
