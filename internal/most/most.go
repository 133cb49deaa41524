// Package most picks the first of many in an order without sorting all of them: a trace can
// have a million names, and a table shows the costliest few.
package most

import "slices"

// First returns the first n of list in the order of compare, sorted; all of them if n is not
// positive. compare must tell any two apart for the answer to be the only one. The list's order
// is lost.
func First[T any](list []T, n int, compare func(a, b T) int) []T {
	if n <= 0 || len(list) <= 2*n {
		slices.SortFunc(list, compare)
		if n > 0 {
			list = list[:min(n, len(list))]
		}
		return list
	}
	// The first n so far are kept sorted at the front, behind them as many that may be among them.
	kept := n
	slices.SortFunc(list[:n], compare)
	last := list[n-1]
	for _, x := range list[n:] {
		if compare(x, last) >= 0 {
			continue
		}
		list[kept] = x
		if kept++; kept == 2*n {
			slices.SortFunc(list[:kept], compare)
			kept, last = n, list[n-1]
		}
	}
	slices.SortFunc(list[:kept], compare)
	return list[:n]
}
