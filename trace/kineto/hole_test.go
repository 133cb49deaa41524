package kineto

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestHoles puts zero bytes, as a full disk leaves them, at every place of events of every kind: what has them inside
// is no event, and no other is lost.
func TestHoles(t *testing.T) {
	events := []string{
		`{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": "t", "ts": 1.5, "dur": 2, "args": {"External id": 12345, "k": ["x", 1]}}`,
		`{"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": "t", "ts": 2.5, "dur": 2, "args": {"External id": 12346, "k": ["x", 1]}}`,
		`{"ph": "X", "odd": {"a": ["x", {"b": 1}]}, "name": "b", "more": "text", "pid": 1, "tid": 2, "ts": "5", "dur": 2}`,
		`{"ph": "X", "name": ["x"], "pid": [1], "tid": {}, "ts": 7, "dur": 2}`,
		`{"ph": "X", "cat": ["c"], "name": "c", "id": "0x12", "pid": "1", "tid": 2, "ts": 9, "dur": 2, "args": {}}`,
	}
	var list [][]byte
	for range 3 { // so that layouts and templates are known too
		for _, e := range events {
			list = append(list, []byte(e))
		}
	}
	read := func(list [][]byte) int {
		text := slices.Concat([]byte(`{"traceEvents": [`), bytes.Join(list, []byte(", ")), []byte("]}"))
		return mustRead(t, bytes.NewReader(text), Options{Workers: 1}).Slices.Len()
	}
	want := read(list)
	if want < len(list)-3 {
		t.Fatalf("%d of %d events are slices", want, len(list))
	}
	for k, e := range list {
		own := want - read(slices.Delete(slices.Clone(list), k, k+1)) // none for one that is not read anyway
		for at := 1; at < len(e); at++ {
			bad := slices.Clone(list)
			bad[k] = slices.Concat(e[:at], hole, e[at:])
			if got := read(bad); got != want-own {
				t.Errorf("%d slices, %d expected: zeros after %s", got, want-own, strings.TrimSpace(string(e[:at])))
			}
		}
	}
}
