package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// Format is Meta.Format of the traces that this package makes.
const Format = "native"

// FlowCategory is the category and name of every flow of a native trace.
const FlowCategory = "handoff"

// categories maps a recording's category to the trace's text; Kineto has none for I/O.
var categories = map[uint8]string{
	uint8(profiler.CategoryOp):         trace.CatCPUOp.String(),
	uint8(profiler.CategoryAnnotation): trace.CatUserAnnotation.String(),
	uint8(profiler.CategoryRuntime):    trace.CatOverhead.String(),
	uint8(profiler.CategoryIO):         "io",
}

// Info is what a recording says about itself beside its events.
type Info struct {
	Header    format.Header
	End       *format.End     // nil if the recording was cut
	Cut       *format.Cut     // nil if it ended properly
	Damage    []format.Damage // pieces in the middle that could not be read
	EndNs     int64           // Unix ns: end of what could be read
	Unmatched int             // ends of async spans that began before the window and have no begin
}

// ReadFile reads the recording at path. See Read.
func ReadFile(ctx context.Context, path string) (*trace.Trace, *Info, error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open recording: %w", err)
	}
	defer f.Close()
	t, info, err := Read(ctx, f)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	t.Meta.File = path
	identity.Learn(&t.Meta, identity.FromPath(path))
	return t, info, nil
}

// Read reads a whole recording. Damage after the header is not an error: the trace holds what
// stands before and after the damage, and Info.Damage and Info.Cut say what is missing. An error
// means that there is no recording, that r failed, or that ctx ended.
func Read(ctx context.Context, r io.Reader) (*trace.Trace, *Info, error) {
	rd, err := format.NewReader(r)
	if errors.Is(err, io.EOF) {
		return nil, nil, errors.New("recording ends before its header: nothing was recorded")
	}
	if err != nil {
		return nil, nil, err
	}
	b := newBuilder(rd)
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("read recording: %w", err)
		}
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if damage := (*format.Error)(nil); errors.As(err, &damage) {
			continue // Damage and Cut say what is missing
		}
		if err != nil {
			return nil, nil, err
		}
		b.generation(g)
	}
	return b.finish(), &Info{Header: *rd.Header(), End: rd.End(), Cut: rd.Cut(), Damage: rd.Damage(), EndNs: b.last,
		Unmatched: b.unmatched}, nil
}

// builder turns generations into a trace.
type builder struct {
	rd     *format.Reader
	h      *format.Header
	t      *trace.Trace
	names  []trace.StringID // by format.StringID
	tracks []trace.TrackID  // by format.TrackIndex

	args      object
	rows      []row
	open      map[asyncKey][]asyncBegin // begun and not ended, oldest first
	asyncs    []async
	memory    []memory
	unmatched int
	last      int64 // the latest time seen
}

// row is a slice before rows are sorted.
type row struct {
	start, dur int64
	name       trace.StringID
	cat        trace.Category
	track      trace.TrackID
	depth      uint16
	args       trace.ArgsRef
}

func newBuilder(rd *format.Reader) *builder {
	b := &builder{rd: rd, h: rd.Header(), t: trace.New(), open: map[asyncKey][]asyncBegin{}}
	b.last = b.h.Start
	return b
}

// sync extends the mappings of names and tracks by what is new in the reader.
func (b *builder) sync() {
	texts := b.rd.Strings()
	for _, s := range texts[len(b.names):] {
		b.names = append(b.names, b.t.Intern(s))
	}
	tracks := b.rd.Tracks()
	for _, k := range tracks[len(b.tracks):] {
		b.tracks = append(b.tracks, b.t.AddTrack(trace.Track{
			Kind: trace.TrackCPU, PID: int64(b.h.PID), TID: int64(k.ID) + 1, Device: -1, Stream: -1,
			Process: b.h.Process, Name: k.Name, SortIndex: int64(k.ID) + 1,
		}))
	}
}

func (b *builder) generation(g *format.Generation) {
	b.sync()
	b.last = max(b.last, g.End)
	b.slices(g)
	b.instants(g)
	b.asyncEnds(g)
	for i, ns := range g.Counters.Time {
		c := &g.Counters
		b.t.AddCounter(ns, b.rd.String(c.Name[i]), "value", b.tracks[c.Track[i]], c.Value[i])
	}
	for i, ns := range g.Flows.Time {
		f := &g.Flows
		b.t.AddFlow(ns, f.ID[i], FlowCategory, FlowCategory, b.tracks[f.Track[i]], f.Out[i])
	}
	for i, ns := range g.Memory.Time {
		m := &g.Memory
		b.memory = append(b.memory, memory{
			at: ns, alloc: m.Alloc[i], pool: b.names[m.Pool[i]], addr: m.Addr[i], bytes: m.Bytes[i],
			track: b.tracks[m.Track[i]],
		})
	}
}

func (b *builder) slices(g *format.Generation) {
	s := &g.Slices
	for i := range s.Start {
		start, end := s.Start[i], s.Start[i]+s.Dur[i]
		b.args.reset()
		b.args.attrs(b.rd, g, g.SliceAttrs(i))
		if before := b.h.Start - start; before > 0 {
			b.args.int(argBeganBefore, before)
			start = min(b.h.Start, end)
		}
		if s.Flags[i]&format.Finished == 0 && s.Flags[i]&format.Unwound == 0 {
			b.args.bool(argFinished, false)
		}
		if s.Flags[i]&format.Unwound != 0 {
			b.args.bool(argUnwound, true)
		}
		b.last = max(b.last, end)
		b.rows = append(b.rows, row{
			start: start, dur: end - start, name: b.names[s.Name[i]], cat: b.category(s.Cat[i]),
			track: b.tracks[s.Track[i]], depth: s.Depth[i], args: b.t.AddArgs(b.args.done()),
		})
	}
}

func (b *builder) category(c uint8) trace.Category {
	text, ok := categories[c]
	if !ok {
		text = "category_" + strconv.Itoa(int(c))
	}
	return b.t.Category(text)
}

func (b *builder) instants(g *format.Generation) {
	n := &g.Instants
	for i, ns := range n.Time {
		b.args.reset()
		b.args.attrs(b.rd, g, g.InstantAttrs(i))
		b.t.AddInstant(ns, b.rd.String(n.Name[i]), b.category(n.Cat[i]), b.tracks[n.Track[i]], b.args.done())
	}
}

// finish puts everything in order and returns the trace.
func (b *builder) finish() *trace.Trace {
	b.sync()
	b.t.Meta = b.meta()
	b.closeAsyncs()
	b.memoryEvents()
	slices.SortStableFunc(b.rows, func(x, y row) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(y.dur, x.dur),
			cmp.Compare(x.track, y.track), cmp.Compare(x.depth, y.depth))
	})
	s := &b.t.Slices
	for i, r := range b.rows {
		s.Start = append(s.Start, r.start)
		s.Dur = append(s.Dur, r.dur)
		s.Name = append(s.Name, r.name)
		s.Cat = append(s.Cat, r.cat)
		s.Track = append(s.Track, r.track)
		s.Corr = append(s.Corr, trace.NoCorrelation)
		s.Args = append(s.Args, r.args)
		s.Event = append(s.Event, uint32(i))
	}
	b.rows = nil
	b.t.Meta.ProcessGroups = groups(b.t)
	return b.t
}
