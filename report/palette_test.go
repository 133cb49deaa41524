package report

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/timeline"
)

// TestEveryPartHasAColour: whatever a picture fills has a colour of the timeline's, on either ground.
func TestEveryPartHasAColour(t *testing.T) {
	parts := timeline.PartClasses()
	for c := range pipeline.NumCategories {
		if _, ok := parts[c.String()]; !ok {
			t.Errorf("time in %s has no colour", c)
		}
	}
	for by, l := range heldLooks {
		if _, ok := parts[l.part]; !ok {
			t.Errorf("memory held by %d has no colour: %q", by, l.part)
		}
	}
}
