package analysis

import (
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// tree is a view.Tree.
type tree struct {
	order  []int32 // slices in pre-order, one track after the other
	parent []int32 // per slice of the trace: enclosing slice in the tree, -1 if none
}

// nest builds the tree of the host slices that in accepts; see view.Nest.
func (f *frame) nest(in func(int32) bool) *tree {
	t := view.Nest(f.tr, f.start, f.dur, func(i int32) bool { return f.counts(i) && f.onHost(i) && in(i) })
	return &tree{t.Order, t.Parent}
}

// walk calls enter and leave for every slice of the tree, as calls and returns would come.
func (t *tree) walk(enter, leave func(i int32)) {
	(&view.Tree{Order: t.order, Parent: t.parent}).Walk(enter, leave)
}

// onHost says whether i is no work of a device, which laneOf says too once it is there.
func (f *frame) onHost(i int32) bool {
	if f.rules.RowsByStream {
		return f.laneOf[i] < 0
	}
	return !isDeviceWork(f.tr.Slices.Cat[i])
}

// calls returns the tree of operators, annotations and runtime calls, built once.
func (f *frame) calls() *tree {
	f.callsOnce.Do(func() { f.callTree = f.nest(f.hostWork) })
	return f.callTree
}

// isHostOp says whether a category is an operator or an annotation of the program.
func isHostOp(c trace.Category) bool { return c == trace.CatCPUOp || c == trace.CatUserAnnotation }

// hostWork accepts operators, annotations and runtime calls.
func (f *frame) hostWork(i int32) bool {
	c := f.tr.Slices.Cat[i]
	return isHostOp(c) || isRuntime(c)
}
