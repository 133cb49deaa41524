// Package profiler records what a Go program does: spans and operators,
// counters, instants, flows and memory. It depends on the standard library only.
package profiler

import "io"

// Name is an interned string. Intern names once, at package level.
type Name uint32

// Intern returns the Name of s; the same text always has the same Name in a process.
func Intern(s string) Name { return 0 }

// Category says what kind of work a span is; its text is Kineto's.
type Category uint8

// The categories a span can have.
const (
	CategoryOp         Category = iota // cpu_op: one operator
	CategoryAnnotation                 // user_annotation: a step, a request, a hand-off
)

// DType is a tensor's element type.
type DType uint8

// Element types.
const (
	Float32 DType = iota + 1
	Int32
	Uint8
	Int64
	BFloat16
	Float16
)

// Recorder owns what one process records.
type Recorder struct{}

// Config sets a Recorder up. The zero value is usable.
type Config struct {
	Process string // process name shown in viewers, e.g. "stage0 thinker rank 1"
}

// New returns a Recorder that records nothing until Start.
func New(c Config) *Recorder { return &Recorder{} }

// Track returns a new lane owned by the calling goroutine. A nil Recorder gives a nil Track, on which every method is a no-op.
func (r *Recorder) Track(name string) *Track { return nil }

// StartOptions says where a recording goes.
type StartOptions struct {
	Out                                            io.Writer // receives self-contained generations
	RecordShapes, WithStack, WithFLOPs, WithMemory bool
	Meta                                           map[string]string // written into the recording's header
}

// Start begins recording into o.Out.
func (r *Recorder) Start(o StartOptions) error { return nil }

// Stats counts what a recording holds and lost.
type Stats struct{ Events, Bytes, Drops uint64 }

// Stop ends the recording; everything recorded has been written to Out when it returns.
func (r *Recorder) Stop() (Stats, error) { return Stats{}, nil }

// Recording reports whether a recording is on.
func (r *Recorder) Recording() bool { return false }

// Track is a lane: the events of one goroutine at a time.
type Track struct{}

// Span is an open slice on a Track. The zero Span ignores everything.
type Span struct{ t *Track }

// Begin opens a span; spans of a track end in the reverse order of their beginning.
func (t *Track) Begin(n Name, c Category) Span { return Span{} }

// Instant records a point in time.
func (t *Track) Instant(n Name, c Category) Span { return Span{} }

// Counter records a counter's value from now on.
func (t *Track) Counter(n Name, v int64) {}

// Alloc and Free record an allocation of pool; addr identifies it.
func (t *Track) Alloc(pool Name, addr uint64, bytes int64) {}

// Free records that the allocation at addr was given back.
func (t *Track) Free(pool Name, addr uint64, bytes int64) {}

// Enabled reports whether recording is on, so that callers can skip work for arguments.
func (t *Track) Enabled() bool { return false }

// Close gives the track back; what it recorded stays.
func (t *Track) Close() {}

// Shape adds the shape and element type of one tensor input; call it once an input.
func (s Span) Shape(d DType, dims ...int) Span { return s }

// FLOPs sets the floating point operations that the span does.
func (s Span) FLOPs(n int64) Span { return s }

// Bytes sets the bytes that the span moves.
func (s Span) Bytes(n int64) Span { return s }

// Int adds an integer argument.
func (s Span) Int(key Name, v int64) Span { return s }

// Str adds an interned text argument.
func (s Span) Str(key, v Name) Span { return s }

// Text adds a text argument that is not worth interning, a request id say.
func (s Span) Text(key Name, v string) Span { return s }

// FlowOut starts the flow id here; FlowIn ends it here. Ids are global across processes.
func (s Span) FlowOut(id uint64) Span { return s }

// FlowIn ends the flow id here.
func (s Span) FlowIn(id uint64) Span { return s }

// End closes the span.
func (s Span) End() {}
