package profiler

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
)

// TraceParent is the W3C trace context of one hop, as in the traceparent header: the
// trace that a request belongs to, the span that sent it, and whether it is sampled.
// https://www.w3.org/TR/trace-context-2/
type TraceParent struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte
}

// Flags of a TraceParent.
const (
	FlagSampled byte = 1 << iota // record this request in every stage
	FlagRandom                   // the trace id is random
)

// TraceParentHeader is the name of the header.
const TraceParentHeader = "traceparent"

// traceParentLen is the length of version 00: "00-" trace "-" span "-" flags.
const traceParentLen = 55

// NewTraceParent begins a new trace with random ids.
func NewTraceParent(sampled bool) TraceParent {
	var p TraceParent
	binary.BigEndian.PutUint64(p.TraceID[:], rand.Uint64())
	binary.BigEndian.PutUint64(p.TraceID[8:], NewID())
	binary.BigEndian.PutUint64(p.SpanID[:], NewID())
	p.Flags = FlagRandom
	if sampled {
		p.Flags |= FlagSampled
	}
	return p
}

// NewID returns a random id that is not 0, for flows, async spans and span ids.
func NewID() uint64 {
	for {
		if id := rand.Uint64(); id != 0 {
			return id
		}
	}
}

// ParseTraceParent reads the header's value. Versions above 00 are read as far as 00
// goes, as the specification asks.
func ParseTraceParent(s string) (TraceParent, error) {
	var p TraceParent
	bad := func(field string) (TraceParent, error) {
		return TraceParent{}, fmt.Errorf("parse traceparent %q: %s is malformed", s[:min(len(s), 80)], field)
	}
	if len(s) < traceParentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return bad("the layout")
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || version[0] == 0xff {
		return bad("the version")
	}
	if len(s) > traceParentLen && (version[0] == 0 || s[traceParentLen] != '-') {
		return bad("the end")
	}
	if !lowerHex(p.TraceID[:], s[3:35]) || p.TraceID == [16]byte{} {
		return bad("the trace id")
	}
	if !lowerHex(p.SpanID[:], s[36:52]) || p.SpanID == [8]byte{} {
		return bad("the parent id")
	}
	if !lowerHex(flags[:], s[53:55]) {
		return bad("flags")
	}
	p.Flags = flags[0]
	return p, nil
}

// lowerHex decodes lower-case hexadecimal; the header allows no other.
func lowerHex(dst []byte, s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'F' {
			return false
		}
	}
	n, err := hex.Decode(dst, []byte(s))
	return err == nil && n == len(dst)
}

// String returns the header's value.
func (p TraceParent) String() string {
	b := make([]byte, 0, traceParentLen)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, p.TraceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, p.SpanID[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{p.Flags}))
}

// Validate reports an id that is all zero.
func (p TraceParent) Validate() error {
	if p.TraceID == [16]byte{} || p.SpanID == [8]byte{} {
		return errors.New("traceparent: an id is zero")
	}
	return nil
}

// Child returns the context to send with the next hop: the same trace, a new span, and of
// the flags those that are known, as the specification asks.
func (p TraceParent) Child() TraceParent {
	p.Flags &= FlagSampled | FlagRandom
	binary.BigEndian.PutUint64(p.SpanID[:], NewID())
	return p
}

// TraceHex is the trace id in the header's spelling, 32 hexadecimal digits.
func (p TraceParent) TraceHex() string { return hex.EncodeToString(p.TraceID[:]) }

// Sampled reports whether the request is to be recorded.
func (p TraceParent) Sampled() bool { return p.Flags&FlagSampled != 0 }

// FlowID is the flow of this hop. The sender calls FlowOut with it on the context it
// sends, the receiver FlowIn on the one it gets: the same number on both sides.
func (p TraceParent) FlowID() uint64 { return binary.BigEndian.Uint64(p.SpanID[:]) }

// RequestID is one number for the whole trace, the same in every stage: an id for async
// spans.
func (p TraceParent) RequestID() uint64 { return binary.BigEndian.Uint64(p.TraceID[8:]) }
