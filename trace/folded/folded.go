// Package folded writes a trace's CPU time, and the time of its device work, as folded
// stacks, the input of flame graph tools: one line a stack, "frame;frame;... <int µs>",
// root first. The number is the time in the last frame itself, or that of the device work
// which it launched itself.
//
// Package stacks says what the frames are. In a frame space, ";", tab, newline and what a terminal
// would obey are "_". Equal stacks are one line, lines are sorted, stacks of less than half a
// microsecond in all are left out.
package folded

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
	"github.com/kinetoscope/kinetoscope/trace/stacks"
)

var clean = strings.NewReplacer(" ", "_", ";", "_", "\t", "_", "\n", "_", "\r", "_")

// Write writes the stacks of t's CPU tracks to w.
func Write(w io.Writer, t *trace.Trace) error {
	s := New()
	s.Add("", t)
	return s.Write(w)
}

// WriteDevice writes the stacks that launched device work, with its time. ops are t's.
// Work whose launch is not in the trace stands under its own name.
func WriteDevice(w io.Writer, t *trace.Trace, ops *opstats.Ops) error {
	s := New()
	s.AddDevice("", t, ops)
	return s.Write(w)
}

// Stacks sums the stacks of any number of traces, which need not be kept.
type Stacks struct{ lines map[string]int64 }

// New returns no stacks.
func New() *Stacks { return &Stacks{lines: map[string]int64{}} }

// Add adds the time on t's CPU tracks. root is the frame that all its stacks lie under, "" for none.
func (s *Stacks) Add(root string, t *trace.Trace) {
	f := newFolder(t)
	index := t.Index()
	for id := range t.Tracks {
		if t.Tracks[id].Kind == trace.TrackCPU {
			f.track(index, trace.TrackID(id))
		}
	}
	s.take(root, f)
}

// AddDevice adds the time of t's device work under the stacks that launched it. ops are t's.
func (s *Stacks) AddDevice(root string, t *trace.Trace, ops *opstats.Ops) {
	f := newFolder(t)
	for i, ns := range ops.DeviceTimes() {
		f.add(i, ns)
	}
	s.take(root, f)
}

func (s *Stacks) take(root string, f *folder) {
	if root != "" {
		root = clean.Replace(neutral.Plain(root)) + ";"
	}
	for line, ns := range f.lines() {
		s.lines[root+line] += ns
	}
}

// Len returns the number of stacks.
func (s *Stacks) Len() int { return len(s.lines) }

// Write writes the stacks to w.
func (s *Stacks) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, line := range slices.Sorted(maps.Keys(s.lines)) {
		if us := (s.lines[line] + 500) / 1000; us > 0 {
			b.WriteString(line)
			b.WriteByte(' ')
			b.WriteString(strconv.FormatInt(us, 10))
			b.WriteByte('\n')
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write folded stacks: %w", err)
	}
	return nil
}

// folder sums time by stack.
type folder struct {
	t     *trace.Trace
	tree  *stacks.Tree
	times map[stacks.Node]int64 // ns
}

func newFolder(t *trace.Trace) *folder {
	return &folder{t: t, tree: stacks.New(t), times: map[stacks.Node]int64{}}
}

func (f *folder) track(index *trace.Index, id trace.TrackID) {
	for _, i := range index.Track(id) {
		self := index.Self[i]
		if self == 0 || f.t.Slices.Cat[i] == trace.CatTraceSpan {
			continue
		}
		f.add(int(i), self)
	}
}

// add adds ns to the stack of slice i.
func (f *folder) add(i int, ns int64) { f.times[f.tree.Of(i)] += ns }

// lines returns the time of each line, in ns. Stacks that differ only in what a line
// cannot hold are one.
func (f *folder) lines() map[string]int64 {
	lines := make(map[string]int64, len(f.times))
	var frames []string
	var key []byte
	for n, ns := range f.times {
		frames = f.tree.Stack(frames[:0], n, stacks.MaxFrames)
		key = key[:0]
		for k, frame := range slices.Backward(frames) {
			key = append(key, clean.Replace(neutral.Plain(frame))...)
			if k > 0 {
				key = append(key, ';')
			}
		}
		lines[string(key)] += ns
	}
	return lines
}
