package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// Ext ends the names of recordings: those of sessions, of dumps and any other.
const Ext = ".ksrec"

// Magic opens every recording; its last byte is the version.
const Magic = "KINREC\x00\x01"

// Version is the format version that this package writes and reads.
const Version = 1

// Frame kinds.
const (
	FrameHeader     byte = 'H' // once, first
	FrameGeneration byte = 'G' // any number
	FrameEnd        byte = 'E' // once, last; absent if the process died
)

// Limits that a reader enforces, so that a damaged length cannot exhaust memory.
const (
	MaxFrame   = 64 << 20 // bytes of one frame's payload; writers stay near 1 MiB
	MaxNames   = 1 << 20  // name ids; an id at or above it is a damaged file
	MaxString  = 64 << 10 // bytes of one interned text
	MaxText    = 4096     // bytes of one Text argument
	MaxDims    = 16       // dimensions of one shape
	MaxDepth   = 128      // open spans of one track
	MaxTracks  = 1 << 20  // tracks of one recording
	MaxFrames  = 64       // program counters of one stack
	frameFixed = 1 + 4    // kind and length
	frameCRC   = 4
)

// Type is the low part of a record's tag; see the table in the package documentation.
type Type uint8

// Record types. Begin, Instant, Shape and AsyncBegin carry a category or an element
// type in the low four bits of their tag.
const (
	TypeInvalid  Type = 0x00
	TypeEnd      Type = 0x01
	TypeUnwind   Type = 0x02
	TypeCounter  Type = 0x03
	TypeCounterF Type = 0x04
	TypeAlloc    Type = 0x05
	TypeFree     Type = 0x06
	TypeAsyncEnd Type = 0x07

	TypeInt     Type = 0x10
	TypeStr     Type = 0x11
	TypeText    Type = 0x12
	TypeFloat   Type = 0x13
	TypeFLOPs   Type = 0x14
	TypeBytes   Type = 0x15
	TypeFlowOut Type = 0x16
	TypeFlowIn  Type = 0x17
	TypeStack   Type = 0x18
	TypeTarget  Type = 0x19

	TypeBegin      Type = 0x20 // | category
	TypeInstant    Type = 0x30 // | category
	TypeShape      Type = 0x40 // | element type
	TypeAsyncBegin Type = 0x50 // | category
)

// Longest encodings, by which a writer reserves room.
const (
	MaxVarint = binary.MaxVarintLen64
	MaxEnd    = 1 + MaxVarint
)

// Record is one decoded record. Only the fields that its type has are set.
type Record struct {
	Type  Type
	Sub   uint8  // category or element type
	Timed bool   // Delta is set
	Delta uint64 // ticks since the previous timed record of the track
	Name  uint32 // name of a span, counter or pool; key of an argument
	Value int64  // counter, integer argument, FLOPs, bytes of an allocation, levels of Target and Unwind
	ID    uint64 // flow, async span, address, stack; bits of a float
	Text  []byte // of a Text argument; aliases the input
	NDims int
	Dims  [MaxDims]int64
}

type cursor struct {
	b   []byte
	i   int
	bad string // first field that did not decode
	at  int    // and where it is
}

func (c *cursor) uvarint(field string) uint64 {
	if c.i < len(c.b) && c.b[c.i] < 0x80 {
		c.i++
		return uint64(c.b[c.i-1])
	}
	v, n := binary.Uvarint(c.b[min(c.i, len(c.b)):])
	if n <= 0 {
		c.fail(field)
		return 0
	}
	c.i += n
	return v
}

func (c *cursor) zigzag(field string) int64 {
	u := c.uvarint(field)
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) fixed64(field string) uint64 {
	if len(c.b)-c.i < 8 {
		c.fail(field)
		return 0
	}
	v := binary.LittleEndian.Uint64(c.b[c.i:])
	c.i += 8
	return v
}

func (c *cursor) bytes(n uint64, field string) []byte {
	if n > uint64(len(c.b)-c.i) {
		c.fail(field)
		return nil
	}
	s := c.b[c.i : c.i+int(n)]
	c.i += int(n)
	return s
}

func (c *cursor) name(field string) uint32 {
	v := c.uvarint(field)
	if v >= MaxNames {
		c.fail(field)
		return 0
	}
	return uint32(v)
}

// count reads a number of things of which each takes at least one byte.
func (c *cursor) count(field string) int {
	v := c.uvarint(field)
	if v > uint64(len(c.b)-c.i) {
		c.fail(field)
		return 0
	}
	return int(v)
}

func (c *cursor) fail(field string) {
	if c.bad == "" {
		c.bad, c.at = field, c.i
		c.i = len(c.b)
	}
}

// ReadRecord decodes the record at the start of b into r and returns its length. A
// damaged record gives length 0 and the name of the field that is wrong.
func ReadRecord(b []byte, r *Record) (n int, badField string) {
	if len(b) == 0 {
		return 0, "record.tag"
	}
	c := cursor{b: b, i: 1}
	tag := b[0]
	r.Timed = true
	switch tag >> 4 {
	case byte(TypeBegin >> 4), byte(TypeInstant >> 4):
		r.Type, r.Sub = Type(tag&0xf0), tag&15
		r.Delta = c.uvarint("record.delta")
		r.Name = c.name("record.name")
	case byte(TypeAsyncBegin >> 4):
		r.Type, r.Sub = TypeAsyncBegin, tag&15
		r.Delta = c.uvarint("record.delta")
		r.Name = c.name("record.name")
		r.ID = c.fixed64("record.id")
	case byte(TypeShape >> 4):
		r.Type, r.Sub, r.Timed = TypeShape, tag&15, false
		nd := c.uvarint("shape.dims")
		if nd > MaxDims {
			c.fail("shape.dims")
			nd = 0
		}
		r.NDims = int(nd)
		for i := 0; i < int(nd); i++ {
			r.Dims[i] = c.zigzag("shape.dim")
		}
	case 0:
		r.Type = Type(tag)
		readTimed(&c, r)
	case 1:
		r.Type, r.Timed = Type(tag), false
		readAttr(&c, r)
	default:
		return 0, "record.tag"
	}
	if c.bad != "" {
		return 0, c.bad
	}
	return c.i, ""
}

func readTimed(c *cursor, r *Record) {
	r.Delta = c.uvarint("record.delta")
	switch r.Type {
	case TypeEnd:
	case TypeUnwind:
		n := c.uvarint("unwind.count")
		if n == 0 || n > MaxDepth {
			c.fail("unwind.count")
		}
		r.Value = int64(n)
	case TypeCounter:
		r.Name = c.name("record.name")
		r.Value = c.zigzag("counter.value")
	case TypeCounterF:
		r.Name = c.name("record.name")
		r.ID = c.fixed64("counter.value")
	case TypeAlloc, TypeFree:
		r.Name = c.name("record.name")
		r.ID = c.uvarint("alloc.addr")
		r.Value = c.zigzag("alloc.bytes")
	case TypeAsyncEnd:
		r.Name = c.name("record.name")
		r.ID = c.fixed64("record.id")
	default:
		c.fail("record.tag")
	}
}

func readAttr(c *cursor, r *Record) {
	switch r.Type {
	case TypeInt:
		r.Name = c.name("attr.key")
		r.Value = c.zigzag("attr.int")
	case TypeStr:
		r.Name = c.name("attr.key")
		r.Value = int64(c.name("attr.str"))
	case TypeText:
		r.Name = c.name("attr.key")
		n := c.uvarint("attr.text")
		if n > MaxText {
			c.fail("attr.text")
			n = 0
		}
		r.Text = c.bytes(n, "attr.text")
	case TypeFloat:
		r.Name = c.name("attr.key")
		r.ID = c.fixed64("attr.float")
	case TypeFLOPs, TypeBytes:
		r.Value = c.zigzag("attr.value")
	case TypeFlowOut, TypeFlowIn:
		r.ID = c.fixed64("flow.id")
	case TypeStack:
		r.ID = c.uvarint("stack.id")
	case TypeTarget:
		n := c.uvarint("target.levels")
		if n >= MaxDepth {
			c.fail("target.levels")
		}
		r.Value = int64(n)
	default:
		c.fail("record.tag")
	}
}

// Clock maps the ticks of one generation to nanoseconds of the recording process's
// monotonic clock, by the line through its two anchors.
type Clock struct {
	Tick0, Ns0 int64 // at the generation's opening
	Tick1, Ns1 int64 // at its cut
	mult       uint64
}

// NewClock returns the clock through two anchors; anchors at one tick give a slope of 1.
func NewClock(tick0, ns0, tick1, ns1 int64) Clock {
	c := Clock{Tick0: tick0, Ns0: ns0, Tick1: tick1, Ns1: ns1, mult: 1 << 32}
	dt, dn := uint64(tick1-tick0), uint64(ns1-ns0)
	if tick1 > tick0 && ns1 >= ns0 {
		hi, lo := dn>>32, dn<<32
		if hi < dt {
			c.mult, _ = bits.Div64(hi, lo, dt)
		}
	}
	return c
}

// Ns converts a tick. It never decreases as the tick grows.
func (c *Clock) Ns(tick int64) int64 {
	d := tick - c.Tick0
	neg := d < 0
	if neg {
		d = -d
	}
	hi, lo := bits.Mul64(uint64(d), c.mult)
	n := int64(hi<<32 | lo>>32)
	if neg {
		return c.Ns0 - n
	}
	return c.Ns0 + n
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendFrame appends a whole frame to dst.
func AppendFrame(dst []byte, kind byte, payload []byte) []byte {
	at := len(dst)
	dst = append(dst, kind)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// FrameSpace is the room for kind and length before a payload.
const FrameSpace = frameFixed

// FinishFrame turns b, which holds FrameSpace bytes and then the payload, into a frame
// without copying it.
func FinishFrame(b []byte, kind byte) []byte {
	b[0] = kind
	binary.LittleEndian.PutUint32(b[1:], uint32(len(b)-frameFixed))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// AppendString appends a length and the text.
func AppendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// AppendInt appends a signed integer as zigzag varint.
func AppendInt(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v<<1)^uint64(v>>63))
}

// Error says where a recording is damaged.
type Error struct {
	Offset int64  // byte offset in the file, of the frame or inside it
	Field  string // e.g. "generation.batch.open.name"
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("read recording: offset %d: field %s: %s", e.Offset, e.Field, e.Reason)
}
