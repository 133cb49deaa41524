package analysis

import (
	"cmp"
	"slices"
)

// sortByKey orders rows so that key grows and equal keys keep their order. It is a
// radix sort over the bytes in which keys differ: rows of a trace lie within seconds,
// so four to five passes suffice where a comparison sort takes twenty.
func sortByKey(rows []int32, key func(int32) int64) {
	n := len(rows)
	if n < 2 {
		return
	}
	ks := make([]uint64, n)
	lo, sorted := key(rows[0]), true
	prev := lo
	for i, r := range rows {
		k := key(r)
		ks[i] = uint64(k)
		if k < prev {
			sorted = false
		}
		prev = k
		lo = min(lo, k)
	}
	if sorted {
		return
	}
	var all uint64
	for i := range ks {
		ks[i] -= uint64(lo)
		all |= ks[i]
	}
	if n < 64 {
		insertionSort(rows, ks)
		return
	}
	const bits = 11
	tmpR, tmpK := make([]int32, n), make([]uint64, n)
	src, dst, sk, dk := rows, tmpR, ks, tmpK
	for shift := 0; shift < 64 && all>>shift != 0; shift += bits {
		var count [1 << bits]int
		for _, k := range sk {
			count[k>>shift&(1<<bits-1)]++
		}
		sum := 0
		for d := range count {
			count[d], sum = sum, sum+count[d]
		}
		for i, k := range sk {
			d := k >> shift & (1<<bits - 1)
			dst[count[d]], dk[count[d]] = src[i], k
			count[d]++
		}
		src, dst, sk, dk = dst, src, dk, sk
	}
	if &src[0] != &rows[0] {
		copy(rows, src)
	}
}

func insertionSort(rows []int32, ks []uint64) {
	for i := 1; i < len(rows); i++ {
		r, k := rows[i], ks[i]
		j := i
		for ; j > 0 && ks[j-1] > k; j-- {
			rows[j], ks[j] = rows[j-1], ks[j-1]
		}
		rows[j], ks[j] = r, k
	}
}

// sortDesc orders v by key, largest first, keeping the order of equals.
func sortDesc[T any](v []T, key func(T) int64) {
	slices.SortStableFunc(v, func(a, b T) int { return cmp.Compare(key(b), key(a)) })
}

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
