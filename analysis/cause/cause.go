// Package cause says what the host did while the devices had no work: which Python frame, operator,
// lock, copy or queue caused a wait.
package cause

import (
	"cmp"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/label"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/internal/most"
	"github.com/kinetoscope/kinetoscope/trace"
)

// MaxRows bounds Report.Rows: the rows after them are too short to matter.
const MaxRows = 20

// Report describes what the host did while no device worked and no launched work was pending.
type Report struct {
	WaitNs       int64 `json:"wait_ns"`       // the time that the rows divide, over the whole trace
	UnrecordedNs int64 `json:"unrecorded_ns"` // part of WaitNs without a slice on the thread that launched next
	Rows         []Row `json:"rows"`          // most time first
}

// Row is one place in the program.
type Row struct {
	Name  string  `json:"name"`         // frame, operator, annotation or call; frames as "file.py: function"
	On    string  `json:"on,omitempty"` // what it waited on, if that shows: "a lock", "a queue", "a copy" …
	Ns    int64   `json:"ns"`           // self time in the waits
	Share float64 `json:"share"`        // of WaitNs
	Count int     `json:"count"`        // waits in which it ran
	Slice int     `json:"slice"`        // the slice with the longest part
}

// sum is a row that is being summed.
type sum struct {
	Row
	place   place // what its name is made of; Name is written at last
	longest int64
	on      waited   // what the first part waited on
	other   []waited // and others that waited on something else
	last    int64    // begin of the last gap that was counted
}

// waited is the time of a row divided by what it waited on, of which there are few.
type waited struct {
	on string
	ns int64
}

func (s *sum) wait(on string, ns int64) {
	if s.on.ns == 0 {
		s.on.on = on
	}
	if s.on.on == on {
		s.on.ns += ns
		return
	}
	for i := range s.other {
		if s.other[i].on == on {
			s.other[i].ns += ns
			return
		}
	}
	s.other = append(s.other, waited{on, ns})
}

// Text names the row in a sentence.
func (r *Row) Text() string {
	if r.On != "" {
		return r.Name + " (waits on " + r.On + ")"
	}
	return r.Name
}

// gap is a time without device work, and the thread whose slices explain it.
type gap struct {
	start, end int64
	track      trace.TrackID
}

// Of returns the report for seen. It is empty for a trace without device work or without launches, or
// of several ranks that could not be parted. Callers that have a Subject take its Host, which is made once.
func Of(seen *plausible.Trace) Report {
	out := Report{Rows: []Row{}}
	if seen.Several() {
		return out
	}
	gaps := gapsOf(seen)
	if len(gaps) == 0 {
		return out
	}
	for _, g := range gaps {
		out.WaitNs += g.end - g.start
	}
	a := &attribution{v: seen.View, of: make([][]gap, len(seen.Trace.Tracks))}
	for _, g := range gaps {
		a.of[g.track] = append(a.of[g.track], g)
	}
	a.attribute()
	out.UnrecordedNs = out.WaitNs
	for i := range a.rows {
		out.UnrecordedNs -= a.rows[i].Ns
	}
	names := &a.names
	for _, r := range most.First(a.rows, MaxRows, func(a, b sum) int {
		if a.Ns != b.Ns {
			return cmp.Compare(b.Ns, a.Ns)
		}
		return cmp.Or(cmp.Compare(names.text(a.place.name), names.text(b.place.name)),
			cmp.Compare(names.text(a.place.in), names.text(b.place.in)))
	}) {
		if r.Name = cmp.Or(names.text(r.place.name), trace.NoName); r.place.call {
			r.Name += " in " + cmp.Or(names.text(r.place.in), trace.NoName)
		}
		r.Share = stat.Ratio(r.Ns, out.WaitNs)
		for _, w := range append(r.other, r.on) {
			if 2*w.ns > r.Ns {
				r.On = w.on
			}
		}
		out.Rows = append(out.Rows, r.Row)
	}
	return out
}

// Main returns the row that explains most of the waiting, nil if none explains at least a third.
func (r *Report) Main() *Row {
	if len(r.Rows) == 0 || 3*r.Rows[0].Ns < r.WaitNs {
		return nil
	}
	return &r.Rows[0]
}

// gapsOf returns the times in which no device worked because nothing was launched, from the trace's
// begin to its end, each with the thread that launched next.
func gapsOf(seen *plausible.Trace) []gap {
	work := make([]int32, 0, len(seen.ByStart))
	for _, i := range seen.ByStart {
		if seen.OnDevice(i) {
			work = append(work, i)
		}
	}
	usual, ok := launcher(seen, work)
	if !ok {
		return nil
	}
	track := seen.Trace.Slices.Track
	at, end, _ := seen.Extent()
	var out []gap
	before := view.None
	for _, b := range seen.Busy(work) {
		by, until := usual, b.Start
		l := seen.Launch(b.First)
		if l >= 0 {
			by, until = track[l], min(b.Start, seen.End(l))
		}
		if until > at && l >= 0 && !seen.Unknown(before, b.First, b.Start) {
			out = append(out, gap{at, until, by})
		}
		at, before = max(at, b.End), b.Last
	}
	if end > at && !seen.Unknown(before, view.None, end) {
		out = append(out, gap{at, end, usual})
	}
	return out
}

// launcher is the thread that made most of the launches.
func launcher(seen *plausible.Trace, work []int32) (trace.TrackID, bool) {
	count := map[trace.TrackID]int{}
	best, found := trace.TrackID(0), false
	for _, i := range work {
		if l := seen.Launch(i); l >= 0 {
			t := seen.Trace.Slices.Track[l]
			count[t]++
			if !found || count[t] > count[best] {
				best, found = t, true
			}
		}
	}
	return best, found
}

// attribution divides gaps among the slices of their threads.
type attribution struct {
	v     *view.View
	of    [][]gap // by track, in order
	rows  []sum
	names shortNames
	plain []int32         // by name: place among the rows +1
	calls map[place]int32 // of the others: the same
	tree  *view.Tree
}

// blamed is a slice with its row +1, and what it waits on; row is 0 until somebody asks.
type blamed struct {
	slice int32
	row   int32
	on    string
}

// place identifies a row: the name of a slice and, for a runtime call, of the operator around it, as
// shortNames numbers them.
type place struct {
	name, in int32
	call     bool // in counts
}

// shortNames numbers what Short makes of a trace's names, equal texts alike: a name that it leaves
// as it is has its own number.
type shortNames struct {
	t      *trace.Trace
	of     []int32          // by name: number +1
	list   []string         // texts that are no name of the trace
	byText map[string]int32 // their numbers
}

func (n *shortNames) number(id trace.StringID) int32 {
	at := &n.of[id]
	if *at == 0 {
		*at = n.find(id) + 1
	}
	return *at - 1
}

func (n *shortNames) find(id trace.StringID) int32 {
	name := n.t.String(id)
	short := Short(name)
	if len(short) == len(name) {
		return int32(id)
	}
	if same, ok := n.t.Strings.Lookup(short); ok && Short(short) == short {
		return int32(same)
	}
	k, ok := n.byText[short]
	if !ok {
		k = int32(len(n.of) + len(n.list))
		n.list, n.byText[short] = append(n.list, short), k
	}
	return k
}

func (n *shortNames) text(number int32) string {
	if k := int(number) - len(n.of); k >= 0 {
		return n.list[k]
	}
	return n.t.String(trace.StringID(number))
}

func (a *attribution) attribute() {
	s := &a.v.Trace.Slices
	isStep := make([]int8, a.v.Trace.Strings.Len())
	n := a.v.Trace.Strings.Len()
	a.names = shortNames{t: a.v.Trace, of: make([]int32, n), byText: map[string]int32{}}
	a.plain, a.calls = make([]int32, n), map[place]int32{}
	a.tree = a.v.Nest(func(i int32) bool {
		if a.of[s.Track[i]] == nil {
			return false
		}
		switch c := s.Cat[i]; {
		case c == trace.CatPythonFunction || c == trace.CatCPUOp || c.Runtime():
			return true
		case c == trace.CatUserAnnotation:
			k := &isStep[s.Name[i]]
			if *k == 0 { // a step's label does not say what the host did in it
				*k = 1
				if _, ok := label.Parse(a.v.Name(i), c); ok {
					*k = -1
				}
			}
			if *k < 0 {
				return false
			}
			_, numbered := label.Numbered(a.v.Trace, int(i))
			return !numbered
		}
		return false
	})
	order := a.tree.Order
	for lo := 0; lo < len(order); {
		hi := lo
		for hi < len(order) && s.Track[order[hi]] == s.Track[order[lo]] {
			hi++
		}
		a.thread(order[lo:hi], a.of[s.Track[order[lo]]])
		lo = hi
	}
}

// thread walks the slices of one thread, in pre-order, and assigns each instant of the gaps to the
// innermost slice.
func (a *attribution) thread(rows []int32, gaps []gap) {
	var open []blamed
	at := int64(-1 << 63)
	g := 0
	own := func(b *blamed, until int64) {
		from := at
		at = max(at, until)
		for g < len(gaps) && gaps[g].end <= from {
			g++
		}
		for k := g; k < len(gaps) && gaps[k].start < until; k++ {
			if ns := min(until, gaps[k].end) - max(from, gaps[k].start); ns > 0 {
				a.give(b, gaps[k], ns)
			}
		}
	}
	closeTo := func(t int64, enclosing int32) {
		for len(open) > 0 && open[len(open)-1].slice != enclosing {
			top := &open[len(open)-1]
			own(top, min(t, a.v.End(top.slice)))
			open = open[:len(open)-1]
		}
	}
	for _, i := range rows {
		start := a.v.Start[i]
		closeTo(start, a.tree.Parent[i])
		if n := len(open); n > 0 {
			own(&open[n-1], start)
		}
		at = max(at, start)
		open = append(open, blamed{slice: i})
	}
	closeTo(1<<63-1, view.None)
}

// give adds ns of a gap to the row to which b's slice is assigned.
func (a *attribution) give(b *blamed, g gap, ns int64) {
	if b.row == 0 {
		*b = a.blameOf(b.slice)
	}
	r := &a.rows[b.row-1]
	r.Ns += ns
	r.wait(b.on, ns)
	if r.Count == 0 || r.last != g.start {
		r.Count++
	}
	r.last = g.start
	if ns > r.longest {
		r.longest, r.Slice = ns, int(b.slice)
	}
}

// maxClimb bounds how many callers are searched for a name.
const maxClimb = 64

// blameOf finds the innermost frame of the program itself around slice i. Built-in functions and
// frames of libraries that wait for others show how the program waited, but not where.
func (a *attribution) blameOf(i int32) blamed {
	b := blamed{slice: i}
	var python trace.StringID // the innermost frame, if none is the program's own
	for p, n := i, 0; p >= 0 && n < maxClimb; p, n = a.tree.Parent[p], n+1 {
		name, c := a.v.Name(p), a.v.Trace.Slices.Cat[p]
		if b.on == "" {
			b.on = waitsOn(c, name)
		}
		if c == trace.CatPythonFunction && isPlumbing(name) {
			if python == 0 {
				python = a.v.Trace.Slices.Name[p]
			}
			continue
		}
		at := place{name: a.names.number(a.v.Trace.Slices.Name[p])}
		if c.Runtime() { // "hipMemcpyWithStream in aten::copy_", "hipMalloc in pool.py: grow"
			if up := a.tree.Parent[p]; up >= 0 && a.callsRuntime(up) {
				at.call, at.in = true, a.names.number(a.v.Trace.Slices.Name[up])
			}
		}
		b.row = a.row(at, i)
		return b
	}
	b.row = a.row(place{name: a.names.number(python)}, i)
	return b
}

// callsRuntime reports whether slice i, which encloses a call of the runtime, says who made it.
func (a *attribution) callsRuntime(i int32) bool {
	c := a.v.Trace.Slices.Cat[i]
	return c == trace.CatCPUOp || c == trace.CatPythonFunction && !isPlumbing(a.v.Name(i))
}

// row returns the number +1 of the row of a place; if the row is new, slice i is its first.
func (a *attribution) row(at place, i int32) int32 {
	simple := !at.call && int(at.name) < len(a.plain)
	n := int32(0)
	if simple {
		n = a.plain[at.name]
	} else {
		n = a.calls[at]
	}
	if n > 0 {
		return n
	}
	a.rows = append(lists.Doubled(a.rows), sum{Row: Row{Slice: int(i)}, place: at})
	n = int32(len(a.rows))
	if simple {
		a.plain[at.name] = n
	} else {
		a.calls[at] = n
	}
	return n
}
