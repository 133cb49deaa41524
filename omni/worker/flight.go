package worker

import (
	"sync"

	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// flight is the rank's flight recorder. It is on from the start; sessions that measure what it
// costs switch it off and on again. A stage deployed without a flight recorder has a nil flight.
type flight struct {
	driver *native.Driver
	rec    *profiler.Recorder
	opts   profiler.FlightOptions

	mu sync.Mutex // one switch at a time
}

// set switches the flight recorder and returns whether it is on afterwards. Switching it off
// discards what it holds.
func (f *flight) set(on bool) (bool, error) {
	if f == nil {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	switch flying := f.rec.Flying(); {
	case on && !flying:
		err = f.driver.StartFlight(f.opts)
	case !on && flying:
		err = f.rec.FlightStop()
	}
	return f.rec.Flying(), err
}
