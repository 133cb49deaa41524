package align

import (
	"container/heap"
	"iter"
)

// Merge yields the elements of all sequences by ascending time; elements of equal time
// by the number of their sequence, so the order is the same every time. Each sequence
// must be in order of time. Merge holds one element of each sequence and reads each
// once; it stops reading when the consumer stops.
func Merge[T any](time func(T) int64, seqs ...iter.Seq[T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		h := mergeHeap[T]{heads: make([]head[T], 0, len(seqs))}
		defer func() {
			for _, s := range h.heads {
				s.stop()
			}
		}()
		for i, s := range seqs {
			next, stop := iter.Pull(s)
			v, ok := next()
			if !ok {
				stop()
				continue
			}
			h.heads = append(h.heads, head[T]{time(v), i, v, next, stop})
		}
		heap.Init(&h)
		for len(h.heads) > 0 {
			first := &h.heads[0]
			if !yield(first.value) {
				return
			}
			v, ok := first.next()
			if !ok {
				first.stop()
				heap.Pop(&h)
				continue
			}
			first.time, first.value = time(v), v
			heap.Fix(&h, 0)
		}
	}
}

// head is the next element of a sequence.
type head[T any] struct {
	time  int64
	seq   int
	value T
	next  func() (T, bool)
	stop  func()
}

type mergeHeap[T any] struct{ heads []head[T] }

func (h *mergeHeap[T]) Len() int { return len(h.heads) }

func (h *mergeHeap[T]) Less(a, b int) bool {
	x, y := &h.heads[a], &h.heads[b]
	return x.time < y.time || x.time == y.time && x.seq < y.seq
}

func (h *mergeHeap[T]) Swap(a, b int) { h.heads[a], h.heads[b] = h.heads[b], h.heads[a] }

func (h *mergeHeap[T]) Push(v any) { h.heads = append(h.heads, v.(head[T])) }

func (h *mergeHeap[T]) Pop() any {
	last := h.heads[len(h.heads)-1]
	h.heads = h.heads[:len(h.heads)-1]
	return last
}
