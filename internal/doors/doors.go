// Package doors compares, in tests, the answers of several ways of asking for one quantity: a verb,
// the report, a page, a file. A user who asks twice must not get two numbers.
package doors

import (
	"maps"
	"math"
	"slices"
	"testing"
)

// Doors are the answers: by quantity, then by way of asking.
type Doors map[string]map[string]float64

// Say notes what a door says of a quantity. A door that says a quantity twice must say the same.
func (d Doors) Say(t testing.TB, quantity, door string, v float64) {
	t.Helper()
	if d[quantity] == nil {
		d[quantity] = map[string]float64{}
	}
	if before, ok := d[quantity][door]; ok && !equal(before, v) {
		t.Errorf("%s: %s says %v and %v", quantity, door, before, v)
	}
	d[quantity][door] = v
}

// Said reports whether some door has said the quantity.
func (d Doors) Said(quantity string) bool { return d[quantity] != nil }

// Check fails the test for each quantity of which two doors say different things, and returns how
// many quantities two doors said at least.
func (d Doors) Check(t testing.TB) (compared int) {
	t.Helper()
	for _, quantity := range slices.Sorted(maps.Keys(d)) {
		by := d[quantity]
		names := slices.Sorted(maps.Keys(by))
		for _, door := range names[1:] {
			if !equal(by[names[0]], by[door]) {
				t.Errorf("%s: %s says %v, %s says %v", quantity, names[0], by[names[0]], door, by[door])
			}
		}
		if len(by) > 1 {
			compared++
		}
	}
	return compared
}

// equal allows for the rounding of sums in another order.
func equal(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(a) }
