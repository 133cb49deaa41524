package analysis

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace/order"
)

// sortByKey is order.ByKey.
func sortByKey(rows []int32, key func(int32) int64) { order.ByKey(rows, key) }

// sortDesc orders v by key, largest first, keeping the order of equals.
func sortDesc[T any, K cmp.Ordered](v []T, key func(T) K) {
	if len(v) <= fewRows {
		slices.SortStableFunc(v, func(a, b T) int { return cmp.Compare(key(b), key(a)) })
		return
	}
	type place struct {
		key K
		at  int32
	}
	order := make([]place, len(v))
	for i := range v {
		order[i] = place{key(v[i]), int32(i)}
	}
	slices.SortFunc(order, func(a, b place) int {
		if c := cmp.Compare(b.key, a.key); c != 0 {
			return c
		}
		return int(a.at - b.at)
	})
	sorted := make([]T, len(v))
	for i, p := range order {
		sorted[i] = v[p.at]
	}
	copy(v, sorted)
}

// fewRows is the length up to which rows are sorted where they lie. A stable sort moves each row
// log²n times, and rows are wide: of more rows their places are sorted instead.
const fewRows = 64

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
