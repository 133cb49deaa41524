package analysis

import (
	"fmt"
	"strings"
	"testing"
)

// TestEveryValueHasAName holds the lists of names to their constants: the last value has
// one and the next has none.
func TestEveryValueHasAName(t *testing.T) {
	for _, c := range []struct{ last, next fmt.Stringer }{
		{numKinds - 1, numKinds}, {Critical, Critical + 1}, {numIdleCauses - 1, numIdleCauses},
		{numEdgeTypes - 1, numEdgeTypes},
		{numBounds - 1, numBounds}, {numChanges - 1, numChanges}, {ByCalls, ByCalls + 1}, {NumHeldBy - 1, NumHeldBy},
	} {
		if strings.Contains(c.last.String(), "(") || !strings.Contains(c.next.String(), "(") {
			t.Errorf("%T: the last value is %q, the one after it %q", c.last, c.last, c.next)
		}
	}
}
