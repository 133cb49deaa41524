package finding

import (
	"strings"
	"testing"
)

// TestTail: one step in a hundred is told of a hundred steps or more; of fewer the slowest, which was one of them.
func TestTail(t *testing.T) {
	for _, c := range []struct {
		tail Tail
		want string // "" for nothing
	}{
		{Tail{"decode step", 19, 1e6, 9e6, 10e6}, ""},
		{Tail{"decode step", 100, 1e6, 2.9e6, 10e6}, ""},
		{Tail{"decode step", 20, 1e6, 81e6, 100e6},
			"the slowest of 20 decode steps takes 100 ms, 100.0 times the median of 1.00 ms"},
		{Tail{"step", 100, 1e6, 5e6, 10e6}, "one step in a hundred takes 5.00 ms or more, 5.0 times the median of 1.00 ms"},
	} {
		got, ratio, ok := c.tail.Text()
		if ok != (c.want != "") || !strings.HasPrefix(got, c.want) || ok && ratio < tailRatio {
			t.Errorf("%+v: %q, %v", c.tail, got, ratio)
		}
	}
}
