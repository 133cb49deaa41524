// Package pprof writes traces as a pprof profile, so that `go tool pprof -http` and every
// viewer of that format draw flame graphs, call graphs and tables of them.
//
// A sample is a calling context (package stacks) of a rank. Its values are, in this order:
//
//	calls   count        slices with this stack
//	host    nanoseconds  time in the innermost frame itself, on the host's tracks
//	device  nanoseconds  device work that the innermost frame launched itself
//	alloc   bytes        memory allocated in it, of any device; freed bytes are not taken off
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
	sums := map[stacks.Node]*[values]int64{}
	at := func(i int) *[values]int64 {
		n := tree.Of(i)
		v := sums[n]
		if v == nil {
			v = new([values]int64)
			sums[n] = v
		}
		return v
	}
	index := t.Index()
	for id := range t.Tracks {
		if t.Tracks[id].Kind != trace.TrackCPU {
			continue
		}
		for _, i := range index.Track(trace.TrackID(id)) {
			if t.Slices.Cat[i] != trace.CatTraceSpan {
				v := at(int(i))
				v[calls]++
				v[host] += index.Self[i]
			}
		}
	}
	ops := opstats.Collect(t)
	for i, ns := range ops.DeviceTimes() {
		v := at(i)
		v[device] += ns
		b.deviceNs += ns
		if t.Tracks[t.Slices.Track[i]].Kind != trace.TrackCPU {
			v[calls]++ // work that nothing in the trace launched stands for itself
		}
	}
	for i, bytes := range ops.Allocations() {
		at(i)[alloc] += bytes
	}
	b.samples(r, tree, sums)
}

// samples adds the sums, in the order in which their stacks were first seen.
func (b *builder) samples(r Rank, tree *stacks.Tree, sums map[stacks.Node]*[values]int64) {
	labels := map[string][]string{}
	for k, v := range r.Labels {
		labels[k] = []string{v}
	}
	var frames []string
	for n := stacks.Root + 1; int(n) < tree.Len(); n++ {
		v := sums[n]
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
