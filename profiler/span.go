package profiler

import (
	"math"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// Span is an open slice on a Track, or an instant that takes arguments. The zero Span
// ignores everything, and so does a Span begun before the recording, a Span that has
// ended, and a Span whose memory could not be had. It is a value of two words; use it on
// the goroutine that owns the track.
type Span struct {
	w      *writer
	serial uint32
	depth  uint16
}

// Recording reports whether the span is recorded, so that callers can skip work for its
// arguments.
func (s Span) Recording() bool { return s.w != nil }

// End closes the span. Spans begun after it and not yet ended end with it and are marked.
func (s Span) End() {
	if s.w != nil {
		s.w.end(s)
	}
}

// Shape adds the shape and element type of one tensor input; call it once an input.
// Without RecordShapes it does nothing. A shape has at most 16 dimensions.
func (s Span) Shape(d DType, dims ...int) Span {
	if s.w != nil {
		s.w.attrShape(s, d, dims)
	}
	return s
}

// FLOPs sets the floating point operations that the span does. Without WithFLOPs it does
// nothing.
func (s Span) FLOPs(n int64) Span {
	if s.w != nil {
		s.w.attrFLOPs(s, n)
	}
	return s
}

// Bytes sets the bytes that the span moves.
func (s Span) Bytes(n int64) Span {
	if s.w != nil {
		s.w.attrInt(s, format.TypeBytes, 0, n)
	}
	return s
}

// Int adds an integer argument.
func (s Span) Int(key Name, v int64) Span {
	if s.w != nil {
		s.w.attrInt(s, format.TypeInt, key, v)
	}
	return s
}

// Float adds a number argument.
func (s Span) Float(key Name, v float64) Span {
	if s.w != nil {
		s.w.attrFixed(s, format.TypeFloat, key, true, math.Float64bits(v))
	}
	return s
}

// Str adds an interned text argument.
func (s Span) Str(key, v Name) Span {
	if s.w != nil {
		s.w.attrStr(s, key, v)
	}
	return s
}

// Text adds a text argument that is not worth interning, a request id say. Texts over
// 4 KiB are cut, and counted.
func (s Span) Text(key Name, v string) Span {
	if s.w != nil {
		s.w.attrText(s, key, v)
	}
	return s
}

// FlowOut starts the flow id here; FlowIn ends it here. Ids are global across processes.
// Call them right after Begin: a flow has the time of the track's last event.
func (s Span) FlowOut(id uint64) Span {
	if s.w != nil {
		s.w.attrFixed(s, format.TypeFlowOut, 0, false, id)
	}
	return s
}

// FlowIn ends the flow id here.
func (s Span) FlowIn(id uint64) Span {
	if s.w != nil {
		s.w.attrFixed(s, format.TypeFlowIn, 0, false, id)
	}
	return s
}

// Stack adds the caller's Go stack. Without WithStack it does nothing; with it, it costs
// about a microsecond, so use it at chosen spans.
func (s Span) Stack() Span {
	if s.w != nil {
		s.w.attrStack(s)
	}
	return s
}
