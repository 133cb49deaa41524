package trace

import "slices"

// minRun is the mean length of ascending runs from which on merging them beats a sort.
const minRun = 32

// sortRuns orders rows by less, a strict order of all rows. Rows of a trace mostly come
// in a few ascending runs, which are merged, two neighbours at a time.
func sortRuns(rows []uint32, less func(a, b uint32) bool) {
	var ends []int
	for i := 1; i < len(rows); i++ {
		if less(rows[i], rows[i-1]) {
			ends = append(ends, i)
		}
		if len(ends) > len(rows)/minRun+1 {
			slices.SortFunc(rows, func(a, b uint32) int {
				if less(a, b) {
					return -1
				}
				if less(b, a) {
					return 1
				}
				return 0
			})
			return
		}
	}
	if len(ends) == 0 {
		return
	}
	ends = append(ends, len(rows))
	left := make([]uint32, 0, len(rows))
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

// mergeTwo merges the ordered rows[:mid] and rows[mid:]; what is in its place already
// stays there. left is room for rows[:mid].
func mergeTwo(rows []uint32, mid int, left []uint32, less func(a, b uint32) bool) {
	from, _ := slices.BinarySearchFunc(rows[:mid], rows[mid], func(row, first uint32) int {
		if less(row, first) {
			return -1
		}
		return 1
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
