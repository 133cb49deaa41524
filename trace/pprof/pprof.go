// Package pprof writes traces as a pprof profile, so that `go tool pprof -http` and every
// viewer of that format draw flame graphs, call graphs and tables of them.
//
// A sample is a calling context (package stacks) of a rank. Its values are, in this order:
//
//	calls   count        slices with this stack
//	host    nanoseconds  time in the innermost frame itself, on the host's tracks
//	device  nanoseconds  the innermost frame's own time on a device: it is the name of work there
//	alloc   bytes        memory allocated in it, of any device; freed bytes are not taken off
//
// Work on a device is a frame of its own under the operator that launched it, so that its name is kept and the
// operator's sum has its time.
//
// A rank's samples carry the labels that the caller gives it. A Python frame,
// "file.py(12): name", becomes function name of file.py, line 12. The format is defined by
// profile.proto of github.com/google/pprof.
package pprof

import (
	"fmt"
	"io"
	"math"

	"github.com/google/pprof/profile"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
	"github.com/kinetoscope/kinetoscope/trace/stacks"
	"github.com/kinetoscope/kinetoscope/trace/sums"
)

// Rank is one trace of a profile.
type Rank struct {
	Trace *trace.Trace
	// Labels are those of the rank's samples, "stage" and "rank" say; pprof's -tagfocus
	// and -tagroot select and group by them.
	Labels map[string]string
}

// The values of a sample, by position.
const (
	calls = iota
	host
	device
	alloc
	values
)

// Write writes the ranks as one gzipped profile.
func Write(w io.Writer, ranks []Rank) error {
	b := builder{functions: map[function]*profile.Function{}, locations: map[string]*profile.Location{}}
	b.p.SampleType = []*profile.ValueType{
		{Type: "calls", Unit: "count"}, {Type: "host", Unit: "nanoseconds"},
		{Type: "device", Unit: "nanoseconds"}, {Type: "alloc", Unit: "bytes"},
	}
	b.p.DefaultSampleType = "host"
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range ranks {
		b.rank(r)
		if start, end, ok := r.Trace.Extent(); ok {
			from, to = min(from, start), max(to, end)
		}
	}
	if b.deviceNs > 0 {
		b.p.DefaultSampleType = "device"
	}
	if from <= to {
		b.p.DurationNanos = to - from
		if ranks[0].Trace.Meta.WallClock {
			b.p.TimeNanos = from
		}
	}
	if err := b.p.CheckValid(); err != nil {
		return fmt.Errorf("make pprof profile: %w", err)
	}
	if err := b.p.Write(w); err != nil {
		return fmt.Errorf("write pprof profile: %w", err)
	}
	return nil
}

type function struct{ name, file string }

type builder struct {
	p         profile.Profile
	functions map[function]*profile.Function
	locations map[string]*profile.Location // by frame
	deviceNs  int64                        // of all ranks
}

func (b *builder) rank(r Rank) {
	t := r.Trace
	tree := stacks.New(t)
	found := map[stacks.Node]*[values]int64{}
	at := func(n stacks.Node) *[values]int64 {
		v := found[n]
		if v == nil {
			v = new([values]int64)
			found[n] = v
		}
		return v
	}
	index := t.Index()
	for id := range t.Tracks {
		if t.Tracks[id].Kind != trace.TrackCPU {
			continue
		}
		for _, i := range index.Track(trace.TrackID(id)) {
			if drawn(t, int(i)) {
				continue
			}
			v := at(tree.Of(int(i)))
			v[calls] += callsOf(t, int(i))
			v[host] += index.Self[i]
		}
	}
	ops := opstats.Collect(t)
	for w := range ops.DeviceWork() {
		v := at(workStack(t, tree, w))
		v[calls] += callsOf(t, w.Slice)
		v[device] += t.Slices.Dur[w.Slice]
		b.deviceNs += t.Slices.Dur[w.Slice]
	}
	for i, bytes := range ops.Allocations() {
		at(tree.Of(i))[alloc] += bytes
	}
	b.samples(r, tree, found)
}

// drawn reports whether slice i only encloses others: a capture's window and, in a profile that was read, a frame
// without a time of its own or a launch.
func drawn(t *trace.Trace, i int) bool {
	c := t.Slices.Cat[i]
	return c == trace.CatTraceSpan || t.Meta.Sums && c != trace.CatCPUOp
}

// callsOf is how many calls slice i stands for.
func callsOf(t *trace.Trace, i int) int64 {
	if t.Meta.Sums {
		if n, ok := t.ArgInt(i, sums.ArgCalls); ok {
			return n
		}
	}
	return 1
}

// workStack is the stack of work on a device: its name, under whose it is. In a profile that was read the frame
// around the launch is that of the work.
func workStack(t *trace.Trace, tree *stacks.Tree, w opstats.Work) stacks.Node {
	name := t.String(t.Slices.Name[w.Slice])
	switch {
	case w.Call < 0:
		return tree.Of(w.Slice) // work that nothing in the trace launched stands for itself
	case !t.Meta.Sums:
		return tree.Called(tree.Of(w.Owner), name)
	}
	around := tree.Caller(tree.Of(w.Call))
	if around != stacks.Root && tree.Frame(around) == trace.CommonName(name) {
		return around
	}
	return tree.Called(around, name)
}

// samples adds the sums, in the order in which their stacks were first seen.
func (b *builder) samples(r Rank, tree *stacks.Tree, found map[stacks.Node]*[values]int64) {
	labels := map[string][]string{}
	for k, v := range r.Labels {
		labels[k] = []string{v}
	}
	var frames []string
	for n := stacks.Root + 1; int(n) < tree.Len(); n++ {
		v := found[n]
		if v == nil {
			continue
		}
		s := &profile.Sample{Value: v[:], Label: labels}
		frames = tree.Stack(frames[:0], n, stacks.MaxFrames)
		for _, f := range frames {
			s.Location = append(s.Location, b.location(f))
		}
		b.p.Sample = append(b.p.Sample, s)
	}
}

func (b *builder) location(frame string) *profile.Location {
	if l := b.locations[frame]; l != nil {
		return l
	}
	name, file, line := stacks.Source(frame)
	f := function{name, file}
	fn := b.functions[f]
	if fn == nil {
		fn = &profile.Function{ID: uint64(len(b.p.Function) + 1), Name: f.name, SystemName: frame, Filename: f.file,
			StartLine: line}
		b.functions[f] = fn
		b.p.Function = append(b.p.Function, fn)
	}
	l := &profile.Location{ID: uint64(len(b.p.Location) + 1), Line: []profile.Line{{Function: fn, Line: line}}}
	b.locations[frame] = l
	b.p.Location = append(b.p.Location, l)
	return l
}
