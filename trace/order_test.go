package trace

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSortRuns(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.Int64Range(0, 100), 0, 100).Draw(rt, "keys")
		for range rapid.IntRange(0, 5).Draw(rt, "long runs") {
			at := rapid.Int64Range(-50, 200).Draw(rt, "first")
			for i := range rapid.Int64Range(50, 300).Draw(rt, "length") {
				keys = append(keys, at+i/2)
			}
		}
		less := func(a, b uint32) bool { return keys[a] < keys[b] || keys[a] == keys[b] && a < b }
		rows := make([]uint32, len(keys))
		for i := range rows {
			rows[i] = uint32(i)
		}
		sortRuns(rows, less)
		for i := 1; i < len(rows); i++ {
			if !less(rows[i-1], rows[i]) {
				rt.Fatalf("row %d after %d: keys %v", rows[i], rows[i-1], keys)
			}
		}
		slices.Sort(rows)
		for i, r := range rows {
			if r != uint32(i) {
				rt.Fatalf("row %d lost", i)
			}
		}
	})
}
