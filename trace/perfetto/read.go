package perfetto

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zlib"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatError reports that a file is not a Perfetto trace.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no Perfetto trace: " + e.Reason }

// Limits of reading.
const (
	// maxPacket bounds a packet's bytes. Perfetto's own services write packets of at most
	// some hundred kB; a larger one is damage or an attack.
	maxPacket = 64 << 20
	// maxUnpacked bounds what one packet of compressed packets unpacks to.
	maxUnpacked = 256 << 20
	// maxSequences bounds the writers of a file that are told apart.
	maxSequences = 1 << 16
)

// Kinds of repair that only this format knows.
const (
	// RepairOtherSource counts packets of data sources that are not track events: ftrace,
	// heap profiles, statistics. A trace model has no place for them.
	RepairOtherSource = "packet of another data source left out"
	// RepairLostState counts events whose names or clock lie in packets that were lost.
	RepairLostState = "event dropped: its sequence's state is missing"
)

// Sniff reports whether head, the first bytes of a file, can be those of a Perfetto trace: a
// sequence of Trace.packet. As far as the first packet is in head it must be one.
func Sniff(head []byte) bool {
	if len(head) < 2 || head[0] != fieldTracePacket<<3|byte(protowire.BytesType) {
		return false
	}
	n, size := protowire.ConsumeVarint(head[1:])
	if size < 0 || n == 0 || n > maxPacket {
		return false
	}
	rest := head[1+size:]
	if n <= uint64(len(rest)) {
		known := true
		whole := message(rest[:n], func(num protowire.Number, _ uint64, _ []byte) {
			known = known && num <= lastPacketField
		})
		after := rest[n:]
		return whole && known && (len(after) == 0 || after[0] == head[0])
	}
	num, typ, size := protowire.ConsumeTag(rest)
	return size > 0 && num > 0 && num <= lastPacketField && typ != protowire.StartGroupType &&
		typ != protowire.EndGroupType
}

// lastPacketField is above every field of TracePacket so far; the oneof's largest is 900.
const lastPacketField = 1000

// Read reads the track events of a Perfetto trace: slices, instants, counters, flows, with
// their arguments. What is damaged or of another source is counted in the trace's Repairs.
//
// A file that the Writer of this package wrote comes back with its slices, names, nesting,
// times, categories and arguments. Its processes, one a rank, are the tracks' Process.
func Read(r io.Reader) (*trace.Trace, error) {
	d := newDecoder()
	b := bufio.NewReaderSize(r, bufferSize)
	var packet []byte
	for n := 0; ; n++ {
		var err error
		packet, err = nextPacket(b, packet[:0])
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, errDamaged) || errors.Is(err, io.ErrUnexpectedEOF) {
			if !d.cutPacket(packet) && n == 0 {
				return nil, &FormatError{Reason: "it does not begin with a packet that is whole"}
			}
			d.t.Repairs.Add(trace.RepairTruncatedFile, 1)
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read perfetto trace: %w", err)
		}
		if packet != nil {
			d.packet(packet)
		}
	}
	return d.finish(), nil
}

var errDamaged = errors.New("damaged packet")

// nextPacket reads one field of Trace. Fields other than packet are skipped; nil stands
// for them. Of a packet that the end of the file cuts it returns what is there beside the error.
func nextPacket(b *bufio.Reader, buf []byte) ([]byte, error) {
	tag, err := readVarint(b)
	if err != nil {
		return nil, err
	}
	if tag&7 != uint64(protowire.BytesType) {
		return nil, errDamaged
	}
	n, err := readVarint(b)
	if err != nil || n > maxPacket {
		return nil, errors.Join(errDamaged, err)
	}
	if tag>>3 != fieldTracePacket {
		if _, err := b.Discard(int(n)); err != nil {
			return nil, errDamaged
		}
		return nil, nil
	}
	// The bytes are asked for in pieces, so that a length alone takes no memory.
	for uint64(len(buf)) < n {
		piece := int(min(n-uint64(len(buf)), bufferSize))
		from := len(buf)
		buf = append(buf, make([]byte, piece)...)
		if got, err := io.ReadFull(b, buf[from:]); err != nil {
			return buf[:from+got], errDamaged
		}
	}
	if buf == nil {
		buf = []byte{}
	}
	return buf, nil
}

// readVarint reads a varint; io.EOF only before its first byte.
func readVarint(b *bufio.Reader) (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		c, err := b.ReadByte()
		if err != nil {
			if shift > 0 || !errors.Is(err, io.EOF) {
				return 0, errors.Join(errDamaged, err)
			}
			return 0, io.EOF
		}
		v |= uint64(c&0x7F) << shift
		if c < 0x80 {
			return v, nil
		}
	}
	return 0, errDamaged
}

// message yields the fields of a message: number, the value of a varint or of a fixed
// number, the bytes of others. It returns false where the message is damaged.
func message(b []byte, field func(num protowire.Number, v uint64, bytes []byte)) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		var v uint64
		var bytes []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(b)
			v = uint64(w)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
		field(num, v, bytes)
	}
	return true
}

// sequence is what the packets of one writer refer to.
type sequence struct {
	names, categories, keys, values map[uint64]string
	defaultTrack                    uint64
	defaultClock                    uint64
	clocks                          map[uint64]int64 // of the sequence's own clocks: the last time, ns
	incremental                     map[uint64]bool
	units                           map[uint64]int64 // ns a tick
	valid                           bool             // its state has been set up and no packet was lost since
}

func newSequence() *sequence {
	return &sequence{
		names: map[uint64]string{}, categories: map[uint64]string{}, keys: map[uint64]string{},
		values: map[uint64]string{},
		clocks: map[uint64]int64{}, incremental: map[uint64]bool{}, units: map[uint64]int64{},
	}
}

type decoder struct {
	t         *trace.Trace
	sequences map[uint64]*sequence
	tracks    map[uint64]*trackState
	processes map[int64]string // names by pid
	// offset puts the trace's clock on the wall clock; the first snapshot has both.
	offset   int64
	hasWall  bool
	flows    map[uint64]bool // ids that were seen
	lost     int
	foreign  int
	lastTime int64
	scratch  []byte
	// unpacking is set while the packets of a compressed one are read.
	unpacking bool
}

func newDecoder() *decoder {
	t := trace.New()
	t.Meta.Format, t.Meta.Rank, t.Meta.StageID = "perfetto", -1, -1
	return &decoder{t: t, sequences: map[uint64]*sequence{}, tracks: map[uint64]*trackState{},
		processes: map[int64]string{}, flows: map[uint64]bool{}}
}

// packetFields are the parts of a TracePacket that matter here.
type packetFields struct {
	time, clock, sequence, flags        uint64
	hasTime, hasClock, lost, first      bool
	event, interned, descriptor         []byte
	compressed                          []byte
	snapshot, defaults, process, thread []byte
	other                               bool
}

// fieldsOf takes a TracePacket apart. It returns false where the packet is damaged.
func fieldsOf(b []byte) (p packetFields, ok bool) {
	ok = message(b, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldTimestamp:
			p.time, p.hasTime = v, true
		case fieldTimestampClock:
			p.clock, p.hasClock = v, true
		case fieldSequenceID:
			p.sequence = v
		case fieldSequenceFlags:
			p.flags = v
		case fieldPacketDropped:
			p.lost = v != 0
		case fieldFirstPacket:
			p.first = v != 0
		case fieldTrackEvent:
			p.event = bytes
		case fieldInternedData:
			p.interned = bytes
		case fieldTrackDescriptor:
			p.descriptor = bytes
		case fieldClockSnapshot:
			p.snapshot = bytes
		case fieldCompressedPackets:
			p.compressed = bytes
		case fieldPacketDefaults:
			p.defaults = bytes
		case fieldProcessDescriptor:
			p.process = bytes
		case fieldThreadDescriptor:
			p.thread = bytes
		case fieldTrustedUID, fieldTrustedPID, fieldMachineID:
		default:
			p.other = true
		}
	})
	return p, ok
}

// sequenceOf returns the state of the packet's writer, new where the packet says that what
// came before no longer holds. It returns nil where the file has too many writers.
func (d *decoder) sequenceOf(p *packetFields) *sequence {
	cleared := p.flags&flagStateCleared != 0
	s := d.sequences[p.sequence]
	if s == nil || cleared {
		if len(d.sequences) >= maxSequences && s == nil {
			return nil
		}
		s = newSequence()
		s.valid = cleared
		d.sequences[p.sequence] = s
	}
	if p.lost && !cleared {
		s.valid = false
	}
	return s
}

// packet reads one packet into the trace.
func (d *decoder) packet(b []byte) {
	p, ok := fieldsOf(b)
	if !ok {
		d.t.Repairs.Add(trace.RepairSyntax, 1)
		return
	}
	if p.compressed != nil {
		d.unpack(p.compressed)
		return
	}
	s := d.sequenceOf(&p)
	if s == nil {
		d.lost++
		return
	}
	if p.defaults != nil {
		s.setDefaults(p.defaults)
	}
	if p.interned != nil && !s.intern(p.interned) {
		d.t.Repairs.Add(trace.RepairSyntax, 1)
	}
	if p.snapshot != nil {
		d.clockSnapshot(s, p.snapshot)
	}
	if p.descriptor != nil {
		d.describe(p.descriptor)
	}
	if p.event == nil {
		if p.other {
			d.foreign++
		}
		return
	}
	if p.flags&flagNeedsState != 0 && !s.valid {
		d.lost++
		return
	}
	d.trackEvent(s, d.time(s, &p), p.event)
}

// unpack reads the packets in compressed_packets. A compressed packet in another is damage.
func (d *decoder) unpack(b []byte) {
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil || d.unpacking {
		d.t.Repairs.Add(trace.RepairTruncatedStream, 1)
		return
	}
	d.unpacking = true
	defer func() { d.unpacking = false }()
	limited := &io.LimitedReader{R: z, N: maxUnpacked + 1} // none left: there was more
	r := bufio.NewReaderSize(limited, bufferSize)
	var packet []byte
	for {
		packet, err = nextPacket(r, packet[:0])
		if errors.Is(err, io.EOF) && limited.N > 0 {
			return
		}
		if err != nil {
			d.t.Repairs.Add(trace.RepairTruncatedStream, 1)
			return
		}
		if packet != nil {
			d.packet(packet)
		}
	}
}

// cutPacket reads what is there of a packet that the end of the file cuts: packets that were compressed together may be
// all of a small trace. It returns false where that is nothing.
func (d *decoder) cutPacket(b []byte) bool {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != fieldCompressedPackets || typ != protowire.BytesType {
		return false
	}
	_, size := protowire.ConsumeVarint(b[n:])
	if size < 0 {
		return false
	}
	d.unpack(b[n+size:])
	return d.t.Slices.Len()+len(d.tracks) > 0
}

// time returns a packet's time on the trace's clock, ns.
func (d *decoder) time(s *sequence, p *packetFields) int64 {
	if !p.hasTime {
		return d.lastTime
	}
	clock := p.clock
	if !p.hasClock {
		clock = s.defaultClock
	}
	ns := int64(min(p.time, math.MaxInt64))
	if unit := s.units[clock]; unit > 1 {
		ns = min(ns, math.MaxInt64/unit) * unit
	}
	if s.incremental[clock] {
		ns = trace.AddNs(ns, s.clocks[clock])
		s.clocks[clock] = ns
	}
	d.lastTime = ns
	return ns
}

// setDefaults reads TracePacketDefaults.
func (s *sequence) setDefaults(b []byte) {
	message(b, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldTimestampClock:
			s.defaultClock = v
		case fieldEventDefaults:
			message(bytes, func(num protowire.Number, v uint64, _ []byte) {
				if num == fieldEventTrackUUID {
					s.defaultTrack = v
				}
			})
		}
	})
}

// intern reads InternedData.
func (s *sequence) intern(b []byte) bool {
	return message(b, func(num protowire.Number, _ uint64, bytes []byte) {
		var table map[uint64]string
		switch num {
		case fieldInternedNames:
			table = s.names
		case fieldInternedCategories:
			table = s.categories
		case fieldInternedAnnotations:
			table = s.keys
		case fieldInternedStrings:
			table = s.values
		default:
			return
		}
		var iid uint64
		var text string
		message(bytes, func(num protowire.Number, v uint64, bytes []byte) {
			switch num {
			case fieldEntryIID:
				iid = v
			case fieldEntryName:
				text = string(bytes)
			}
		})
		table[iid] = text
	})
}

// clockSnapshot reads how clocks relate. The first snapshot with both the boot clock and the
// wall clock puts the trace on the wall clock; clocks of a sequence begin where it says.
func (d *decoder) clockSnapshot(s *sequence, b []byte) {
	times := map[uint64]int64{}
	message(b, func(num protowire.Number, _ uint64, bytes []byte) {
		if num != fieldClocks {
			return
		}
		var id, at, unit uint64
		incremental := false
		message(bytes, func(num protowire.Number, v uint64, _ []byte) {
			switch num {
			case fieldClockID:
				id = v
			case fieldClockTime:
				at = v
			case fieldClockIncremental:
				incremental = v != 0
			case fieldClockUnit:
				unit = v
			}
		})
		tick := max(1, min(unit, 1e9))
		times[id] = int64(min(at, math.MaxInt64/tick) * tick)
		if id >= firstSequenceClock {
			s.incremental[id], s.units[id] = incremental, int64(min(unit, 1e9))
		}
	})
	for id := range times {
		if id >= firstSequenceClock {
			s.clocks[id] = times[id]
			if boot, ok := times[clockBoottime]; ok && s.incremental[id] {
				s.clocks[id] = boot
			}
		}
	}
	wall, hasWall := times[clockRealtime]
	boot, hasBoot := times[clockBoottime]
	if hasWall && hasBoot && !d.hasWall && wall > 0 {
		d.offset, d.hasWall = wall-boot, true
	}
}
