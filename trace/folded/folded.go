// Package folded writes a trace's CPU time, and the time of its device work, as folded
// stacks, the input of flame graph tools: one line a stack, "frame;frame;... <int µs>",
// root first. The number is the time in the last frame itself, or that of the device work
// which it launched itself.
//
// Frames are the slices around a slice on its track, Python frames among them, below
// the call stack that a recording with stacks holds. In a frame space, ";", tab and
// newline are "_"; the number of a profiler step and the address of an object are left
// out, for they would keep what is the same work apart. Equal stacks are one line, lines
// are sorted, stacks of less than half a microsecond in all are left out.
package folded

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

// maxDepth bounds the frames of a line; deeper stacks lose the frames nearest the root.
const maxDepth = 512

var clean = strings.NewReplacer(" ", "_", ";", "_", "\t", "_", "\n", "_", "\r", "_")

// Write writes the stacks of t's CPU tracks to w.
func Write(w io.Writer, t *trace.Trace) error {
	f := folder{t: t, index: t.Index(), names: map[trace.StringID]string{}, lines: map[string]int64{}}
	for id := range t.Tracks {
		if t.Tracks[id].Kind == trace.TrackCPU {
			f.track(trace.TrackID(id))
		}
	}
	return f.write(w)
}

// WriteDevice writes the stacks that launched device work, with its time. ops are t's.
// Work whose launch is not in the trace stands under its own name.
func WriteDevice(w io.Writer, t *trace.Trace, ops *opstats.Ops) error {
	f := folder{t: t, index: t.Index(), names: map[trace.StringID]string{}, lines: map[string]int64{}}
	for i, ns := range ops.DeviceTimes() {
		f.add(int32(i), ns)
	}
	return f.write(w)
}

func (f *folder) write(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, line := range slices.Sorted(maps.Keys(f.lines)) {
		if us := (f.lines[line] + 500) / 1000; us > 0 {
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

type folder struct {
	t      *trace.Trace
	index  *trace.Index
	names  map[trace.StringID]string // as frames
	lines  map[string]int64          // self time, ns
	frames []string
	key    []byte
}

func (f *folder) track(id trace.TrackID) {
	for _, i := range f.index.Track(id) {
		self := f.index.Self[i]
		if self == 0 || f.t.Slices.Cat[i] == trace.CatTraceSpan {
			continue
		}
		f.add(int32(i), self)
	}
}

// add adds ns to the stack of slice i.
func (f *folder) add(i int32, ns int64) {
	f.stack(i)
	f.key = f.key[:0]
	for k, frame := range slices.Backward(f.frames) {
		f.key = append(f.key, frame...)
		if k > 0 {
			f.key = append(f.key, ';')
		}
	}
	f.lines[string(f.key)] += ns
}

// stack sets f.frames to the frames of slice i, innermost first.
func (f *folder) stack(i int32) {
	f.frames = f.frames[:0]
	for p := i; p != trace.NoParent && len(f.frames) < maxDepth; p = f.index.Parent[p] {
		f.frames = append(f.frames, f.name(f.t.Slices.Name[p]))
	}
	text, ok := f.t.ArgText(int(i), "Call stack")
	if !ok {
		return
	}
	for frame := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if len(f.frames) == maxDepth {
			return
		}
		f.frames = append(f.frames, clean.Replace(common(strings.TrimSpace(frame))))
	}
}

var (
	stepNumber = regexp.MustCompile(`^(ProfilerStep)#\d+$`)
	address    = regexp.MustCompile(` at 0x[0-9a-fA-F]+`)
)

// common is what a frame has in common with others of the same work.
func common(frame string) string {
	if strings.HasPrefix(frame, "ProfilerStep#") {
		return stepNumber.ReplaceAllString(frame, "$1")
	}
	if strings.Contains(frame, " at 0x") {
		return address.ReplaceAllString(frame, "")
	}
	return frame
}

func (f *folder) name(id trace.StringID) string {
	s, ok := f.names[id]
	if !ok {
		s = clean.Replace(common(strings.ToValidUTF8(f.t.String(id), "\uFFFD")))
		if s == "" {
			s = "unnamed"
		}
		f.names[id] = s
	}
	return s
}
