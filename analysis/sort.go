package analysis

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/order"
)

// sortByKey is order.ByKey.
func sortByKey(rows []int32, key func(int32) int64) { order.ByKey(rows, key) }

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
