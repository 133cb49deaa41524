// Package timeline turns traces into what people look at: tracks in a tree, on one clock, cut to a
// window and a width in pixels; what a slice is and which others are related to it; where a text
// occurs; the sums over an area.
//
// A Timeline is made of traces that have been read, and never changes them. All its times are ns
// since its own start, which lies at StartNs; Source.Clock maps a trace's clock to that of the
// timeline. Everything is safe for concurrent use. The package does no I/O; web/view is its HTTP
// side, and docs/http.md describes the answers.
package timeline

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"weak"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/trace"
)

// ErrNotFound says that no track or slice has that id.
var ErrNotFound = errors.New("not found")

// Source is one trace of a timeline.
type Source struct {
	Trace *trace.Trace
	// Label names the trace where its stage and rank do not tell it apart, its file say.
	Label string
	// Clock maps the trace's time to the common clock.
	Clock align.Clock
	// Note says what is wrong with the trace: a recording that was cut, a rank that was
	// lost. Empty if nothing.
	Note string
	// Recorded is when the rank recorded; nil: nobody measured it.
	Recorded *Recorded
}

// Placement says how traces are laid beside each other.
type Placement string

// The placements.
const (
	ByClock Placement = "clock" // where they lie on the common clock
	ByStart Placement = "start" // each begins at 0
	Auto    Placement = "auto"  // ByClock, unless the traces were recorded at different times
)

// apart is by how many times the longest trace's duration two traces may lie apart and
// still be one occasion. Ranks of one capture overlap; files of two runs lie hours apart,
// and side by side on the clock neither could be seen.
const apart = 3

// Options change how a timeline is made. The zero value is usable.
type Options struct {
	Place Placement // "" is Auto
	// AgreedNs is the instant at which all ranks were told to begin, on the common clock, Unix
	// ns; 0: there was none.
	AgreedNs int64
	// Outcomes are the ranks of the traces' run that did not complete, with a trace here or without
	// one; see pipeline.Options.
	Outcomes []pipeline.Outcome
}

// Timeline is traces to look at. Make it with New.
type Timeline struct {
	StartNs   int64     // of time 0 on the common clock; since the Unix epoch if Wall
	EndNs     int64     // length: the last end of a slice
	Wall      bool      // StartNs is a time of day
	Placement Placement // ByClock or ByStart
	// UncertaintyNs bounds the error of comparisons between traces of different clocks; 0
	// with one trace or where nothing is known to be compared.
	UncertaintyNs int64

	parts    []*part
	agreed   int64              // see Options
	outcomes []pipeline.Outcome // see Options
	side     sideCells
	ops      [numOpsBy]lazy[OpsTable] // of AllTraces
}

// part is one trace in its place.
type part struct {
	Source
	t        *trace.Trace
	index    *trace.Index
	clock    align.Clock // to the timeline's time
	class    []Class     // by name, of device work; 0 where the name is of none
	tracks   []*cell     // by trace.TrackID
	packed   map[int64][]*packedTrack
	packOnce sync.Mutex
	series   []series
	cells    cells
	from, to int64 // extent on the timeline

	subjectMu sync.Mutex
	asked     weak.Pointer[analysis.Subject] // see subject
}

// subject is the trace as all questions of it see it. What it has read is shared by questions
// that are asked together; it is held weakly, as it would be a fifth of the trace's memory for
// as long as the timeline is open.
func (p *part) subject() *analysis.Subject {
	p.subjectMu.Lock()
	defer p.subjectMu.Unlock()
	s := p.asked.Value()
	if s == nil {
		s = analysis.NewSubject(p.t)
		p.asked = weak.Make(s)
	}
	return s
}

// look is the trace by our definitions.
func (p *part) look() *analysis.View { return p.subject().View(analysis.Options{}) }

// New lays traces out. They must not change any more. There must be one at least.
func New(sources []Source, o Options) (*Timeline, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("timeline: no trace")
	}
	tl := &Timeline{agreed: o.AgreedNs, outcomes: o.Outcomes}
	for _, s := range sources {
		tl.parts = append(tl.parts, &part{Source: s, t: s.Trace, clock: s.Clock, packed: map[int64][]*packedTrack{}})
	}
	tl.place(o.Place)
	cores.Each(len(tl.parts), func(i int) { tl.parts[i].prepare() })
	return tl, nil
}

// place decides where each trace lies, and shifts the clocks so that the first begins at 0.
func (tl *Timeline) place(want Placement) {
	var longest, reach int64
	lo, hi, wall := int64(math.MaxInt64), int64(math.MinInt64), true
	type extent struct{ from, to int64 }
	var all []extent
	for _, p := range tl.parts {
		from, to, ok := p.t.Extent()
		if !ok {
			from, to = p.t.Meta.WindowStart, max(p.t.Meta.WindowStart, p.t.Meta.WindowEnd)
		}
		p.from, p.to = p.clock.Map(from), p.clock.Map(to)
		wall = wall && p.t.Meta.WallClock
		longest = max(longest, p.to-p.from)
		all = append(all, extent{p.from, p.to})
		lo, hi = min(lo, p.from), max(hi, p.to)
	}
	slices.SortFunc(all, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	tl.Placement, reach = ByClock, all[0].to
	for _, e := range all[1:] {
		if e.from-reach > apart*longest && want != ByClock {
			tl.Placement = ByStart
		}
		reach = max(reach, e.to)
	}
	if want == ByStart || !wall && len(tl.parts) > 1 {
		tl.Placement = ByStart
	}
	tl.StartNs, tl.Wall = lo, wall
	for _, p := range tl.parts {
		shift := lo
		if tl.Placement == ByStart {
			shift = p.from
		}
		p.clock.OffsetNs -= shift
		p.from, p.to = p.from-shift, p.to-shift
		tl.EndNs = max(tl.EndNs, p.to)
		if tl.Placement == ByClock && len(tl.parts) > 1 {
			tl.UncertaintyNs = max(tl.UncertaintyNs, p.Clock.ErrorNs)
		}
	}
	tl.EndNs = max(tl.EndNs, 1)
}

// local is the trace's time at ns of the timeline.
func (p *part) local(ns int64) int64 {
	c := p.clock
	if c.Drift == 0 {
		return ns - c.OffsetNs
	}
	at := float64(ns-c.OffsetNs-c.RefNs) / (1 + c.Drift)
	return c.RefNs + int64(math.Round(at))
}

func (p *part) start(s uint32) int64 { return p.clock.Map(p.t.Slices.Start[s]) }
func (p *part) end(s uint32) int64   { return p.clock.Map(p.t.Slices.End(int(s))) }

// Traces returns the number of traces.
func (tl *Timeline) Traces() int { return len(tl.parts) }

// Count returns the number of slices of all traces.
func (tl *Timeline) Count() int {
	n := 0
	for _, p := range tl.parts {
		n += p.t.Slices.Len()
	}
	return n
}

// Bytes returns about how many bytes of memory the traces and everything computed from them take.
func (tl *Timeline) Bytes() int64 {
	n := int64(0)
	for _, p := range tl.parts {
		n += p.t.Bytes()
		for _, c := range p.tracks {
			n += c.rows.Bytes()
		}
	}
	return n
}

// SliceID is how a slice is called outside: TRACE.SLICE, of a trace by its place among those that are
// looked at and of its slice by its place in it, both from 0.
func SliceID(part, slice int) string { return strconv.Itoa(part) + "." + strconv.Itoa(slice) }

// ValidSliceID reports whether id has the form of a SliceID.
func ValidSliceID(id string) bool {
	a, b, ok := strings.Cut(id, ".")
	_, errA := strconv.ParseUint(a, 10, 31)
	_, errB := strconv.ParseUint(b, 10, 32)
	return ok && errA == nil && errB == nil
}

// sliceID is SliceID for the package's own numbers.
func sliceID(part int, s uint32) string {
	return strconv.Itoa(part) + "." + strconv.FormatUint(uint64(s), 10)
}

// slice finds what sliceID has named.
func (tl *Timeline) slice(id string) (part int, s uint32, err error) {
	a, b, ok := strings.Cut(id, ".")
	i, err1 := strconv.Atoi(a)
	n, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil || i < 0 || i >= len(tl.parts) || n >= uint64(tl.parts[i].t.Slices.Len()) {
		return 0, 0, fmt.Errorf("slice %q: %w: a slice is called TRACE.SLICE", id, ErrNotFound)
	}
	return i, uint32(n), nil
}

func (tl *Timeline) subjects() []*analysis.Subject {
	out := make([]*analysis.Subject, len(tl.parts))
	for i, p := range tl.parts {
		out[i] = p.subject()
	}
	return out
}
