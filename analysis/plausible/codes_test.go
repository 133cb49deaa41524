package plausible

import (
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
)

// TestEveryDoubtIsACode holds the kinds of doubt to the codes of findings.
func TestEveryDoubtIsACode(t *testing.T) {
	for k := range numKinds {
		if !slices.Contains(finding.Codes(), finding.Code(k.String())) {
			t.Errorf("the doubt %s is no code", k)
		}
	}
}
