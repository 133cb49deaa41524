package order

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestBy(t *testing.T) {
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
		By(rows, less)
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

// ByKey keeps the order of equal keys, by whichever way it sorts.
func TestByKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.Int64Range(-3, 100), 0, 100).Draw(rt, "keys")
		for range rapid.IntRange(0, 4).Draw(rt, "long runs") {
			at := rapid.Int64Range(-1<<40, 1<<40).Draw(rt, "first")
			for i := range rapid.Int64Range(200, 900).Draw(rt, "length") {
				keys = append(keys, at+i/2)
			}
		}
		rows, want := make([]int32, len(keys)), make([]int32, len(keys))
		for i := range rows {
			rows[i], want[i] = int32(i), int32(i)
		}
		slices.SortStableFunc(want, func(a, b int32) int { return cmp.Compare(keys[a], keys[b]) })
		if ByKey(rows, func(r int32) int64 { return keys[r] }); !slices.Equal(rows, want) {
			rt.Fatalf("rows %v, want %v", rows, want)
		}
	})
}
