package memsnap

import (
	"errors"
	"fmt"
	"io"
)

// Snapshot is what a memory snapshot says. Keys that are not listed in the package
// documentation are left out.
type Snapshot struct {
	Segments []Segment
	Traces   [][]Entry // by device
}

// Segment is memory that an allocator took from the device. Sizes are in bytes.
type Segment struct {
	Device                    int64
	Address                   uint64
	TotalSize, AllocatedSize  int64
	ActiveSize, RequestedSize int64
	Stream                    int64
	Type                      string // "small" or "large"
	Expandable                bool
	Frames                    []Frame
	Blocks                    []Block
}

// Block is a part of a segment.
type Block struct {
	Address             uint64
	Size, RequestedSize int64
	State               string // active_allocated, active_pending_free, active_awaiting_free, inactive
	Frames              []Frame
}

// Entry is one event of a device's history.
type Entry struct {
	Action string // alloc, free_requested, free_completed, segment_alloc …
	Addr   uint64 // of oom: the bytes that were free
	Size   int64
	Stream int64
	TimeUs int64
	Frames []Frame
}

// Frame is one frame of a stack, innermost first.
type Frame struct {
	Filename string
	Line     int64
	Name     string
}

// Limits of what Read makes of a file. A pickle can refer to one list from many places;
// a hostile one would make of n bytes n² blocks.
const (
	maxElements = 1 << 26 // segments, blocks, entries and frames together
	maxKeys     = 1 << 10 // of a dict; torch's have a dozen
)

// Read reads a snapshot. Missing keys are zero; a value of the wrong type is an error
// that names its place.
func Read(r io.Reader) (*Snapshot, error) {
	v, err := Unpickle(r)
	if err != nil {
		return nil, fmt.Errorf("read memory snapshot: %w", err)
	}
	c := &converter{frames: map[*List][]Frame{}}
	root := c.dict(v, "snapshot")
	s := &Snapshot{}
	for i, v := range c.list(root, "segments", "snapshot") {
		s.Segments = append(s.Segments, c.segment(v, fmt.Sprintf("segments[%d]", i)))
	}
	for i, v := range c.list(root, "device_traces", "snapshot") {
		where := fmt.Sprintf("device_traces[%d]", i)
		l, ok := v.(*List)
		if !ok {
			c.fail(where, "a list", v)
			break
		}
		if !c.spend(where, len(l.Elems)) {
			break
		}
		entries := make([]Entry, 0, len(l.Elems))
		for _, e := range l.Elems {
			entries = append(entries, c.entry(e, where))
		}
		s.Traces = append(s.Traces, entries)
	}
	if c.err != nil {
		return nil, fmt.Errorf("read memory snapshot: %w", c.err)
	}
	return s, nil
}

// converter makes plain values typed; the first error sticks.
type converter struct {
	err    error
	frames map[*List][]Frame // shared stacks
	total  int               // elements so far
}

func (c *converter) fail(where, want string, got any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s is %T, want %s", where, got, want)
	}
}

func (c *converter) dict(v any, where string) *Dict {
	d, ok := v.(*Dict)
	if !ok {
		c.fail(where, "a dict", v)
		return &Dict{}
	}
	if len(d.Items) > maxKeys {
		c.over(fmt.Sprintf("%s has %d keys, at most %d are read", where, len(d.Items), maxKeys))
		return &Dict{}
	}
	return d
}

// spend counts n elements and reports whether there is room for them.
func (c *converter) spend(where string, n int) bool {
	if c.total += n; c.total > maxElements {
		c.over(fmt.Sprintf("%s: more than %d elements", where, maxElements))
	}
	return c.err == nil
}

func (c *converter) over(what string) {
	if c.err == nil {
		c.err = errors.New(what)
	}
}

func (c *converter) list(d *Dict, key, where string) []any {
	v, ok := d.Get(key)
	if !ok || v == nil {
		return nil
	}
	l, ok := v.(*List)
	if !ok {
		c.fail(where+"."+key, "a list", v)
		return nil
	}
	if !c.spend(where, len(l.Elems)) {
		return nil
	}
	return l.Elems
}

func (c *converter) text(d *Dict, key, where string) string {
	v, ok := d.Get(key)
	if !ok || v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		c.fail(where+"."+key, "a text", v)
	}
	return s
}

func (c *converter) int(d *Dict, key, where string) int64 {
	v, ok := d.Get(key)
	if !ok || v == nil {
		return 0
	}
	n, ok := v.(int64)
	if !ok {
		c.fail(where+"."+key, "an integer", v)
	}
	return n
}

func (c *converter) address(d *Dict, key, where string) uint64 {
	v, _ := d.Get(key)
	if n, ok := v.(uint64); ok {
		return n
	}
	return uint64(c.int(d, key, where))
}

func (c *converter) segment(v any, where string) Segment {
	d := c.dict(v, where)
	expandable, _ := d.Get("is_expandable")
	s := Segment{
		Device: c.int(d, "device", where), Address: c.address(d, "address", where),
		TotalSize: c.int(d, "total_size", where), AllocatedSize: c.int(d, "allocated_size", where),
		ActiveSize: c.int(d, "active_size", where), RequestedSize: c.int(d, "requested_size", where),
		Stream: c.int(d, "stream", where), Type: c.text(d, "segment_type", where),
		Expandable: expandable == true, Frames: c.stack(d, where),
	}
	for i, b := range c.list(d, "blocks", where) {
		where := fmt.Sprintf("%s.blocks[%d]", where, i)
		d := c.dict(b, where)
		s.Blocks = append(s.Blocks, Block{
			Address: c.address(d, "address", where), Size: c.int(d, "size", where),
			RequestedSize: c.int(d, "requested_size", where),
			State:         c.text(d, "state", where), Frames: c.stack(d, where),
		})
	}
	return s
}

func (c *converter) entry(v any, where string) Entry {
	d := c.dict(v, where)
	e := Entry{
		Action: c.text(d, "action", where), Addr: c.address(d, "addr", where), Size: c.int(d, "size", where),
		Stream: c.int(d, "stream", where), TimeUs: c.int(d, "time_us", where), Frames: c.stack(d, where),
	}
	if e.Action == "oom" {
		e.Addr = c.address(d, "device_free", where)
	}
	return e
}

// stack returns the frames of d; entries that share a list share the slice.
func (c *converter) stack(d *Dict, where string) []Frame {
	v, ok := d.Get("frames")
	if !ok || v == nil {
		return nil
	}
	l, ok := v.(*List)
	if !ok {
		c.fail(where+".frames", "a list", v)
		return nil
	}
	if known, ok := c.frames[l]; ok || len(l.Elems) == 0 {
		return known
	}
	if !c.spend(where, len(l.Elems)) {
		return nil
	}
	out := make([]Frame, len(l.Elems))
	for i, v := range l.Elems {
		d := c.dict(v, where+".frames")
		out[i] = Frame{Filename: c.text(d, "filename", where), Line: c.int(d, "line", where),
			Name: c.text(d, "name", where)}
	}
	c.frames[l] = out
	return out
}
