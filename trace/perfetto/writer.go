package perfetto

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace/ids"
)

const (
	// bufferSize is the size of writes to the underlying writer.
	bufferSize = 256 << 10
	// sequenceID is the one sequence of packets; any number but 0 will do.
	sequenceID = 1
)

// Stats counts what a Writer wrote.
type Stats struct {
	Packets    int
	Slices     int
	Instants   int
	Counters   int // samples
	FlowEnds   int // ends of arrows, both kinds
	Overlapped int // slices that needed a further lane
	Dropped    int // counter samples that are not numbers
}

// Writer writes one file. Make it with NewWriter, end it with Close.
type Writer struct {
	w       *bufio.Writer
	packer  *packer // nil: packets are written as they are
	err     error
	stats   Stats
	tracks  uint64 // the last uuid given out
	threads int64  // the last synthetic pid or tid given out

	names, categories, keys table
	interned, entry         []byte // InternedData of the packet being built, and one entry of it
	event, packet, scratch  []byte // being built
	raw                     []byte // arguments being read
	walk                    walker
	memo                    memo
	parts                   uint64 // ids of parts of shapes given out
}

// NewWriter returns a Writer to w and writes the clock snapshot for a trace that
// begins at firstNs, in ns since the Unix epoch.
func NewWriter(w io.Writer, firstNs int64) *Writer {
	p := newWriter(w)
	p.clockSnapshot(max(firstNs, 0))
	return p
}

func newWriter(w io.Writer) *Writer {
	return &Writer{
		w: bufio.NewWriterSize(w, bufferSize), names: table{field: fieldInternedNames},
		categories: table{field: fieldInternedCategories}, keys: table{field: fieldInternedAnnotations},
	}
}

// NewCompressedWriter is NewWriter with the packets compressed, by up to workers goroutines at
// a time. Perfetto's readers unpack them by themselves; the file keeps its form and is a
// fraction of the size. The bytes do not depend on workers.
func NewCompressedWriter(w io.Writer, firstNs int64, workers int, how Packing) *Writer {
	p := newWriter(w)
	p.packer = newPacker(p.w, max(1, workers), how)
	p.clockSnapshot(max(firstNs, 0))
	return p
}

// Close writes what is buffered and reports the first error of any write. The
// underlying writer stays open.
func (p *Writer) Close() (Stats, error) {
	if p.packer != nil {
		if err := p.packer.close(); p.err == nil {
			p.err = err
		}
	}
	if err := p.w.Flush(); p.err == nil {
		p.err = err
	}
	if p.err != nil {
		return p.stats, fmt.Errorf("write perfetto trace: %w", p.err)
	}
	return p.stats, nil
}

// table gives every distinct text an id, from 1.
type table struct {
	field protowire.Number
	texts ids.List[string] // copies: a trace does not stay for its names
}

// intern returns the id of s and adds a new s to the packet's InternedData.
func (p *Writer) intern(t *table, s string) uint64 {
	h := ids.OfText(s)
	n, ok := t.texts.Find(s, h)
	if ok {
		return uint64(n) + 1
	}
	n, _ = t.texts.Number(strings.Clone(s), h)
	p.entry = appendVarint(p.entry[:0], fieldEntryIID, uint64(n)+1)
	p.entry = appendText(p.entry, fieldEntryName, strings.ToValidUTF8(s, "\uFFFD"))
	p.interned = appendMessage(p.interned, t.field, p.entry)
	return uint64(n) + 1
}

// writePacket writes body, fields of a TracePacket, with the fields that all share.
func (p *Writer) writePacket(body []byte) {
	flags := uint64(flagNeedsState)
	if p.stats.Packets == 0 {
		flags |= flagStateCleared
		body = appendVarint(body, fieldFirstPacket, 1)
	}
	body = appendVarint(body, fieldSequenceID, sequenceID)
	body = appendVarint(body, fieldSequenceFlags, flags)
	if len(p.interned) > 0 {
		body = appendMessage(body, fieldInternedData, p.interned)
		p.interned = p.interned[:0]
	}
	p.stats.Packets++
	p.scratch = protowire.AppendTag(p.scratch[:0], fieldTracePacket, protowire.BytesType)
	p.scratch = protowire.AppendVarint(p.scratch, uint64(len(body)))
	if p.packer != nil {
		p.packer.add(p.scratch, body)
	} else {
		p.write(p.scratch)
		p.write(body)
	}
	p.packet = body[:0]
}

func (p *Writer) write(b []byte) {
	if p.err == nil {
		_, p.err = p.w.Write(b)
	}
}

func (p *Writer) clockSnapshot(ns int64) {
	var snapshot []byte
	for _, id := range []uint64{clockRealtime, clockBoottime} {
		clock := appendVarint(nil, fieldClockID, id)
		clock = appendVarint(clock, fieldClockTime, uint64(ns))
		snapshot = appendMessage(snapshot, fieldClocks, clock)
	}
	snapshot = appendVarint(snapshot, fieldPrimaryClock, clockBoottime)
	p.writePacket(appendMessage(nil, fieldClockSnapshot, snapshot))
}

// trackSpec describes a track to declare. Exactly one of process, thread and
// counter may be set; none makes a plain track.
type trackSpec struct {
	name                     string
	parent                   uint64
	order                    int
	process, thread, counter []byte
}

// track declares a track and returns its uuid.
func (p *Writer) track(s trackSpec) uint64 {
	p.tracks++
	d := appendVarint(nil, fieldTrackUUID, p.tracks)
	if s.name != "" {
		d = appendText(d, fieldTrackName, strings.ToValidUTF8(s.name, "\uFFFD"))
	}
	if s.parent != 0 {
		d = appendVarint(d, fieldTrackParent, s.parent)
		d = appendVarint(d, fieldSiblingOrder, uint64(s.order))
	}
	if s.process != nil {
		d = appendMessage(d, fieldTrackProcess, s.process)
		d = appendVarint(d, fieldChildOrder, orderExplicit)
	}
	if s.thread != nil {
		d = appendMessage(d, fieldTrackThread, s.thread)
	}
	if s.counter != nil {
		d = appendMessage(d, fieldTrackCounter, s.counter)
	}
	p.writePacket(appendMessage(p.packet, fieldTrackDescriptor, d))
	return p.tracks
}

// startEvent begins the TrackEvent in p.event.
func (p *Writer) startEvent(kind uint64, track uint64) {
	p.event = appendVarint(p.event[:0], fieldEventType, kind)
	p.event = appendVarint(p.event, fieldEventTrackUUID, track)
}

func (p *Writer) eventName(name, category string) {
	p.event = appendVarint(p.event, fieldEventNameIID, p.intern(&p.names, name))
	if category != "" {
		p.event = appendVarint(p.event, fieldEventCategoryIIDs, p.intern(&p.categories, category))
	}
}

// endEvent writes the TrackEvent in p.event at ns.
func (p *Writer) endEvent(ns int64) {
	body := appendVarint(p.packet, fieldTimestamp, uint64(max(ns, 0)))
	p.writePacket(appendMessage(body, fieldTrackEvent, p.event))
}

func (p *Writer) counter(track uint64, ns int64, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		p.stats.Dropped++
		return
	}
	p.stats.Counters++
	p.startEvent(typeCounter, track)
	if i := int64(v); float64(i) == v && math.Abs(v) < 1<<53 {
		p.event = appendVarint(p.event, fieldEventCounter, uint64(i))
	} else {
		p.event = appendDouble(p.event, fieldEventDouble, v)
	}
	p.endEvent(ns)
}
