package order

import "slices"

// minOrdered is the mean length of ordered runs from which on merging them beats a comparison sort.
const minOrdered = 32

// By orders rows by less, which may call no two of them equal.
func By[R any](rows []R, less func(a, b R) bool) {
	var ends []int
	for i := 1; i < len(rows); i++ {
		if less(rows[i], rows[i-1]) {
			ends = append(ends, i)
		}
		if len(ends) > len(rows)/minOrdered+1 {
			slices.SortFunc(rows, func(a, b R) int {
				if less(a, b) {
					return -1
				}
				return 1
			})
			return
		}
	}
	if len(ends) > 0 {
		mergeRuns(rows, append(ends, len(rows)), less)
	}
}

// mergeRuns merges the ordered runs of rows, two neighbours at a time. ends has where each ends, the
// last with the rows; it is used up.
func mergeRuns[R any](rows []R, ends []int, less func(a, b R) bool) {
	left := make([]R, 0, len(rows))
	for len(ends) > 1 {
		out, from := ends[:0], 0
		for i := 0; i < len(ends); i += 2 {
			mid := ends[i]
			end := mid
			if i+1 < len(ends) {
				end = ends[i+1]
				mergeTwo(rows[from:end], mid-from, left, less)
			}
			out, from = append(out, end), end
		}
		ends = out
	}
}

// mergeTwo merges the ordered rows[:mid] and rows[mid:], equal ones in the order in which they are;
// what is in its place already stays there. left is room for rows[:mid].
func mergeTwo[R any](rows []R, mid int, left []R, less func(a, b R) bool) {
	from, _ := slices.BinarySearchFunc(rows[:mid], rows[mid], func(row, first R) int {
		if less(first, row) {
			return 1
		}
		return -1
	})
	left = append(left[:0], rows[from:mid]...)
	l, r := 0, mid
	for at := from; l < len(left); at++ {
		if r < len(rows) && less(rows[r], left[l]) {
			rows[at] = rows[r]
			r++
		} else {
			rows[at] = left[l]
			l++
		}
	}
}
