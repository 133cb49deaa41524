package analysis

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace/order"
)

// sortByKey is order.ByKey.
func sortByKey(rows []int32, key func(int32) int64) { order.ByKey(rows, key) }

// sortDesc orders v by keys, largest first: by the first, of equals by the second if there is one.
// What is equal in both stays as it was.
func sortDesc[T any, K cmp.Ordered](v []T, first func(*T) K, second ...func(*T) K) {
	type place struct {
		first, second K
		at            int32
	}
	to := make([]place, len(v)) // by where an element comes to lie: where it lies
	for i := range v {
		to[i] = place{first: first(&v[i]), at: int32(i)}
		for _, key := range second {
			to[i].second = key(&v[i])
		}
	}
	slices.SortFunc(to, func(a, b place) int {
		if c := cmp.Compare(b.first, a.first); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(b.second, a.second), int(a.at-b.at))
	})
	for i := range to {
		moved := v[i]
		for at := int32(i); ; {
			from := to[at].at
			to[at].at = at
			if from == int32(i) {
				v[at] = moved
				break
			}
			v[at], at = v[from], from
		}
	}
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
