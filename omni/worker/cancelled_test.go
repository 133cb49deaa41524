package worker

import (
	"fmt"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/wire"
)

// TestCancellationComesFirst holds a stage to begin no request whose cancellation was faster
// than the hand-off that brings it, and to take the same id when it is asked for again.
func TestCancellationComesFirst(t *testing.T) {
	message := func(k wire.Kind, id string, arrival int64) *wire.Message {
		return &wire.Message{Kind: k, ID: id, Request: &wire.Request{ID: id, Arrival: arrival}}
	}
	var c cancellations
	if c.has(message(wire.KindHandoff, "a", 1)) {
		t.Error("a request that nobody cancelled is held to be")
	}
	c.add(&wire.Message{Kind: wire.KindCancel, ID: "x"}) // of an older hub, which says no request
	c.add(message(wire.KindCancel, "a", 5))
	for _, tt := range []struct {
		m    *wire.Message
		want bool
	}{
		{message(wire.KindHandoff, "a", 5), true},
		{message(wire.KindHandoff, "a", 6), false},
		{message(wire.KindHandoff, "b", 5), false},
		{message(wire.KindHandoff, "x", 5), false},
		{&wire.Message{Kind: wire.KindHandoff, ID: "a"}, false}, // a later chunk, which the runner does not know
	} {
		if got := c.has(tt.m); got != tt.want {
			t.Errorf("%+v: cancelled %v, want %v", tt.m, got, tt.want)
		}
	}
	for i := range 3 * maxCancelled {
		c.add(message(wire.KindCancel, fmt.Sprint(i), 1))
	}
	if len(c.order) != maxCancelled || len(c.arrival) != maxCancelled {
		t.Errorf("%d and %d cancellations are kept of at most %d", len(c.order), len(c.arrival), maxCancelled)
	}
}
