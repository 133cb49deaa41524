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
