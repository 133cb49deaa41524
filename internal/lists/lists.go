// Package lists works on slices that may become as long as a trace has events: it grows them, and keeps heaps in them.
package lists

import "slices"

// Doubled makes room in s for as many elements again if there is none. Append alone grows a long
// slice by quarters, and so copies each element four times where doubling copies it once.
func Doubled[T any](s []T) []T {
	if len(s) == cap(s) {
		return slices.Grow(s, max(1, len(s)))
	}
	return s
}

// Grouped divides rows by a group's number, of which there are n; each group has its rows in their order.
func Grouped[T any](rows []T, n int, group func(T) int) [][]T {
	ends := make([]int, n+1) // of each group, one place up, then its beginning
	for _, r := range rows {
		ends[group(r)+1]++
	}
	for g := range n {
		ends[g+1] += ends[g]
	}
	all, out := make([]T, len(rows)), make([][]T, n)
	for g := range n {
		out[g] = all[ends[g]:ends[g]:ends[g+1]]
	}
	for _, r := range rows {
		g := group(r)
		out[g] = append(out[g], r)
	}
	return out
}

// Sink moves element i of a binary heap down to its place: less orders two elements, and the first of all is at 0.
func Sink[T any](heap []T, i int, less func(a, b *T) bool) {
	for {
		k := 2*i + 1
		if k >= len(heap) {
			return
		}
		if k+1 < len(heap) && less(&heap[k+1], &heap[k]) {
			k++
		}
		if !less(&heap[k], &heap[i]) {
			return
		}
		heap[i], heap[k] = heap[k], heap[i]
		i = k
	}
}
