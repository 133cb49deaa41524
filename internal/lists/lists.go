// Package lists grows slices that may become as long as a trace has events.
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
