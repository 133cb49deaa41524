package worker

import "github.com/kinetoscope/kinetoscope/omni/wire"

// maxCancelled bounds the cancelled requests that a stage remembers. A hand-off that is overtaken
// by its cancellation arrives milliseconds later, so the last ones are enough.
const maxCancelled = 1024

// cancellations are the requests that were cancelled lately. A request whose first hand-off arrives
// after its cancellation must not begin: it would wait for ever for hand-offs that the stage before
// no longer makes, and hold its place in the batch. The zero value is ready for use.
type cancellations struct {
	arrival map[string]int64 // by id: an id may come again, with a later arrival
	order   []string
}

// add notes what a cancel message cancels.
func (c *cancellations) add(m *wire.Message) {
	if m.Request == nil {
		return
	}
	if c.arrival == nil {
		c.arrival = map[string]int64{}
	}
	if _, known := c.arrival[m.ID]; !known {
		c.order = append(c.order, m.ID)
	}
	c.arrival[m.ID] = m.Request.Arrival
	if len(c.order) > maxCancelled {
		delete(c.arrival, c.order[0])
		c.order = c.order[1:]
	}
}

// has reports whether a message belongs to a request that was cancelled.
func (c *cancellations) has(m *wire.Message) bool {
	if m.Request == nil {
		return false
	}
	at, known := c.arrival[m.ID]
	return known && m.Request.Arrival <= at
}
