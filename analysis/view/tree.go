package view

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// CallOverrunNs is how long, in ns, after its caller a call may end and still be its child. Files
// in whole microseconds round begin and duration down separately, so a child can seem to end a
// microsecond after its parent. A slice that ends later is a sibling.
//
// trace.NestTolerance is smaller and answers another question: an Index says what a viewer draws
// inside what, and there a child that ends a microsecond late would be visible.
const CallOverrunNs = 1000

// Tree nests the slices of threads by time.
type Tree struct {
	Order  []int32 // slices in pre-order, one track after the other
	Parent []int32 // per slice of the trace: enclosing slice in the tree, None if there is none
}

// Nest builds the tree of the host slices that in accepts; see the function Nest.
func (v *View) Nest(in func(int32) bool) *Tree {
	s := &v.Trace.Slices
	return Nest(v.Trace, v.Start, v.Dur, func(i int32) bool { return v.Counts(i) && !s.Cat[i].Busy() && in(i) })
}

// Nest builds the tree of the slices of t that in accepts, with the times start and dur. Of slices
// with the same start the longer encloses the shorter; equal ones nest in file order. A slice
// without length at the end of another is inside it, unless another slice begins there.
func Nest(t *trace.Trace, start, dur []int64, in func(int32) bool) *Tree {
	s := &t.Slices
	n := int32(s.Len())
	out := &Tree{Parent: make([]int32, n)}
	first := make([]int32, len(t.Tracks)+1) // where each track begins in Order
	taken := make([]uint64, n/64+1)         // a bit for each slice that in accepts
	rows := 0
	for i := range n {
		out.Parent[i] = None
		if in(i) {
			taken[i/64] |= 1 << (i % 64)
			rows++
			first[s.Track[i]+1]++
		}
	}
	for k := 1; k < len(first); k++ {
		first[k] += first[k-1]
	}
	out.Order = make([]int32, rows)
	next := slices.Clone(first)
	for w, bit := range taken {
		for ; bit != 0; bit &= bit - 1 {
			i := int32(64*w + bits.TrailingZeros64(bit))
			out.Order[next[s.Track[i]]] = i
			next[s.Track[i]]++
		}
	}
	c := nester{t, start, dur}
	cores.Each(len(t.Tracks), func(k int) {
		var stack []int32
		rows := out.Order[first[k]:first[k+1]]
		c.sort(rows)
		for _, i := range rows {
			for len(stack) > 0 && !c.encloses(stack[len(stack)-1], i) {
				stack = stack[:len(stack)-1]
			}
			if len(stack) > 0 {
				out.Parent[i] = stack[len(stack)-1]
			}
			stack = append(stack, i)
		}
	})
	return out
}

// nester holds the times by which slices nest.
type nester struct {
	t          *trace.Trace
	start, dur []int64
}

// sort orders the slices of one track by start, the longer first.
func (c *nester) sort(rows []int32) {
	s := &c.t.Slices
	order.ByKey(rows, func(i int32) int64 { return c.start[i] })
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && c.start[rows[j]] == c.start[rows[i]] {
			j++
		}
		if j-i > 1 {
			// Slices that a window cut on both sides are ordered by their uncut times.
			slices.SortStableFunc(rows[i:j], func(a, b int32) int {
				return cmp.Or(cmp.Compare(c.dur[b], c.dur[a]), cmp.Compare(s.Start[a], s.Start[b]),
					cmp.Compare(s.Dur[b], s.Dur[a]))
			})
		}
		i = j
	}
}

// encloses reports whether i, which does not start before p, lies in p.
func (c *nester) encloses(p, i int32) bool {
	pe := c.start[p] + c.dur[p]
	if pe < c.start[i] || pe == c.start[i] && c.dur[i] > 0 {
		return false
	}
	return c.start[i]+c.dur[i] <= pe+CallOverrunNs
}

// Walk calls enter and leave for every slice of the tree, in the order of calls and returns.
func (t *Tree) Walk(enter, leave func(i int32)) {
	var stack []int32
	for _, i := range t.Order {
		for len(stack) > 0 && stack[len(stack)-1] != t.Parent[i] {
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
