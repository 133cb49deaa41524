package memsnap

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Format is Meta.Format of memory snapshots that were read as traces.
const Format = "memory-snapshot"

// Role is Meta.Role of such traces: they lie beside the trace of the same rank and are no rank.
const Role = "memory"

// Sniff reports whether head begins a pickle that may be a snapshot: a dict that names
// segments or device traces at its beginning.
func Sniff(head []byte) bool {
	head = head[:min(len(head), sniffBytes)]
	return bytes.HasPrefix(head, []byte("\x80")) &&
		(bytes.Contains(head, []byte("segments")) || bytes.Contains(head, []byte("device_traces")))
}

// sniffBytes is where the first key of a pickled dict lies.
const sniffBytes = 128

// RepairNoClock counts entries without a time: they are drawn a microsecond apart.
const RepairNoClock = "memory event without a time"

// cuda is the number of c10::DeviceType of the cards whose allocators make snapshots.
const cuda = 1

// ReadTrace reads a snapshot as a trace. Each device is a track. Everything allocated or freed is a
// "[memory]" instant inside a slice without length, which is named after the innermost Python frame
// and has the whole stack as its "Call stack". Totals are computed backwards from the snapshot's
// end. "oom" and "snapshot" are instants of their own. Times are the wall clock's in microseconds;
// events of one microsecond are placed a nanosecond apart in their order.
func ReadTrace(r io.Reader) (*trace.Trace, error) {
	s, err := Read(r)
	if err != nil {
		return nil, err
	}
	return s.Trace(), nil
}

// Trace is the snapshot as a trace, see ReadTrace.
func (s *Snapshot) Trace() *trace.Trace {
	t := trace.New()
	t.Meta.Format, t.Meta.Role = Format, Role
	for device, entries := range s.Traces {
		if len(entries) > 0 {
			s.device(t, device, entries)
		}
	}
	first, _, ok := t.Extent()
	t.Meta.WallClock = ok && first >= trace.LeastWallClock
	t.Window()
	t.Trim()
	return t
}

// deltas returns by how much an entry changes what is allocated and what is reserved.
func (e *Entry) deltas() (allocated, reserved int64) {
	switch e.Action {
	case ActionAlloc:
		return e.Size, 0
	case ActionFreeCompleted:
		return -e.Size, 0
	case ActionSegmentAlloc, "segment_map":
		return 0, e.Size
	case ActionSegmentFree, "segment_unmap":
		return 0, -e.Size
	}
	return 0, 0
}

func (s *Snapshot) device(t *trace.Trace, device int, entries []Entry) {
	track := t.AddTrack(trace.Track{
		Kind: trace.TrackCPU, PID: 1, TID: int64(device), Device: -1, Stream: -1, Process: "memory snapshot",
		Name: fmt.Sprintf("allocations of device %d", device), SortIndex: int64(device),
	})
	var allocated, reserved int64 // at the end, then before the first entry
	for i := range s.Segments {
		if g := &s.Segments[i]; g.Device == int64(device) {
			allocated, reserved = allocated+g.AllocatedSize, reserved+g.TotalSize
		}
	}
	for i := range entries {
		a, r := entries[i].deltas()
		allocated, reserved = allocated-a, reserved-r
	}
	allocated, reserved = max(0, allocated), max(0, reserved)
	labels := map[*Frame]label{}
	last, untimed := int64(0), 0
	for i := range entries {
		e := &entries[i]
		at := e.TimeUs
		if at <= 0 || at > maxTimeUs {
			at, untimed = last/1000+1, untimed+1
		}
		last = max(at*1000, last+1)
		a, r := e.deltas()
		allocated, reserved = max(0, allocated+a), max(0, reserved+r)
		switch {
		case a != 0:
			l := labelOf(labels, e.Frames)
			t.AddSlice(trace.Slice{Start: last, Name: l.name, Cat: trace.CatCPUOp, Track: track,
				Corr: trace.NoCorrelation, Args: l.args})
			args := memoryArgs(e, device, a, allocated, reserved)
			t.AddInstant(last, trace.NameMemory, trace.CatCPUInstant, track, args)
		case r != 0:
			t.AddCounter(last, "reserved bytes", "reserved bytes", track, float64(reserved))
		case e.Action != "free_requested":
			var o trace.ArgsObject
			o.Int("size", e.Size)
			t.AddInstant(last, e.Action, trace.CatUserAnnotation, track, o.Done())
		}
	}
	t.Repairs.Add(RepairNoClock, untimed)
}

// maxTimeUs keeps times in ns below 2^62: the year 2116.
const maxTimeUs = int64(1) << 62 / 1000

func memoryArgs(e *Entry, device int, bytes, allocated, reserved int64) []byte {
	var o trace.ArgsObject
	o.Int("Device Type", cuda)
	o.Int("Device Id", int64(device))
	o.Uint("Addr", e.Addr)
	o.Int("Bytes", bytes)
	o.Int("Total Allocated", allocated)
	o.Int("Total Reserved", reserved)
	if e.Stream != 0 {
		o.Int("stream", e.Stream)
	}
	return o.Done()
}

// label is what a stack is shown as.
type label struct {
	name string
	args []byte
}

// labelOf names a stack; stacks that share their frames share the label.
func labelOf(known map[*Frame]label, frames []Frame) label {
	if len(frames) == 0 {
		return label{name: "no stack recorded"}
	}
	if l, ok := known[&frames[0]]; ok {
		return l
	}
	var stack []string
	name := ""
	for i := range frames {
		f := &frames[i]
		text := f.Name
		if f.Filename != "" && f.Filename != "??" {
			text = fmt.Sprintf("%s(%d): %s", f.Filename, f.Line, f.Name)
		}
		if name == "" && path.Ext(f.Filename) == ".py" {
			name = text
		}
		if len(stack) < maxFrames {
			stack = append(stack, strings.ReplaceAll(text, ";", ","))
		}
	}
	if name == "" {
		name = stack[0]
	}
	var o trace.ArgsObject
	o.Text("Call stack", strings.Join(stack, ";"))
	l := label{name, o.Done()}
	known[&frames[0]] = l
	return l
}
