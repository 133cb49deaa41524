// Package xplane reads the profiles that XProf keeps, *.xplane.pb: the profiler of JAX,
// TensorFlow and PyTorch/XLA writes them beside, and with more in them than, its
// trace.json.gz.
//
// A file is one message XSpace of planes (a device, the threads of a host), each with lines
// (a stream, a thread) of events, whose names and the names of whose statistics are tables
// of the plane. Event times are ps from their line's begin, which is in ns. The definition is
// xplane.proto of https://github.com/openxla/xla, in xla/tsl/profiler/protobuf.
//
// Planes become processes and lines threads, with the names that trace.json.gz has, so that
// package xla tells what the rows are. Statistics become arguments, but for those whose
// names begin with "_" (XProf's own links) and those of bytes (compiled programs).
package xplane

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/xla"
)

// FormatError reports that a file is not an XSpace.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no profile of XProf (xplane.pb): " + e.Reason }

const (
	// maxFile bounds a file: a protobuf message ends at 2 GiB.
	maxFile = 2 << 30
	// maxArgs bounds an event's arguments, in bytes of JSON; real ones have some hundred.
	maxArgs = 64 << 10
	// epoch is the beginning of the year 2000 in Unix ns: the times of a line that begins later
	// count from the Unix epoch.
	epoch = 946_684_800_000_000_000
	// maxPs bounds times in ps from a line's begin: half of what 63 bits hold, 53 days.
	maxPs = math.MaxInt64 / 2
	// maxBegin bounds a line's begin, so that no time overflows: the year 2089, ns.
	maxBegin = 4 * epoch
)

// Fields of XSpace, XPlane, XLine, XEvent, XStat and of the entries of their tables.
const (
	spacePlane, spaceHost                                         = 1, 4
	planeName, planeLine, planeEvents, planeStats, planeOwn       = 2, 3, 4, 5, 6
	lineID, lineName, lineBegin, lineEvent, lineDisplay           = 1, 2, 3, 4, 11
	eventMeta, eventOffset, eventDur, eventStat                   = 1, 2, 3, 4
	statMeta, statFloat, statUint, statInt, statText, statRef     = 1, 2, 3, 4, 5, 7
	entryKey, entryValue, metaName, metaDisplay, metaEventOfStats = 1, 2, 2, 4, 5
)

// Sniff reports whether head begins an XSpace: a plane that has a plane's name.
func Sniff(head []byte) bool {
	num, typ, n := protowire.ConsumeTag(head)
	if n < 0 || num != spacePlane || typ != protowire.BytesType {
		return false
	}
	_, size := protowire.ConsumeVarint(head[n:])
	if size < 0 {
		return false
	}
	rest := head[n+size:]
	if num, typ, n := protowire.ConsumeTag(rest); n > 0 && num == 1 && typ == protowire.VarintType {
		if _, size := protowire.ConsumeVarint(rest[n:]); size > 0 {
			rest = rest[n+size:]
		}
	}
	num, typ, n = protowire.ConsumeTag(rest)
	if n < 0 || num != planeName || typ != protowire.BytesType {
		return false
	}
	name, size := protowire.ConsumeBytes(rest[n:])
	return size > 0 && isPlane(string(name))
}

// isPlane tells the names of XProf's planes.
func isPlane(name string) bool {
	for _, p := range []string{"/host:", "/device:", "/custom:", "Task Environment"} {
		if strings.HasPrefix(name, p) && utf8.ValidString(name) {
			return true
		}
	}
	return false
}

// Read reads a file. What follows damage is left out and counted in Repairs.
func Read(r io.Reader) (*trace.Trace, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read xplane: %w", err)
	}
	switch {
	case len(b) > maxFile:
		return nil, &FormatError{Reason: "over 2 GiB"}
	case !Sniff(b):
		return nil, &FormatError{Reason: "it does not begin with a plane"}
	}
	t := trace.New()
	t.Meta.Format = "xplane"
	d := &decoder{t: t}
	if !fields(b, func(f field) {
		switch f.num {
		case spacePlane:
			d.plane(f.bytes)
		case spaceHost:
			if t.Meta.Host == "" {
				t.Meta.Host = text(f.bytes)
			}
		}
	}) || d.damaged {
		t.Repairs.Add(trace.RepairTruncatedFile, 1)
	}
	d.onWallClock()
	xla.Classify(t)
	t.Meta.WindowStart, t.Meta.WindowEnd, _ = t.Extent()
	t.Trim()
	return t, nil
}

// field is one field of a message: the number of a varint or of a fixed one, or the bytes.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	v     uint64
	bytes []byte
}

// fields yields the fields of a message; false where it is damaged.
func fields(b []byte, yield func(field)) bool {
	for len(b) > 0 {
		f := field{}
		var n int
		if f.num, f.typ, n = protowire.ConsumeTag(b); n < 0 {
			return false
		}
		b = b[n:]
		switch f.typ {
		case protowire.VarintType:
			f.v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(f.num, f.typ, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
		yield(f)
	}
	return true
}

func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

type decoder struct {
	t        *trace.Trace
	planes   int64
	start    int64 // of the profile, Unix ns; 0 if unknown
	absolute int   // lines that count from the Unix epoch
	lines    int
	damaged  bool
}

func (d *decoder) fields(b []byte, yield func(field)) {
	if !fields(b, yield) {
		d.damaged = true
	}
}

// plane is a plane that is being read.
type plane struct {
	name   string
	pid    int64
	events map[uint64]eventType
	stats  map[uint64]string
}

type eventType struct {
	name  string
	stats [][]byte // that all events of it have
}

// plane reads a plane: its tables first, which lie behind its lines.
func (d *decoder) plane(b []byte) {
	d.planes++
	var own [][]byte // the plane's own statistics
	p := &plane{pid: d.planes, events: map[uint64]eventType{}, stats: map[uint64]string{}}
	d.fields(b, func(f field) {
		switch f.num {
		case planeName:
			p.name = text(f.bytes)
		case planeEvents:
			id, value := d.entry(f.bytes)
			var e eventType
			display := ""
			d.fields(value, func(f field) {
				switch f.num {
				case metaName:
					e.name = text(f.bytes)
				case metaDisplay:
					display = text(f.bytes)
				case metaEventOfStats:
					e.stats = append(e.stats, f.bytes)
				}
			})
			if display != "" {
				e.name = display
			}
			p.events[id] = e
		case planeOwn:
			own = append(own, f.bytes)
		case planeStats:
			id, value := d.entry(f.bytes)
			d.fields(value, func(f field) {
				if f.num == metaName {
					p.stats[id] = text(f.bytes)
				}
			})
		}
	})
	for _, s := range own {
		name, value := d.statOf(p, s)
		if name == profileStart && (value.num == statUint || value.num == statInt) && int64(value.v) >= epoch &&
			int64(value.v) <= maxBegin {
			d.start = int64(value.v)
		}
	}
	d.fields(b, func(f field) {
		if f.num == planeLine {
			d.line(p, f.bytes)
		}
	})
}

func (d *decoder) entry(b []byte) (key uint64, value []byte) {
	d.fields(b, func(f field) {
		switch f.num {
		case entryKey:
			key = f.v
		case entryValue:
			value = f.bytes
		}
	})
	return key, value
}

func (d *decoder) line(p *plane, b []byte) {
	var id, begin int64
	name, display := "", ""
	events := 0
	d.fields(b, func(f field) {
		switch f.num {
		case lineID:
			id = int64(f.v)
		case lineName:
			name = text(f.bytes)
		case lineDisplay:
			display = text(f.bytes)
		case lineBegin:
			begin = int64(f.v)
		case lineEvent:
			events++
		}
	})
	if events == 0 {
		return
	}
	if display != "" {
		name = display
	}
	d.lines++
	if begin >= epoch {
		d.absolute++
	}
	track := d.t.AddTrack(trace.Track{
		Kind: trace.TrackCPU, PID: p.pid, TID: id, Device: -1, Stream: -1, Process: p.name, Name: name,
		SortIndex: int64(len(d.t.Tracks)),
	})
	d.fields(b, func(f field) {
		if f.num == lineEvent {
			d.event(p, track, begin, f.bytes)
		}
	})
}

func (d *decoder) event(p *plane, track trace.TrackID, begin int64, b []byte) {
	var id, offset, dur uint64
	timed := false
	var args trace.ArgsObject
	d.fields(b, func(f field) {
		switch f.num {
		case eventMeta:
			id = f.v
		case eventOffset:
			offset, timed = f.v, true
		case eventDur:
			dur = f.v
		case eventStat:
			d.stat(p, &args, f.bytes)
		}
	})
	e := p.events[id]
	for _, s := range e.stats {
		d.stat(p, &args, s)
	}
	if !timed && dur == 0 && len(b) > 0 && aggregate(b) {
		return // a sum of occurrences has no time
	}
	if offset > maxPs || dur > maxPs || begin < 0 || begin > maxBegin {
		d.t.Repairs.Add(trace.RepairNoTime, 1)
		return
	}
	at := begin + int64(offset/1000)
	// The end is rounded, not the duration, so that an event that lies in another stays in it.
	end := begin + int64((offset+dur)/1000)
	d.t.AddSlice(trace.Slice{Start: at, Dur: end - at, Name: e.name, Track: track, Corr: trace.NoCorrelation,
		Args: args.Done()})
}

// profileStart is the statistic of the plane "Task Environment" with the profile's start, Unix
// ns. Where it is there, lines count from it; older profilers' lines count from the epoch.
const profileStart = "profile_start_time"

// onWallClock puts the trace on the wall clock if the file tells it.
func (d *decoder) onWallClock() {
	switch {
	case d.absolute > 0 && d.absolute == d.lines:
		d.t.Meta.WallClock = true
	case d.absolute == 0 && d.start > 0 && d.lines > 0:
		d.t.Meta.WallClock = true
		for i := range d.t.Slices.Start {
			d.t.Slices.Start[i] += d.start
		}
	}
}

// aggregate reports whether an event is a sum of occurrences, XEvent.num_occurrences.
func aggregate(b []byte) bool {
	found := false
	fields(b, func(f field) { found = found || f.num == 5 && f.typ == protowire.VarintType })
	return found
}

// stat adds a statistic to the arguments.
func (d *decoder) stat(p *plane, args *trace.ArgsObject, b []byte) {
	name, value := d.statOf(p, b)
	if name == "" || name[0] == '_' || args.Len()+len(name)+len(value.bytes) > maxArgs {
		return
	}
	switch value.num {
	case statFloat:
		args.Float(name, math.Float64frombits(value.v))
	case statUint:
		args.Uint(name, value.v)
	case statInt:
		args.Int(name, int64(value.v))
	case statText:
		args.Text(name, string(value.bytes))
	case statRef:
		args.Text(name, p.stats[value.v])
	}
}

// statOf returns a statistic's name and the field that holds its value.
func (d *decoder) statOf(p *plane, b []byte) (name string, value field) {
	d.fields(b, func(f field) {
		if f.num == statMeta {
			name = p.stats[f.v]
			return
		}
		value = f
	})
	return name, value
}
