package coll

import "testing"

// BenchmarkMatch matches 100,000 collectives of eight ranks without numbers.
func BenchmarkMatch(b *testing.B) {
	r := newRun(8)
	groups := [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2, 4, 6}, {1, 3, 5, 7}}
	for k := range int64(100_000) / 3 {
		r.call("g", groups[k%6], "allreduce", 1<<20, 100*k, 80, k%13, k%7, k%5, k%3)
	}
	for _, noNumbers := range []bool{false, true} {
		name := "numbers"
		if noNumbers {
			r.change(noSeq)
			name = "order"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Match(r.ranks)
			}
		})
	}
}
