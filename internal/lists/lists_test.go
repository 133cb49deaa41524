package lists_test

import (
	"testing"

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
