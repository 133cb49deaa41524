package ascend

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// threads are the rows of Python's process, by the thread that ran them. CANN's process has the same
// threads once more.
type threads struct {
	t      *trace.Trace
	tracks map[int64][]trace.TrackID // by number of the thread
	rows   map[trace.TrackID][]int   // by start
	queue  map[place]place           // where a task was taken from the queue to where it was put in
}

// operators finds them.
func operators(t *trace.Trace) *threads {
	o := &threads{t: t, tracks: map[int64][]trace.TrackID{}, rows: map[trace.TrackID][]int{},
		queue: ends(t, catFromQueue)}
	s := &t.Slices
	for i, c := range s.Cat {
		id := s.Track[i]
		if c == trace.CatPrivateRuntime || t.Tracks[id].Kind != trace.TrackCPU {
			continue
		}
		if len(o.rows[id]) == 0 {
			tid := t.Tracks[id].TID
			o.tracks[tid] = append(o.tracks[tid], id)
		}
		o.rows[id] = append(o.rows[id], i)
	}
	for _, list := range o.rows {
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(s.Start[a], s.Start[b]) })
	}
	return o
}

// behind is where in an operator the CANN call began in which something happened at at; ok is false if
// the trace does not show that.
func (o *threads) behind(at place) (from place, ok bool) {
	s := &o.t.Slices
	for _, id := range o.tracks[o.t.Tracks[at.track].TID] {
		i := around(s, o.rows[id], at.at)
		if i < 0 {
			continue
		}
		if from, ok := o.queue[place{id, s.Start[i]}]; ok {
			return from, true
		}
		return place{id, at.at}, true
	}
	return place{}, false
}
