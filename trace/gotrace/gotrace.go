// Package gotrace reads execution traces of Go programs, as runtime/trace, its flight
// recorder and `go test -trace` write them, so that a serving process written in Go lies on
// one timeline with the models it serves.
//
// Tracks and slices:
//
//	P 0, P 1 …    the scheduler's processors: what each ran, named by the goroutine's
//	              function; garbage collection on the processors it used
//	G 7 main.f    a goroutine: its regions (runtime/trace.StartRegion), and within them
//	              where it did not run: "wait: chan receive", "runnable", "syscall"
//	runtime       ranges of the whole program: stop the world, mark phases
//
// User logs are instants, metrics (heap, goroutines) counters. Parsing is that of
// golang.org/x/exp/trace. Traces of Go 1.25 and newer say when they were recorded and are put
// on the wall clock; older ones begin at an unknown instant.
package gotrace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	exp "golang.org/x/exp/trace"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatError reports that a file is not an execution trace, or one that cannot be read.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no Go execution trace: " + e.Reason }

// Sniff reports whether head, the first bytes of a file, are those of an execution trace.
func Sniff(head []byte) bool {
	return bytes.HasPrefix(head, []byte("go 1.")) && bytes.Contains(head[:min(len(head), 16)], []byte(" trace\x00"))
}

// Read reads an execution trace. One that is cut or damaged is read up to there, which its
// Repairs say.
func Read(r io.Reader) (t *trace.Trace, err error) {
	d := &decoder{
		t: trace.New(), procs: map[exp.ProcID]*proc{}, goroutines: map[exp.GoID]*goroutine{},
		ranges: map[rangeKey]int64{},
		tasks:  map[exp.TaskID]string{},
	}
	d.t.Meta.Format, d.t.Meta.Rank, d.t.Meta.StageID = "go", -1, -1
	// The parser panics on some damage that its own checks do not find.
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, &FormatError{Reason: fmt.Sprintf("damaged: %v", p)}
		}
	}()
	events, err := exp.NewReader(r)
	if err != nil {
		return nil, &FormatError{Reason: err.Error()}
	}
	for n := 0; ; n++ {
		e, err := events.ReadEvent()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if n == 0 {
				return nil, &FormatError{Reason: err.Error()}
			}
			d.t.Repairs.Add(trace.RepairTruncatedFile, 1)
			break
		}
		d.event(&e)
	}
	d.finish()
	return d.t, nil
}

// proc is one of the scheduler's processors.
type proc struct {
	track trace.TrackID
}

// goroutine is where a goroutine stands.
type goroutine struct {
	name    string
	track   trace.TrackID
	placed  bool
	state   exp.GoState
	since   int64
	reason  string
	on      exp.ProcID
	regions []region
}

type region struct {
	kind  string
	start int64
	task  exp.TaskID
}

type rangeKey struct {
	name  string
	scope exp.ResourceID
}

type decoder struct {
	t          *trace.Trace
	procs      map[exp.ProcID]*proc
	goroutines map[exp.GoID]*goroutine
	ranges     map[rangeKey]int64
	tasks      map[exp.TaskID]string
	runtime    trace.TrackID
	hasRuntime bool
	wall       int64 // Unix ns less trace time
	hasWall    bool
	last       int64
}

func (d *decoder) event(e *exp.Event) {
	ns := int64(e.Time())
	d.last = max(d.last, ns)
	switch e.Kind() {
	case exp.EventSync:
		if c := e.Sync().ClockSnapshot; c != nil && !d.hasWall {
			d.wall, d.hasWall = c.Wall.UnixNano()-int64(c.Trace), true
		}
	case exp.EventStateTransition:
		s := e.StateTransition()
		if s.Resource.Kind == exp.ResourceGoroutine {
			d.transition(e, &s, ns)
		}
	case exp.EventRegionBegin:
		g := d.goroutine(e.Goroutine())
		r := e.Region()
		g.regions = append(g.regions, region{r.Type, ns, r.Task})
	case exp.EventRegionEnd:
		d.endRegion(e, ns)
	case exp.EventRangeBegin, exp.EventRangeActive:
		r := e.Range()
		d.ranges[rangeKey{r.Name, r.Scope}] = ns
	case exp.EventRangeEnd:
		r := e.Range()
		d.endRange(rangeKey{r.Name, r.Scope}, ns)
	case exp.EventTaskBegin:
		d.tasks[e.Task().ID] = e.Task().Type
	case exp.EventLog:
		l := e.Log()
		d.t.AddInstant(ns, l.Category+": "+l.Message, trace.CatUserAnnotation, d.place(e.Goroutine()), nil)
	case exp.EventMetric:
		m := e.Metric()
		if m.Value.Kind() == exp.ValueUint64 {
			d.t.AddCounter(ns, m.Name, "value", d.global(), float64(m.Value.Uint64()))
		}
	}
}

func (d *decoder) goroutine(id exp.GoID) *goroutine {
	g := d.goroutines[id]
	if g == nil {
		g = &goroutine{on: exp.NoProc}
		d.goroutines[id] = g
	}
	return g
}

// place returns the track of a goroutine, made when it has something to show.
func (d *decoder) place(id exp.GoID) trace.TrackID {
	g := d.goroutine(id)
	if !g.placed {
		name := "G " + strconv.FormatInt(int64(id), 10)
		if g.name != "" {
			name += " " + g.name
		}
		g.track, g.placed = d.t.AddTrack(trace.Track{
			Kind: trace.TrackCPU, PID: 1, TID: int64(id) + goroutineTID, Device: -1, Stream: -1, Process: "go",
			Name: name, SortIndex: goroutineTID + int64(id),
		}), true
	}
	return g.track
}

// goroutineTID keeps the numbers of goroutines' tracks apart from those of processors.
const goroutineTID = 1 << 20

func (d *decoder) proc(id exp.ProcID) trace.TrackID {
	p := d.procs[id]
	if p == nil {
		p = &proc{track: d.t.AddTrack(trace.Track{
			Kind: trace.TrackCPU, PID: 1, TID: int64(id), Device: -1, Stream: -1, Process: "go", Name: "P " +
				strconv.FormatInt(int64(id), 10), SortIndex: int64(id),
		})}
		d.procs[id] = p
	}
	return p.track
}

func (d *decoder) global() trace.TrackID {
	if !d.hasRuntime {
		d.runtime, d.hasRuntime = d.t.AddTrack(trace.Track{
			Kind: trace.TrackOther, PID: 1, TID: -1, Device: -1, Stream: -1, Process: "go", Name: "runtime",
			SortIndex: -1,
		}), true
	}
	return d.runtime
}

// transition ends what a goroutine did and begins what it does now.
func (d *decoder) transition(e *exp.Event, s *exp.StateTransition, ns int64) {
	id := s.Resource.Goroutine()
	g := d.goroutine(id)
	_, to := s.Goroutine()
	if g.name == "" {
		g.name = entry(s.Stack)
	}
	d.endState(id, g, ns)
	g.state, g.since, g.reason, g.on = to, ns, s.Reason, e.Proc()
	if to == exp.GoNotExist {
		for len(g.regions) > 0 { // a goroutine that ended in a region
			d.popRegion(id, g, ns)
		}
	}
}

// entry returns the function that a goroutine began with: the outermost frame.
func entry(s exp.Stack) string {
	name := ""
	for f := range s.Frames() {
		name = f.Func
	}
	return name
}

func (d *decoder) endState(id exp.GoID, g *goroutine, ns int64) {
	if g.since == 0 || ns <= g.since {
		return
	}
	switch g.state {
	case exp.GoRunning:
		name := g.name
		if name == "" {
			name = "G " + strconv.FormatInt(int64(id), 10)
		}
		if g.on != exp.NoProc {
			d.slice(d.proc(g.on), g.since, ns, name, fmt.Appendf(nil, `{"goroutine": %d}`, id))
		}
	case exp.GoWaiting:
		name := "wait"
		if g.reason != "" {
			name += ": " + g.reason
		}
		d.slice(d.place(id), g.since, ns, name, nil)
	case exp.GoRunnable:
		d.slice(d.place(id), g.since, ns, "runnable", nil)
	case exp.GoSyscall:
		d.slice(d.place(id), g.since, ns, "syscall", nil)
	}
}

func (d *decoder) slice(track trace.TrackID, from, to int64, name string, args []byte) {
	d.t.AddSlice(trace.Slice{Start: from, Dur: to - from, Name: name, Cat: trace.CatUserAnnotation, Track: track,
		Corr: trace.NoCorrelation, Args: args})
}

func (d *decoder) endRegion(e *exp.Event, ns int64) {
	id := e.Goroutine()
	g := d.goroutine(id)
	if len(g.regions) == 0 {
		d.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
		return
	}
	d.popRegion(id, g, ns)
}

func (d *decoder) popRegion(id exp.GoID, g *goroutine, ns int64) {
	r := g.regions[len(g.regions)-1]
	g.regions = g.regions[:len(g.regions)-1]
	var args []byte
	if task := d.tasks[r.task]; task != "" {
		args = fmt.Appendf(nil, `{"task": %s, "task id": %d}`, trace.AppendText(nil, task), r.task)
	}
	d.slice(d.place(id), r.start, ns, r.kind, args)
}

func (d *decoder) endRange(key rangeKey, ns int64) {
	start, ok := d.ranges[key]
	if !ok {
		d.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
		return
	}
	delete(d.ranges, key)
	switch key.scope.Kind {
	case exp.ResourceProc:
		d.slice(d.proc(key.scope.Proc()), start, ns, key.name, nil)
	case exp.ResourceGoroutine:
		d.slice(d.place(key.scope.Goroutine()), start, ns, key.name, nil)
	default:
		d.slice(d.global(), start, ns, key.name, nil)
	}
}
