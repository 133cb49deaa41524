package most

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestFirst: the answer is that of sorting all.
func TestFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(rapid.IntRange(0, 50), 0, 60).Draw(rt, "list")
		n := rapid.IntRange(0, 12).Draw(rt, "n")
		want := slices.Sorted(slices.Values(list))
		if n > 0 {
			want = want[:min(n, len(want))]
		}
		if got := First(slices.Clone(list), n, cmp.Compare[int]); !slices.Equal(got, want) {
			rt.Fatalf("%v, want %v", got, want)
		}
	})
}

// TestFirstCompares: what is not among the first is compared once or little more.
func TestFirstCompares(t *testing.T) {
	list := make([]int, 100_000)
	for i := range list {
		list[i] = i * 7919 % len(list)
	}
	compared := 0
	First(list, 20, func(a, b int) int { compared++; return cmp.Compare(a, b) })
	if compared > 2*len(list) {
		t.Errorf("%d comparisons of %d", compared, len(list))
	}
}
