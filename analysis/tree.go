package analysis

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// nestToleranceNs is by how much a child may outlast its parent and stay its child:
// two clocks' rounding, seen as 1 to 2 ns in files with nanoseconds. A slice that
// reaches over by more is taken as a sibling.
const nestToleranceNs = 1000

// tree nests the slices of host threads by time.
type tree struct {
	order  []int32 // slices in pre-order, one track after the other
	parent []int32 // per slice of the trace: enclosing slice in the tree, -1 if none
}

// nest builds the tree of the host slices that in accepts. Among slices of one start
// the longer encloses the shorter; equal ones nest in file order. A slice without
// length at the end of another is inside it unless something begins there.
func (f *frame) nest(in func(int32) bool) *tree {
	s := &f.tr.Slices
	n := int32(s.Len())
	t := &tree{parent: filled(int(n))}
	first := make([]int32, len(f.tr.Tracks)+1) // where each track begins in order
	var rows []int32
	for i := range n {
		if f.counts(i) && f.onHost(i) && in(i) {
			rows = append(rows, i)
			first[s.Track[i]+1]++
		}
	}
	for k := 1; k < len(first); k++ {
		first[k] += first[k-1]
	}
	t.order = make([]int32, len(rows))
	next := slices.Clone(first)
	for _, i := range rows {
		t.order[next[s.Track[i]]] = i
		next[s.Track[i]]++
	}
	parallel(len(f.tr.Tracks), func(k int) {
		rows := t.order[first[k]:first[k+1]]
		f.sortCalls(rows)
		var stack []int32
		for _, i := range rows {
			for len(stack) > 0 && !f.encloses(stack[len(stack)-1], i) {
				stack = stack[:len(stack)-1]
			}
			if len(stack) > 0 {
				t.parent[i] = stack[len(stack)-1]
			}
			stack = append(stack, i)
		}
	})
	return t
}

// onHost says whether i is no work of a device, which laneOf says too once it is there.
func (f *frame) onHost(i int32) bool {
	if f.opt.HTA {
		return f.laneOf[i] < 0
	}
	return !isDeviceWork(f.tr.Slices.Cat[i])
}

// sortCalls orders the slices of one track by start, the longer first.
func (f *frame) sortCalls(rows []int32) {
	s := &f.tr.Slices
	sortByKey(rows, func(i int32) int64 { return f.start[i] })
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && f.start[rows[j]] == f.start[rows[i]] {
			j++
		}
		if j-i > 1 {
			// Slices that a window cut on both sides are told apart by what they were.
			slices.SortStableFunc(rows[i:j], func(a, b int32) int {
				return cmp.Or(cmp.Compare(f.dur[b], f.dur[a]), cmp.Compare(s.Start[a], s.Start[b]), cmp.Compare(s.Dur[b], s.Dur[a]))
			})
		}
		i = j
	}
}

// encloses says whether i, which does not start before p, lies in p.
func (f *frame) encloses(p, i int32) bool {
	pe := f.end(p)
	if pe < f.start[i] || pe == f.start[i] && f.dur[i] > 0 {
		return false
	}
	return f.end(i) <= pe+nestToleranceNs
}

// walk calls enter and leave for every slice of the tree, as calls and returns would
// come.
func (t *tree) walk(enter, leave func(i int32)) {
	var stack []int32
	for _, i := range t.order {
		for len(stack) > 0 && stack[len(stack)-1] != t.parent[i] {
			leave(stack[len(stack)-1])
			stack = stack[:len(stack)-1]
		}
		enter(i)
		stack = append(stack, i)
	}
	for k := len(stack) - 1; k >= 0; k-- {
		leave(stack[k])
	}
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
