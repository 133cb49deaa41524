package profiler

import (
	"context"
	"sync"
	"sync/atomic"
)

// Regions are for code that crosses goroutines: a handler, a client call, a stage of a
// request. A region is an async span, so it may begin on one goroutine and end on
// another. It goes to a lane of the Recorder that takes a lock for each event, about
// 50 ns more than a Track's span: right for requests, wrong for operators.

type contextKey uint8

const (
	recorderKey contextKey = iota
	regionKey
)

// NewContext returns a context that carries r to Region.
func NewContext(ctx context.Context, r *Recorder) context.Context {
	return context.WithValue(ctx, recorderKey, r)
}

// FromContext returns the Recorder of ctx, or nil, on which everything is a no-op.
func FromContext(ctx context.Context) *Recorder {
	r, _ := ctx.Value(recorderKey).(*Recorder)
	return r
}

// ActiveRegion is a region that has begun. A nil ActiveRegion ignores everything. Its
// methods may be called from any goroutine.
type ActiveRegion struct {
	rec   *Recorder
	name  Name
	id    uint64
	ended atomic.Bool
}

// ID identifies the region in this recording's process; it is also a flow id.
func (a *ActiveRegion) ID() uint64 {
	if a == nil {
		return 0
	}
	return a.id
}

// End ends the region. Only the first call counts.
func (a *ActiveRegion) End() { a.EndWith(nil) }

// EndWith is End with arguments, which set adds to the region's last event.
func (a *ActiveRegion) EndWith(set func(Span)) {
	if a == nil || a.ended.Swap(true) {
		return
	}
	a.rec.shared.with(func(t *Track) {
		s := t.AsyncEnd(a.name, a.id)
		if set != nil && s.Recording() {
			set(s)
		}
	})
}

var (
	keyParent = Intern("parent")
)

// Region begins a region named name in the Recorder of ctx and returns a context in which
// regions begun later are its children. If nothing is being recorded it returns ctx and
// nil at the cost of a context look-up.
func Region(ctx context.Context, name Name) (context.Context, *ActiveRegion) {
	return RegionWith(ctx, name, CategoryAnnotation, nil)
}

// RegionWith is Region with a category and arguments, which set adds to the region's
// first event.
func RegionWith(ctx context.Context, name Name, c Category, set func(Span)) (context.Context, *ActiveRegion) {
	r := FromContext(ctx)
	if !r.armed() {
		return ctx, nil
	}
	a := &ActiveRegion{rec: r, name: name, id: NewID()}
	parent, _ := ctx.Value(regionKey).(*ActiveRegion)
	r.shared.with(func(t *Track) {
		s := t.AsyncBegin(name, c, a.id)
		if !s.Recording() {
			return
		}
		if parent != nil {
			s.Int(keyParent, int64(parent.id))
		}
		if set != nil {
			set(s)
		}
	})
	return context.WithValue(ctx, regionKey, a), a
}

// armed reports whether a recording or the flight recorder is on.
func (r *Recorder) armed() bool {
	if r == nil {
		return false
	}
	return r.shared.track(r).Enabled()
}

// Event runs f with a lane that all goroutines of the process share, under its lock: for
// code that has no Track of its own and records little. f must not block and not keep the
// Track.
func (r *Recorder) Event(f func(*Track)) {
	if r.armed() {
		r.shared.with(f)
	}
}

// sharedTrack is the lane of regions. It is made when it is first used.
type sharedTrack struct {
	mu  sync.Mutex
	ptr atomic.Pointer[Track]
}

func (s *sharedTrack) track(r *Recorder) *Track {
	if t := s.ptr.Load(); t != nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.ptr.Load(); t != nil {
		return t
	}
	t := r.Track("regions")
	s.ptr.Store(t)
	return t
}

// with runs f with the lane. armed has made it.
func (s *sharedTrack) with(f func(*Track)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.ptr.Load(); t != nil {
		f(t)
	}
}
