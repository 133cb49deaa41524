// Package order sorts the rows of a trace by a key that is cheap to compute.
package order

import "slices"

// ByKey orders rows so that key grows and equal keys keep their order. Rows of a
// trace mostly come in a few ascending runs, which are merged; else it is a radix sort
// over the bytes in which keys differ: rows of a trace lie within seconds, so four to
// five passes suffice where a comparison sort takes twenty.
func ByKey(rows []int32, key func(int32) int64) {
	n := len(rows)
	if n < 2 {
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
	case runs == 1:
	case n < 64:
		insertionSort(rows, ks)
	case runs <= n/minRun:
		mergeRuns(rows, ks, runs)
	default:
		radixSort(rows, ks, lo)
	}
}

// minRun is the mean length of runs from which on merging them beats the radix sort.
const minRun = 256

// mergeRuns merges the ascending runs of ks, two neighbours at a time.
func mergeRuns(rows []int32, ks []int64, runs int) {
	n := len(rows)
	ends := make([]int, 0, runs)
	for i := 1; i < n; i++ {
		if ks[i] < ks[i-1] {
			ends = append(ends, i)
		}
	}
	ends = append(ends, n)
	tmpR, tmpK := make([]int32, n), make([]int64, n)
	for len(ends) > 1 {
		out, from := ends[:0], 0
		for i := 0; i < len(ends); i += 2 {
			mid := ends[i]
			end := mid
			if i+1 < len(ends) {
				end = ends[i+1]
				mergeTwo(rows[from:end], ks[from:end], mid-from, tmpR, tmpK)
			}
			out, from = append(out, end), end
		}
		ends = out
	}
}

// mergeTwo merges the ascending ks[:mid] and ks[mid:]; what is in its place already
// stays there.
func mergeTwo(rows []int32, ks []int64, mid int, tmpR []int32, tmpK []int64) {
	from, _ := slices.BinarySearchFunc(ks[:mid], ks[mid], func(k, first int64) int {
		if k <= first {
			return -1
		}
		return 1
	})
	left := copy(tmpK, ks[from:mid])
	copy(tmpR, rows[from:mid])
	l, r := 0, mid
	for at := from; l < left; at++ {
		if r < len(ks) && ks[r] < tmpK[l] {
			ks[at], rows[at] = ks[r], rows[r]
			r++
		} else {
			ks[at], rows[at] = tmpK[l], tmpR[l]
			l++
		}
	}
}

// radixSort sorts by ks, none of which is below lo.
func radixSort(rows []int32, ks []int64, lo int64) {
	n := len(rows)
	var all uint64
	sk := make([]uint64, n)
	for i, k := range ks {
		sk[i] = uint64(k) - uint64(lo)
		all |= sk[i]
	}
	const bits = 11
	tmpR, dk := make([]int32, n), make([]uint64, n)
	src, dst := rows, tmpR
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
