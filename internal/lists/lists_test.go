package lists_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/internal/lists"
)

// TestDoubled: a list keeps what it holds, and is moved as often as its length doubles.
func TestDoubled(t *testing.T) {
	var list []int
	moves, room := 0, 0
	for i := range 1 << 16 {
		list = append(lists.Doubled(list), i)
		if cap(list) != room {
			moves, room = moves+1, cap(list)
		}
	}
	for i, v := range list {
		if v != i {
			t.Fatalf("element %d is %d", i, v)
		}
	}
	if moves > 17 {
		t.Errorf("a list of %d was moved %d times", len(list), moves)
	}
}

// TestGrouped: each group has its rows in their order, and appending to one leaves the others.
func TestGrouped(t *testing.T) {
	got := lists.Grouped([]int{5, 1, 4, 8, 2, 7}, 4, func(n int) int { return n % 3 })
	got[1] = append(got[1], 10)
	if d := cmp.Diff([][]int{{}, {1, 4, 7, 10}, {5, 8, 2}, {}}, got); d != "" {
		t.Error(d)
	}
	if got := lists.Grouped(nil, 0, func(int) int { return 0 }); len(got) != 0 {
		t.Error(got)
	}
}

// TestSink: elements taken from a heap come in order, whatever the order in which they were put there.
func TestSink(t *testing.T) {
	less := func(a, b *int) bool { return *a < *b }
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		heap := rnd.Perm(n)
		for i := n/2 - 1; i >= 0; i-- {
			lists.Sink(heap, i, less)
		}
		for want := range n {
			if heap[0] != want {
				t.Fatalf("of %d: %d comes first, want %d", n, heap[0], want)
			}
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
			lists.Sink(heap, 0, less)
		}
	}
}
