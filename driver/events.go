package driver

// EventCounter counts the events of a trace that is written to it, as libkineto spells
// their phases, without metadata. The zero value is ready.
type EventCounter struct {
	N  uint64 // so far
	at int    // bytes of phaseKey that were just seen
}

const phaseKey = `"ph": "`

// Write counts in p; a key may lie across two writes.
func (c *EventCounter) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case c.at == len(phaseKey):
			if b != 'M' {
				c.N++
			}
			c.at = 0
		case b == phaseKey[c.at]:
			c.at++
			continue
		default:
			c.at = 0
		}
		if b == phaseKey[0] {
			c.at = 1
		}
	}
	return len(p), nil
}
