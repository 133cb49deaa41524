package format

import "math"

// StringID indexes Reader.Strings; 0 is the empty string.
type StringID uint32

// TrackIndex indexes Reader.Tracks.
type TrackIndex uint32

// Header is what a recording says about itself.
type Header struct {
	Version      int
	Process      string
	PID          int
	Clock        string // "tsc" or "monotonic"
	ResolutionNs int64  // smallest step seen of that clock
	Shapes       bool   // what was asked for
	Stacks       bool
	FLOPs        bool
	Memory       bool
	Snapshot     bool  // a flight recorder's past, not a window with a start
	AnchorMono   int64 // ns of the process's monotonic clock ...
	AnchorUnix   int64 // ... at this wall time, ns since the Unix epoch
	Start        int64 // window start, ns since the Unix epoch
	Meta         map[string]string
}

// Unix converts the process's monotonic ns to ns since the Unix epoch.
func (h *Header) Unix(mono int64) int64 { return h.AnchorUnix + (mono - h.AnchorMono) }

// End is what a recording that ended properly says in closing.
type End struct {
	Time       int64 // window end, ns since the Unix epoch by the header's anchor
	WallTime   int64 // the same instant by the wall clock; the difference is the wall clock's drift or step
	Events     uint64
	Drops      uint64
	Truncated  uint64 // Text arguments that were shortened
	Reason     string // "stop", "snapshot" ...
	TrackDrops map[uint32]uint64
}

// Cut says how a recording without a proper end ended.
type Cut struct {
	Offset int64  // file offset of the first byte that could not be used
	Bytes  int64  // bytes from there to the end of the file
	Reason string // what was missing
}

// Track is a lane of a recording.
type Track struct {
	ID    uint32
	Name  string
	Drops uint64 // events dropped until the end of the last generation read
}

// SliceFlags qualify a slice.
type SliceFlags uint8

// The flags of a slice.
const (
	Finished    SliceFlags = 1 << iota // its end was recorded
	BeganBefore                        // it began before the window
	Unwound                            // it was left open and closed by the end of a span around it
)

// AttrRange is the place of an event's arguments in Generation.Attrs.
type AttrRange struct{ Lo, Hi uint32 }

// Slices are the spans that ended, one column a field, ordered by end within a track.
type Slices struct {
	Start, Dur []int64
	Name       []StringID
	Cat        []uint8
	Track      []TrackIndex
	Depth      []uint16 // 0 is outermost
	Flags      []SliceFlags
	Attrs      []AttrRange
}

// Instants are points in time.
type Instants struct {
	Time  []int64
	Name  []StringID
	Cat   []uint8
	Track []TrackIndex
	Attrs []AttrRange
}

// Asyncs are the two ends of spans that cross goroutines; ends with equal ID belong together.
type Asyncs struct {
	Time  []int64
	Begin []bool
	ID    []uint64
	Name  []StringID
	Cat   []uint8 // of a begin
	Track []TrackIndex
	Attrs []AttrRange
}

// Counters are samples.
type Counters struct {
	Time  []int64
	Name  []StringID
	Track []TrackIndex
	Value []float64
}

// Memory are allocations and frees of pools.
type Memory struct {
	Time  []int64
	Alloc []bool
	Pool  []StringID
	Addr  []uint64
	Bytes []int64
	Track []TrackIndex
}

// Flows are the two ends of arrows.
type Flows struct {
	Time  []int64 // inside the slice that the end is attached to
	Out   []bool  // true where the arrow starts
	ID    []uint64
	Track []TrackIndex
}

// AttrKind says what an argument holds.
type AttrKind uint8

// The kinds of argument.
const (
	AttrInt   AttrKind = iota + 1 // Int
	AttrStr                       // Str
	AttrText                      // Generation.Text
	AttrFloat                     // Float
	AttrFLOPs                     // Int; no key
	AttrBytes                     // Int; no key
	AttrShape                     // Generation.Dims and DType; no key; one a tensor, in order
	AttrStack                     // Reader.Stack(Int); no key
)

// Attr is one argument of an event.
type Attr struct {
	Kind  AttrKind
	DType uint8
	Key   StringID
	N     uint32 // length of text or dims
	Int   int64  // value; for text and dims their offset
}

// Str returns the text id of an AttrStr.
func (a Attr) Str() StringID { return StringID(a.Int) }

// Float returns the value of an AttrFloat.
func (a Attr) Float() float64 { return math.Float64frombits(uint64(a.Int)) }

// Frame is one frame of a stack.
type Frame struct {
	Func, File StringID
	Line       int
}

// Generation is a piece of a recording. Its columns are reused by the next Next.
type Generation struct {
	Seq        uint64
	Start, End int64 // ns since the Unix epoch
	Final      bool  // the last one: spans that were still open
	Slices     Slices
	Instants   Instants
	Asyncs     Asyncs
	Counters   Counters
	Memory     Memory
	Flows      Flows
	Attrs      []Attr
	text       []byte
	dims       []int64
}

// SliceAttrs returns the arguments of slice i.
func (g *Generation) SliceAttrs(i int) []Attr { return g.attrs(g.Slices.Attrs[i]) }

// InstantAttrs returns the arguments of instant i.
func (g *Generation) InstantAttrs(i int) []Attr { return g.attrs(g.Instants.Attrs[i]) }

// AsyncAttrs returns the arguments of async event i.
func (g *Generation) AsyncAttrs(i int) []Attr { return g.attrs(g.Asyncs.Attrs[i]) }

func (g *Generation) attrs(r AttrRange) []Attr { return g.Attrs[r.Lo:r.Hi] }

// Text returns the text of an AttrText; the bytes are valid until the next Next.
func (g *Generation) Text(a Attr) []byte { return g.text[a.Int : a.Int+int64(a.N)] }

// Dims returns the dimensions of an AttrShape; valid until the next Next.
func (g *Generation) Dims(a Attr) []int64 { return g.dims[a.Int : a.Int+int64(a.N)] }

func (g *Generation) reset() {
	s, n, y, c, m, f := &g.Slices, &g.Instants, &g.Asyncs, &g.Counters, &g.Memory, &g.Flows
	s.Start, s.Dur, s.Name, s.Cat = s.Start[:0], s.Dur[:0], s.Name[:0], s.Cat[:0]
	s.Track, s.Depth, s.Flags, s.Attrs = s.Track[:0], s.Depth[:0], s.Flags[:0], s.Attrs[:0]
	n.Time, n.Name, n.Cat, n.Track, n.Attrs = n.Time[:0], n.Name[:0], n.Cat[:0], n.Track[:0], n.Attrs[:0]
	y.Time, y.Begin, y.ID, y.Name = y.Time[:0], y.Begin[:0], y.ID[:0], y.Name[:0]
	y.Cat, y.Track, y.Attrs = y.Cat[:0], y.Track[:0], y.Attrs[:0]
	c.Time, c.Name, c.Track, c.Value = c.Time[:0], c.Name[:0], c.Track[:0], c.Value[:0]
	m.Time, m.Alloc, m.Pool, m.Addr = m.Time[:0], m.Alloc[:0], m.Pool[:0], m.Addr[:0]
	m.Bytes, m.Track = m.Bytes[:0], m.Track[:0]
	f.Time, f.Out, f.ID, f.Track = f.Time[:0], f.Out[:0], f.ID[:0], f.Track[:0]
	g.Attrs, g.text, g.dims = g.Attrs[:0], g.text[:0], g.dims[:0]
	g.Final = false
}
