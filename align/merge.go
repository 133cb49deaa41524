package align

import (
	"iter"

	"github.com/kinetoscope/kinetoscope/internal/lists"
)

// mergeBatch is how many elements of a sequence are read at once: a change between the merger and
// a sequence costs as much as a few elements do.
const mergeBatch = 128

// Merge yields the elements of all sequences by ascending time; elements of equal time
// by the number of their sequence, so the order is the same every time. Each sequence
// must be in order of time. Merge holds mergeBatch elements of each sequence at most and
// reads each once; it stops reading when the consumer stops.
func Merge[T any](time func(T) int64, seqs ...iter.Seq[T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		h := mergeHeap[T]{heads: make([]head[T], 0, len(seqs)), time: time}
		defer func() {
			for _, s := range h.heads {
				s.stop()
			}
		}()
		for i, s := range seqs {
			next, stop := iter.Pull(batches(s))
			x := head[T]{seq: i, next: next, stop: stop}
			if !h.read(&x) {
				stop()
				continue
			}
			h.heads = append(h.heads, x)
		}
		for i := len(h.heads)/2 - 1; i >= 0; i-- {
			lists.Sink(h.heads, i, before)
		}
		for len(h.heads) > 0 {
			first := &h.heads[0]
			v := first.rest[0]
			first.rest = first.rest[1:]
			if !yield(v) {
				return
			}
			if !h.read(first) {
				first.stop()
				last := len(h.heads) - 1
				h.heads[0] = h.heads[last]
				h.heads = h.heads[:last]
			}
			lists.Sink(h.heads, 0, before)
		}
	}
}

// batches yields the elements of s some at a time. What it yields holds until the next are asked for.
func batches[T any](s iter.Seq[T]) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		var batch []T // grows: a trace may have a sequence for each of its events
		for v := range s {
			if batch = append(batch, v); len(batch) == mergeBatch {
				if !yield(batch) {
					return
				}
				batch = batch[:0]
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// head is the beginning of what has not been merged of a sequence.
type head[T any] struct {
	time int64 // of rest[0]
	seq  int
	rest []T
	next func() ([]T, bool)
	stop func()
}

// mergeHeap has the head that comes first at its root.
type mergeHeap[T any] struct {
	heads []head[T]
	time  func(T) int64
}

// read makes x begin with its next element, and returns false if it has none.
func (h *mergeHeap[T]) read(x *head[T]) bool {
	if len(x.rest) == 0 {
		var ok bool
		if x.rest, ok = x.next(); !ok {
			return false
		}
	}
	x.time = h.time(x.rest[0])
	return true
}

// before orders two heads.
func before[T any](x, y *head[T]) bool {
	return x.time < y.time || x.time == y.time && x.seq < y.seq
}
