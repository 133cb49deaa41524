// Package speedscope writes traces for speedscope, the flame graph viewer.
//
// The file is one JSON object of speedscope's schema
// (https://www.speedscope.app/file-format-schema.json): a table of frames and a list of
// profiles, all in nanoseconds from the first slice. Every lane of a rank is a profile of
// type "evented", which speedscope shows in order of time and left-heavy; device work by
// the stack that launched it is one of type "sampled" for each rank.
//
// A slice that overlaps another of its track without nesting lies on a lane of its own, as
// in the timeline; nothing is left out. What reaches out of its parent by the rounding that
// trace.NestTolerance allows is cut at the parent's end, as the schema asks.
package speedscope

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
	"github.com/kinetoscope/kinetoscope/trace/stacks"
)

// Rank is one trace of a file.
type Rank struct {
	Name  string // stands before the names of the rank's profiles; may be empty
	Trace *trace.Trace
	// Clock maps the trace's time to the file's, ns, not decreasing; nil: the same.
	Clock func(int64) int64
}

// at returns the time ns of the rank's trace on the file's clock.
func (r *Rank) at(ns int64) int64 {
	if r.Clock == nil {
		return ns
	}
	return r.Clock(ns)
}

// Write writes the ranks as one file with the given name.
func Write(w io.Writer, name string, ranks []Rank) error {
	o := writer{b: bufio.NewWriter(w), numbers: map[string]int{}, from: math.MaxInt64}
	for _, r := range ranks {
		if start, _, ok := r.Trace.Extent(); ok {
			o.from = min(o.from, r.at(start))
		}
	}
	o.text(`{"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"kinetoscope","name":`)
	o.json(name)
	o.text(`,"activeProfileIndex":0,"profiles":[`)
	for _, r := range ranks {
		o.rank(r)
	}
	o.text(`],"shared":{"frames":[`)
	for i, frame := range o.frames {
		if i > 0 {
			o.text(",")
		}
		o.frame(frame)
	}
	o.text("]}}\n")
	if err := o.b.Flush(); err != nil {
		return fmt.Errorf("write speedscope file: %w", err)
	}
	return nil
}

type writer struct {
	b        *bufio.Writer // keeps the first error
	from     int64
	profiles int
	frames   []string
	numbers  map[string]int // of a frame's text
	scratch  []byte
}

func (o *writer) text(s string) { o.b.WriteString(s) }

func (o *writer) int(n int64) {
	o.scratch = strconv.AppendInt(o.scratch[:0], n, 10)
	o.b.Write(o.scratch)
}

func (o *writer) json(s string) {
	text, err := json.Marshal(s)
	if err != nil { // no string fails
		text = []byte(`""`)
	}
	o.b.Write(text)
}

func (o *writer) frame(frame string) {
	name, file, line := stacks.Source(frame)
	o.text(`{"name":`)
	o.json(name)
	if file != "" {
		o.text(`,"file":`)
		o.json(file)
		o.text(`,"line":`)
		o.int(line)
	}
	o.text("}")
}

func (o *writer) number(frame string) int {
	n, ok := o.numbers[frame]
	if !ok {
		n = len(o.frames)
		o.frames = append(o.frames, frame)
		o.numbers[frame] = n
	}
	return n
}

func (o *writer) rank(r Rank) {
	t := r.Trace
	tree := stacks.New(t)
	index := t.Index()
	for id := range t.Tracks {
		order := index.Track(trace.TrackID(id))
		for lane := range index.Lanes[id] {
			o.lane(r, trace.TrackID(id), lane, order, tree)
		}
	}
	o.device(r, tree)
}

// begin writes a profile up to what its type adds.
func (o *writer) begin(kind, name string, from, to int64) {
	if o.profiles++; o.profiles > 1 {
		o.text(",")
	}
	o.text(`{"type":"` + kind + `","unit":"nanoseconds","name":`)
	o.json(name)
	o.text(`,"startValue":`)
	o.int(from)
	o.text(`,"endValue":`)
	o.int(to)
}

// open is a slice whose end is still to be written.
type open struct {
	end   int64
	frame int
}

// lane writes the slices of one lane, which nest, as an evented profile.
func (o *writer) lane(r Rank, id trace.TrackID, lane uint16, order []uint32, tree *stacks.Tree) {
	t := r.Trace
	index := t.Index()
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, i := range order {
		if index.Lane[i] == lane {
			from, to = min(from, t.Slices.Start[i]), max(to, t.Slices.End(int(i)))
		}
	}
	if from > to {
		return
	}
	o.begin("evented", laneName(r, id, lane), r.at(from)-o.from, r.at(to)-o.from)
	o.text(`,"events":[`)
	var stack []open
	first := true
	event := func(kind string, at int64, frame int) {
		if !first {
			o.text(",")
		}
		first = false
		o.text(`{"type":"` + kind + `","at":`)
		o.int(r.at(at) - o.from)
		o.text(`,"frame":`)
		o.int(int64(frame))
		o.text("}")
	}
	closeUntil := func(ns int64) {
		for n := len(stack); n > 0 && stack[n-1].end <= ns; n = len(stack) {
			event("C", stack[n-1].end, stack[n-1].frame)
			stack = stack[:n-1]
		}
	}
	for _, i := range order {
		if index.Lane[i] != lane {
			continue
		}
		start, end := t.Slices.Start[i], t.Slices.End(int(i))
		closeUntil(start)
		if n := len(stack); n > 0 {
			end = min(end, stack[n-1].end)
		}
		frame := o.number(tree.Frame(tree.Of(int(i))))
		event("O", start, frame)
		stack = append(stack, open{end, frame})
	}
	closeUntil(math.MaxInt64)
	o.text("]}")
}

func laneName(r Rank, id trace.TrackID, lane uint16) string {
	k := &r.Trace.Tracks[id]
	name := k.Name
	if name == "" {
		name = fmt.Sprintf("thread %d", k.TID)
		if k.Kind == trace.TrackGPU {
			name = fmt.Sprintf("device %d stream %d", k.Device, k.Stream)
		}
	}
	if k.Process != "" && k.Kind != trace.TrackGPU {
		name = k.Process + " " + name
	}
	if r.Name != "" {
		name = r.Name + " " + name
	}
	if lane > 0 {
		name += fmt.Sprintf(" lane %d", lane+1)
	}
	return name
}

// device writes the rank's device time by the stack that launched it, heaviest first.
func (o *writer) device(r Rank, tree *stacks.Tree) {
	times := map[stacks.Node]int64{}
	total := int64(0)
	for i, ns := range opstats.Collect(r.Trace).DeviceTimes() {
		times[tree.Of(i)] += ns
		total += ns
	}
	if total == 0 {
		return
	}
	nodes := make([]stacks.Node, 0, len(times))
	for n := range times {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b stacks.Node) int {
		return cmp.Or(cmp.Compare(times[b], times[a]), cmp.Compare(a, b))
	})
	name := "device time by stack"
	if r.Name != "" {
		name = r.Name + " " + name
	}
	o.begin("sampled", name, 0, total)
	o.text(`,"samples":[`)
	var frames []string
	for k, n := range nodes {
		if k > 0 {
			o.text(",")
		}
		o.text("[")
		frames = tree.Stack(frames[:0], n, stacks.MaxFrames)
		for j, f := range slices.Backward(frames) {
			o.int(int64(o.number(f)))
			if j > 0 {
				o.text(",")
			}
		}
		o.text("]")
	}
	o.text(`],"weights":[`)
	for k, n := range nodes {
		if k > 0 {
			o.text(",")
		}
		o.int(times[n])
	}
	o.text("]}")
}
