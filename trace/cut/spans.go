package cut

import (
	"cmp"
	"slices"
	"sort"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Span is a stretch of time, ns.
type Span struct{ From, To int64 }

// Spans are stretches of time that are chosen together, those on the host apart from those on
// devices: work of a device may run long after the host launched it.
type Spans struct {
	host, device []Span // disjoint, by time
	// hostTime returns the host's time of a track's time; nil: they are the same.
	hostTime func(k *trace.Track) func(ns int64) int64
}

// NewSpans makes Spans of stretches in any order. hostTime tells how the tracks' times are put on the clock
// that the stretches have: for a track nil if they are on it, and nil as a whole if all are.
func NewSpans(host, device []Span, hostTime func(k *trace.Track) func(ns int64) int64) *Spans {
	return &Spans{union(host), union(device), hostTime}
}

// union returns the disjoint stretches that cover what list covers.
func union(list []Span) (out []Span) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range list {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
			continue
		}
		out = append(out, s)
	}
	return out
}

// lane is the stretches of one track.
type lane struct {
	list []Span
	at   func(ns int64) int64 // puts the track's times on the stretches' clock; nil if they are on it
}

func (s *Spans) lane(k *trace.Track) lane {
	l := lane{list: s.host}
	if k.Kind == trace.TrackGPU {
		l.list = s.device
	}
	if s.hostTime != nil {
		l.at = s.hostTime(k)
	}
	return l
}

// covers reports whether what lasts from start to end is inside one of the stretches with a part of it. What
// only ends where a stretch begins, or begins where it ends, is not: it is its neighbour's.
func (l lane) covers(start, end int64) bool {
	if l.at != nil {
		start, end = l.at(start), l.at(end)
	}
	list := l.list
	i := sort.Search(len(list), func(i int) bool { return list[i].To > start || list[i].To == start && end == start })
	return i < len(list) && (list[i].From < end || list[i].From == start)
}

// extent is from the first to the last time of all stretches.
func (s *Spans) extent() (from, to int64, ok bool) {
	for _, l := range [][]Span{s.host, s.device} {
		if n := len(l); n > 0 {
			if !ok {
				from, to = l[0].From, l[n-1].To
			}
			from, to, ok = min(from, l[0].From), max(to, l[n-1].To), true
		}
	}
	return from, to, ok
}
