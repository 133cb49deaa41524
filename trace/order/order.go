// Package order sorts the rows of a trace, which mostly come in a few ascending runs: these are
// merged, whoever sorts.
package order

import (
	"math"
	"slices"
)

// ByKey orders rows so that key grows and equal keys keep their order. Rows of a
// trace mostly come in a few ascending runs, which are merged; else it is a radix sort
// over the bytes in which keys differ: rows of a trace lie within seconds, so four to
// five passes suffice where a comparison sort takes twenty.
func ByKey(rows []int32, key func(int32) int64) {
	n := len(rows)
	if ascending(rows, key) {
		return
	}
	runs := 1
	ks := make([]int64, n)
	lo, prev := key(rows[0]), key(rows[0])
	for i, r := range rows {
		k := key(r)
		ks[i] = k
		if k < prev {
			runs++
		}
		prev = k
		lo = min(lo, k)
	}
	switch {
	case n < 64:
		insertionSort(rows, ks)
	case runs <= n/minRun:
		mergeKeyed(rows, ks, runs)
	default:
		radixSort(rows, ks, lo)
	}
}

// ascending reports whether the rows are in order, which costs no memory to find.
func ascending(rows []int32, key func(int32) int64) bool {
	prev := int64(math.MinInt64)
	for _, r := range rows {
		k := key(r)
		if k < prev {
			return false
		}
		prev = k
	}
	return true
}

// minRun is the mean length of runs from which on merging them beats the radix sort.
const minRun = 256

// keyed is a row with its key.
type keyed struct {
	key int64
	row int32
}

// mergeKeyed merges the ascending runs of ks, of which there are so many.
func mergeKeyed(rows []int32, ks []int64, runs int) {
	ends := make([]int, 0, runs)
	list := make([]keyed, len(rows))
	for i, r := range rows {
		if list[i] = (keyed{ks[i], r}); i > 0 && ks[i] < ks[i-1] {
			ends = append(ends, i)
		}
	}
	mergeRuns(list, append(ends, len(rows)), func(a, b keyed) bool { return a.key < b.key })
	for i, x := range list {
		rows[i] = x.row
	}
}

// radixSort sorts by ks, none of which is below lo, and spoils them.
func radixSort(rows []int32, ks []int64, lo int64) {
	n := len(rows)
	var all uint64
	for i := range ks {
		ks[i] -= lo // as uint64 no less than 0, even where int64 is passed
		all |= uint64(ks[i])
	}
	const bits = 11
	sk, dk := ks, make([]int64, n)
	src, dst := rows, make([]int32, n)
	for shift := 0; shift < 64 && all>>shift != 0; shift += bits {
		var count [1 << bits]int
		for _, k := range sk {
			count[uint64(k)>>shift&(1<<bits-1)]++
		}
		sum := 0
		for d := range count {
			count[d], sum = sum, sum+count[d]
		}
		for i, k := range sk {
			d := uint64(k) >> shift & (1<<bits - 1)
			dst[count[d]], dk[count[d]] = src[i], k
			count[d]++
		}
		src, dst, sk, dk = dst, src, dk, sk
	}
	if &src[0] != &rows[0] {
		copy(rows, src)
	}
}

// fewFloats is the number of floats below which a comparison sort is as fast.
const fewFloats = 1024

// Floats sorts v as slices.Sort does, but for many numbers in a pass for each 11 bits in which they
// differ.
func Floats(v []float64) {
	if len(v) < fewFloats || slices.IsSorted(v) || slices.ContainsFunc(v, func(x float64) bool { return x != x }) {
		slices.Sort(v)
		return
	}
	src, dst := make([]uint64, len(v)), make([]uint64, len(v))
	differ := uint64(0)
	for i, x := range v {
		if x == 0 {
			x = 0 // -0 and 0 are equal
		}
		u := math.Float64bits(x)
		if u>>63 == 1 { // negative ones grow with their bits the other way round
			u = ^u
		} else {
			u |= 1 << 63
		}
		src[i] = u
		differ |= u ^ src[0]
	}
	const bits = 11
	for shift := 0; shift < 64; shift += bits {
		if differ>>shift&(1<<bits-1) == 0 {
			continue
		}
		var count [1 << bits]int
		for _, u := range src {
			count[u>>shift&(1<<bits-1)]++
		}
		sum := 0
		for d := range count {
			count[d], sum = sum, sum+count[d]
		}
		for _, u := range src {
			d := u >> shift & (1<<bits - 1)
			dst[count[d]] = u
			count[d]++
		}
		src, dst = dst, src
	}
	for i, u := range src {
		if u>>63 == 1 {
			u &^= 1 << 63
		} else {
			u = ^u
		}
		v[i] = math.Float64frombits(u)
	}
}

func insertionSort(rows []int32, ks []int64) {
	for i := 1; i < len(rows); i++ {
		r, k := rows[i], ks[i]
		j := i
		for ; j > 0 && ks[j-1] > k; j-- {
			rows[j], ks[j] = rows[j-1], ks[j-1]
		}
		rows[j], ks[j] = r, k
	}
}
