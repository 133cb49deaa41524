package profiler

import (
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// Category says what kind of work a span is; its text is Kineto's. Values 8 to 15 are
// free for callers; larger ones do not fit a record and lose their upper bits.
type Category uint8

// The categories a span can have.
const (
	CategoryOp         Category = iota // cpu_op: one operator
	CategoryAnnotation                 // user_annotation: a step, a request, a hand-off
	CategoryRuntime                    // overhead of the runtime or the profiler itself
	CategoryIO                         // a server, client, database or file call
)

// DType is a tensor's element type.
type DType uint8

// Element types. There is room for 15.
const (
	Float32 DType = iota + 1
	Int32
	Uint8
	Int64
	BFloat16
	Float16
	Float64
	Bool
	Int8
	Complex64
)

// Track is a lane: the events of one goroutine at a time. It may be handed to another
// goroutine with anything that orders their memory (a channel, a mutex, a WaitGroup).
// All methods of a nil Track do nothing.
type Track struct {
	live atomic.Pointer[writer] // nil while nothing is recorded
	rec  *Recorder
	id   uint32
	name atomic.Pointer[string]
}

// Methods are split in two so that the check is inlined into the caller and recording,
// which is too long for that, is called only when it is on.

// Begin opens a span; spans of a track end in the reverse order of their beginning.
func (t *Track) Begin(n Name, c Category) (s Span) {
	if t != nil && t.live.Load() != nil {
		s = t.begin(n, c)
	}
	return
}

//go:noinline
func (t *Track) begin(n Name, c Category) Span {
	if w := t.live.Load(); w != nil {
		return w.begin(n, c)
	}
	return Span{}
}

// Instant records a point in time. The Span takes arguments until the next span or
// instant of the track; its End does nothing.
func (t *Track) Instant(n Name, c Category) (s Span) {
	if t.Enabled() {
		s = t.point(format.TypeInstant, n, c, 0)
	}
	return
}

// AsyncBegin opens a span that may end on another track: a request's life, a transfer.
// Name and id together identify it. The Span takes arguments as that of Instant does.
func (t *Track) AsyncBegin(n Name, c Category, id uint64) (s Span) {
	if t.Enabled() {
		s = t.point(format.TypeAsyncBegin, n, c, id)
	}
	return
}

// AsyncEnd ends the span that AsyncBegin opened with this name and id, on any track.
func (t *Track) AsyncEnd(n Name, id uint64) (s Span) {
	if t.Enabled() {
		s = t.point(format.TypeAsyncEnd, n, 0, id)
	}
	return
}

//go:noinline
func (t *Track) point(ty format.Type, n Name, c Category, id uint64) Span {
	if w := t.live.Load(); w != nil {
		return w.point(byte(ty)|byte(c)&15, n, id, ty != format.TypeInstant)
	}
	return Span{}
}

// Counter records a counter's value from now on.
func (t *Track) Counter(n Name, v int64) {
	if t.Enabled() {
		t.counter(n, v)
	}
}

//go:noinline
func (t *Track) counter(n Name, v int64) {
	if w := t.live.Load(); w != nil {
		w.counter(n, v)
	}
}

// CounterFloat is Counter for a value that is no integer.
func (t *Track) CounterFloat(n Name, v float64) {
	if t.Enabled() {
		t.counterFloat(n, v)
	}
}

//go:noinline
func (t *Track) counterFloat(n Name, v float64) {
	if w := t.live.Load(); w != nil {
		w.counterFloat(n, v)
	}
}

// Alloc records an allocation of bytes from pool; addr identifies it. Without WithMemory
// it does nothing.
func (t *Track) Alloc(pool Name, addr uint64, bytes int64) {
	if t.Enabled() {
		t.memory(format.TypeAlloc, pool, addr, bytes)
	}
}

// Free records that the allocation at addr was given back.
func (t *Track) Free(pool Name, addr uint64, bytes int64) {
	if t.Enabled() {
		t.memory(format.TypeFree, pool, addr, bytes)
	}
}

//go:noinline
func (t *Track) memory(ty format.Type, pool Name, addr uint64, bytes int64) {
	if w := t.live.Load(); w != nil {
		w.memory(ty, pool, addr, bytes)
	}
}

// Enabled reports whether recording is on, so that callers can skip work for arguments.
func (t *Track) Enabled() bool { return t != nil && t.live.Load() != nil }

// If returns t if on, else a nil Track, which records nothing: t.If(p.Sampled()) records
// a request with all its operators or not at all.
func (t *Track) If(on bool) *Track {
	if on {
		return t
	}
	return nil
}

// SetName renames the track; recordings carry the name of their last generation.
func (t *Track) SetName(name string) {
	if t != nil {
		t.name.Store(&name)
	}
}

// Name returns the track's name.
func (t *Track) Name() string {
	if t == nil {
		return ""
	}
	return *t.name.Load()
}

// Close gives the track back; what it recorded stays. Spans still open end here. The
// owner calls it last.
func (t *Track) Close() {
	if t == nil {
		return
	}
	t.rec.mu.Lock()
	delete(t.rec.tracks, t)
	w := t.live.Swap(nil)
	t.rec.mu.Unlock()
	if w == nil {
		return
	}
	if w.depth > 0 {
		w.unwind(0)
	}
	w.closed.Store(true)
	w.eng.handOver()
}
