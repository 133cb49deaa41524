// Package stacks holds the calling contexts of a trace as a tree: a node stands for a
// frame and all that called it. Folded stacks, pprof profiles, speedscope files and flame
// graphs are views of it, so that one stack is the same stack in all of them.
//
// Frames are the slices around a slice on its track, Python frames among them, below the
// call stack that a recording with stacks holds. The number of a profiler step and the
// address of an object are left out of a frame's name, for they would keep what is the same
// work apart. A slice without a call stack of its own stands under that of the slice
// around it.
package stacks

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Unnamed is the frame of a slice whose name is empty.
const Unnamed = "unnamed"

// MaxFrames bounds the frames of a stack in a written file; deeper stacks lose the frames nearest the
// root.
const MaxFrames = 512

// Node is a stack of a Tree. Root, the empty stack, is the caller of every outermost frame.
type Node int32

// Root is the empty stack.
const Root Node = 0

// Tree is the calling contexts of one trace. It grows as it is asked and belongs to one
// goroutine.
type Tree struct {
	t     *trace.Trace
	index *trace.Index

	frames  []string         // by frame number
	numbers map[string]int32 // of a frame's text
	names   map[trace.StringID]int32
	nodes   []node
	child   map[node]Node
	of      []Node          // by slice; Root: not asked for yet
	called  map[string]Node // by the text of a call stack
	chain   []int32         // scratch: slices from the one asked for outwards
}

// node is a frame under a caller.
type node struct {
	caller Node
	frame  int32
}

// New returns the tree of t, which must not change any more.
func New(t *trace.Trace) *Tree {
	return &Tree{
		t: t, index: t.Index(), numbers: map[string]int32{}, names: map[trace.StringID]int32{},
		nodes: make([]node, 1), child: map[node]Node{}, of: make([]Node, t.Slices.Len()), called: map[string]Node{},
	}
}

// Len returns the number of nodes so far, Root among them. Nodes are numbered from 0, a
// caller before what it calls.
func (x *Tree) Len() int { return len(x.nodes) }

// Caller returns the stack without its innermost frame; Root's is Root.
func (x *Tree) Caller(n Node) Node { return x.nodes[n].caller }

// Frame returns the name of the innermost frame; n must not be Root.
func (x *Tree) Frame(n Node) string { return x.frames[x.nodes[n].frame] }

// FrameNumber returns a number from 0 that two nodes share if their innermost frames have
// one name; n must not be Root.
func (x *Tree) FrameNumber(n Node) int { return int(x.nodes[n].frame) }

// Frames returns the names of all frames so far, by FrameNumber. The caller must not
// change them.
func (x *Tree) Frames() []string { return x.frames }

// Stack appends the frames of n to dst, innermost first, at most limit of them, and
// returns it.
func (x *Tree) Stack(dst []string, n Node, limit int) []string {
	for ; n != Root && limit > 0; n, limit = x.Caller(n), limit-1 {
		dst = append(dst, x.Frame(n))
	}
	return dst
}

// Called returns the stack of a frame that n called; frame is a slice's name.
func (x *Tree) Called(n Node, frame string) Node {
	return x.step(n, x.number(strings.ToValidUTF8(frame, "\uFFFD")))
}

// Of returns the stack of slice i, whose innermost frame is i itself.
func (x *Tree) Of(i int) Node {
	x.chain = x.chain[:0]
	p := int32(i)
	for p != trace.NoParent && x.of[p] == Root {
		x.chain = append(x.chain, p)
		p = x.index.Parent[p]
	}
	at := Root
	if p != trace.NoParent {
		at = x.of[p]
	}
	for k := len(x.chain) - 1; k >= 0; k-- {
		s := x.chain[k]
		if text, ok := x.t.ArgText(int(s), "Call stack"); ok {
			at = x.under(x.callStack(text), s)
		} else {
			at = x.step(at, x.name(x.t.Slices.Name[s]))
		}
		x.of[s] = at
	}
	return x.of[i]
}

// under returns the stack of slice s, with the slices around it, called from at. Slices
// with call stacks of their own are rare enough that their surroundings are walked again.
func (x *Tree) under(at Node, s int32) Node {
	var around []int32
	for p := s; p != trace.NoParent && len(around) < maxAround; p = x.index.Parent[p] {
		around = append(around, x.name(x.t.Slices.Name[p]))
	}
	for k := len(around) - 1; k >= 0; k-- {
		at = x.step(at, around[k])
	}
	return at
}

// maxAround bounds the slices around one with a call stack of its own; deeper nesting loses
// those nearest the root, so that the work stays linear in the number of slices.
const maxAround = 512

// callStack returns the node of a call stack's text: frames innermost first, parted by
// ";" or newlines.
func (x *Tree) callStack(text string) Node {
	at, ok := x.called[text]
	if ok {
		return at
	}
	frames := strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' })
	for k := min(len(frames), maxAround) - 1; k >= 0; k-- {
		at = x.step(at, x.number(strings.TrimSpace(frames[k])))
	}
	x.called[text] = at
	return at
}

// step returns the node of frame called from at.
func (x *Tree) step(at Node, frame int32) Node {
	key := node{at, frame}
	n, ok := x.child[key]
	if !ok {
		n = Node(len(x.nodes))
		x.nodes = append(x.nodes, key)
		x.child[key] = n
	}
	return n
}

func (x *Tree) name(id trace.StringID) int32 {
	n, ok := x.names[id]
	if !ok {
		n = x.number(strings.ToValidUTF8(x.t.String(id), "\uFFFD"))
		x.names[id] = n
	}
	return n
}

// number returns the number of the frame with this text.
func (x *Tree) number(text string) int32 {
	if text = trace.CommonName(text); text == "" {
		text = Unnamed
	}
	n, ok := x.numbers[text]
	if !ok {
		n = int32(len(x.frames))
		x.frames = append(x.frames, text)
		x.numbers[text] = n
	}
	return n
}

// pythonFrame is a frame as torch's profiler names Python functions.
var pythonFrame = regexp.MustCompile(`^(.+)\((\d+)\): (.+)$`)

// Source splits the name of a Python frame, "file.py(12): forward", into function, file and
// line. Any other frame is all name, with file "" and line 0.
func Source(frame string) (name, file string, line int64) {
	if !strings.Contains(frame, "): ") {
		return frame, "", 0
	}
	m := pythonFrame.FindStringSubmatch(frame)
	if m == nil {
		return frame, "", 0
	}
	line, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return frame, "", 0
	}
	return m[3], m[1], line
}
