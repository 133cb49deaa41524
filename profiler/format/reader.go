package format

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Reader reads a recording generation by generation. It is not safe for concurrent use.
type Reader struct {
	r       *bufio.Reader
	off     int64 // file offset of the next byte
	payload []byte
	base    int64 // file offset of payload

	header  Header
	strs    []string
	names   []StringID // writer's name id -> 1 + index into strs; 0 is unknown
	stacks  map[uint64][]Frame
	tracks  []Track
	index   map[uint32]TrackIndex
	states  []trackState
	gen     Generation
	last    int64 // end of the last generation
	end     *End
	cut     *Cut
	orphans int
	state   readerState

	back    []byte // read ahead in a search behind damage; comes before r
	damage  []Damage
	gap     bool  // no time behind the last damage is known yet
	checked int64 // bytes summed in such searches
	// head, and payload up to payloadN, are what was read of the frame at hand.
	head            [frameFixed]byte
	headN, payloadN int
}

type readerState uint8

const (
	reading readerState = iota
	finishing
	finished
)

// maxStacks bounds the distinct stacks that a reader keeps: a program has few call
// sites worth a stack, and a damaged file must not fill memory.
const maxStacks = 1 << 18

var errTruncated = errors.New("truncated")

// NewReader reads magic and header of a recording. It reads ahead.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{
		r:      bufio.NewReaderSize(r, 64<<10),
		strs:   []string{""},
		stacks: map[uint64][]Frame{},
		index:  map[uint32]TrackIndex{},
	}
	magic := make([]byte, len(Magic))
	n, err := io.ReadFull(d.r, magic)
	d.off = int64(n)
	if err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, &Error{0, "magic", fmt.Sprintf("file ends after %d bytes; it is no recording", n)}
		}
		return nil, fmt.Errorf("read recording: magic: %w", err)
	}
	if string(magic[:len(magic)-1]) != Magic[:len(Magic)-1] {
		return nil, &Error{0, "magic", fmt.Sprintf("%q is not a recording's", magic)}
	}
	if magic[len(magic)-1] != Version {
		return nil, &Error{int64(len(magic) - 1), "version", fmt.Sprintf("version %d is unknown; this reader knows %d",
			magic[len(magic)-1], Version)}
	}
	kind, err := d.readFrame()
	if err != nil {
		if errors.Is(err, errTruncated) {
			return nil, &Error{int64(len(Magic)), "header", "file ends inside it"}
		}
		return nil, err
	}
	if kind != FrameHeader {
		return nil, &Error{int64(len(Magic)), "frame.kind", fmt.Sprintf("%q instead of the header", kind)}
	}
	if err := d.parseHeader(); err != nil {
		return nil, err
	}
	return d, nil
}

// Header returns the recording's header.
func (d *Reader) Header() *Header { return &d.header }

// Strings returns the texts seen so far; it only grows. Index 0 is the empty string.
func (d *Reader) Strings() []string { return d.strs }

// String returns the text of id, "" if there is none.
func (d *Reader) String(id StringID) string {
	if int(id) < len(d.strs) {
		return d.strs[id]
	}
	return ""
}

// Tracks returns the tracks seen so far; it only grows, but Name and Drops can change.
func (d *Reader) Tracks() []Track { return d.tracks }

// Stack returns the frames of a stack, innermost first, or nil.
func (d *Reader) Stack(id int64) []Frame { return d.stacks[uint64(id)] }

// End returns what the recording said in closing; nil before the end and if it was cut.
func (d *Reader) End() *End { return d.end }

// Cut says what is missing at the end of the recording; nil before the end and if
// nothing is missing.
func (d *Reader) Cut() *Cut { return d.cut }

// Orphans counts arguments whose event lies before the first generation; only a
// snapshot of a flight recorder has them.
func (d *Reader) Orphans() int { return d.orphans }

// Next returns the next generation, valid until the next call. At the end it returns
// io.EOF; a recording cut short ends in the same way and Cut tells. Damage gives an
// *Error; after it Next goes on at the next whole frame, and Damage tells what lies
// between. Any other error is the disk's and ends the recording.
func (d *Reader) Next() (*Generation, error) {
	for d.state == reading {
		at := d.off
		kind, err := d.readFrame()
		if err != nil {
			if err := d.unreadable(at, err); err != nil {
				return nil, err
			}
			continue
		}
		switch kind {
		case FrameGeneration:
			err = d.parseGeneration()
			if err == nil {
				d.bridged(d.gen.Start)
				return &d.gen, nil
			}
		case FrameEnd:
			err = d.parseEnd()
			if err == nil {
				d.bridged(d.end.Time)
				d.state = finishing
				continue
			}
		default:
			err = &Error{at, "frame.kind", fmt.Sprintf("%#x is unknown", kind)}
		}
		if err != nil { // the frame is whole and its content is not: the next one may be
			d.note(at, err.Error())
			return nil, err
		}
	}
	if d.state == finishing {
		d.state = finished
		if d.finish() {
			return &d.gen, nil
		}
	}
	return nil, io.EOF
}

// unreadable deals with a frame at offset at that did not read because of err: it finds
// the next one, or ends the recording. What it returns is for the caller of Next; nil
// says that there is nothing more to tell.
func (d *Reader) unreadable(at int64, err error) error {
	damage := (*Error)(nil)
	truncated := errors.Is(err, errTruncated)
	if !errors.As(err, &damage) && !truncated {
		d.state = finishing
		if err == io.EOF {
			d.cut = &Cut{Offset: at, Reason: "no end frame: the recording process died or the copy is incomplete"}
			return nil
		}
		d.cut = &Cut{Offset: at, Bytes: d.off - at, Reason: err.Error()}
		return err
	}
	found, disk := d.resync(at, d.raw())
	if found {
		if damage == nil { // it only looked like the end: the length is wrong
			damage = &Error{at, "frame.length", "leads beyond the end of the file"}
		}
		d.note(at, damage.Error())
		return damage
	}
	d.state = finishing
	reason := "file ends inside a frame: the recording process died or the copy is incomplete"
	if damage != nil {
		reason = damage.Error()
	}
	d.cut = &Cut{Offset: at, Bytes: d.off - at, Reason: reason}
	switch {
	case disk != nil:
		return disk
	case damage != nil:
		return damage
	}
	return nil
}

// raw is what was read of a frame that did not read whole.
func (d *Reader) raw() []byte {
	b := append([]byte(nil), d.head[:d.headN]...)
	return append(b, d.payload[:cap(d.payload)][:d.payloadN]...)
}

// readFrame reads a frame into d.payload. At a clean end of the file it returns io.EOF.
func (d *Reader) readFrame() (byte, error) {
	at := d.off
	d.payload, d.payloadN = d.payload[:0], 0
	n, err := d.read(d.head[:])
	d.headN = n
	d.off += int64(n)
	if err != nil {
		return 0, d.readErr(at, err, n == 0)
	}
	size := int(binary.LittleEndian.Uint32(d.head[1:]))
	if size > MaxFrame {
		return 0, &Error{at + 1, "frame.length", fmt.Sprintf("%d bytes are more than the limit of %d", size, MaxFrame)}
	}
	d.base = d.off
	// Memory follows what is there, not what the length claims.
	for want := size + frameCRC; len(d.payload) < want; {
		step := min(want-len(d.payload), max(128<<10, len(d.payload)))
		p := len(d.payload)
		if cap(d.payload)-p < step {
			grown := make([]byte, p, p+step)
			copy(grown, d.payload)
			d.payload = grown
		}
		d.payload = d.payload[:p+step]
		n, err := d.read(d.payload[p:])
		d.off += int64(n)
		d.payloadN = p + n
		if err != nil {
			return 0, d.readErr(at, err, false)
		}
	}
	sum := binary.LittleEndian.Uint32(d.payload[size:])
	d.payload = d.payload[:size]
	got := crc32.Update(crc32.Checksum(d.head[:], castagnoli), castagnoli, d.payload)
	if got != sum {
		return 0, &Error{at, "frame.crc", fmt.Sprintf("%08x, but the bytes have %08x", sum, got)}
	}
	return d.head[0], nil
}

func (d *Reader) readErr(at int64, err error, clean bool) error {
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		if clean {
			return io.EOF
		}
		return fmt.Errorf("frame at offset %d: %w", at, errTruncated)
	}
	return fmt.Errorf("read recording: frame at offset %d: %w", at, err)
}

// fail turns the cursor's first bad field into an error.
func (d *Reader) fail(c *cursor) error {
	if c.bad == "" {
		return nil
	}
	return &Error{d.base + int64(c.at), c.bad, "does not decode or is over its limit"}
}

func (c *cursor) str(field string) string {
	n := c.uvarint(field)
	if n > MaxString {
		c.fail(field)
		return ""
	}
	return string(c.bytes(n, field))
}

func (d *Reader) parseHeader() error {
	c := &cursor{b: d.payload}
	h := &d.header
	h.Version = Version
	h.Process = c.str("header.process")
	h.Clock = c.str("header.clock")
	h.ResolutionNs = int64(c.uvarint("header.resolution"))
	o := c.uvarint("header.options")
	h.Shapes, h.Stacks, h.FLOPs, h.Memory, h.Snapshot = o&OptShapes != 0, o&OptStacks != 0, o&OptFLOPs != 0,
		o&OptMemory != 0, o&OptSnapshot != 0
	h.PID = int(c.uvarint("header.pid"))
	h.AnchorMono = c.zigzag("header.anchor.mono")
	h.AnchorUnix = c.zigzag("header.anchor.unix")
	h.Start = h.Unix(c.zigzag("header.start"))
	d.last = h.Start
	n := c.count("header.meta")
	h.Meta = make(map[string]string, min(n, 64))
	for i := 0; i < n && c.bad == ""; i++ {
		k := c.str("header.meta.key")
		h.Meta[k] = c.str("header.meta.value")
	}
	return d.fail(c)
}

// Options in the header.
const (
	OptShapes uint64 = 1 << iota
	OptStacks
	OptFLOPs
	OptMemory
	OptSnapshot
)

func (d *Reader) parseEnd() error {
	c := &cursor{b: d.payload}
	e := &End{TrackDrops: map[uint32]uint64{}}
	e.Time = d.header.Unix(c.zigzag("end.mono"))
	e.WallTime = c.zigzag("end.unix")
	e.Events = c.uvarint("end.events")
	e.Drops = c.uvarint("end.dropped")
	e.Truncated = c.uvarint("end.truncated")
	e.Reason = c.str("end.reason")
	n := c.count("end.tracks")
	for i := 0; i < n && c.bad == ""; i++ {
		id := uint32(c.uvarint("end.track"))
		e.TrackDrops[id] = c.uvarint("end.track.dropped")
		if t, ok := d.index[id]; ok {
			d.tracks[t].Drops = e.TrackDrops[id]
		}
	}
	if err := d.fail(c); err != nil {
		return err
	}
	d.end, d.last = e, max(d.last, e.Time)
	return nil
}
