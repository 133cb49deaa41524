package driver

import "testing"

func TestEventsAreCountedAcrossWrites(t *testing.T) {
	b := []byte(
		`{"traceEvents": [{"ph": "M", "name": "process_name"}, {"ph": "X", "cat": "cpu_op"}, {"ph": "X", "ts": 1}]}`)
	for _, n := range []int{1, 3, 7, len(b)} {
		var c EventCounter
		for rest := b; len(rest) > 0; {
			k := min(n, len(rest))
			if _, err := c.Write(rest[:k]); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		if c.N != 2 {
			t.Errorf("in pieces of %d: %d events, want 2", n, c.N)
		}
	}
	var c EventCounter
	_, _ = c.Write([]byte(`""ph": "X" "p"ph": "M" "ph": "i"`))
	if c.N != 2 {
		t.Errorf("%d events, want 2", c.N)
	}
}
