package worker

import (
	"sync"

	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// flight is the rank's flight recorder. It is on from the start and may be switched off
// and on again, so that its cost can be measured on the ranks that pay it. A nil flight
// is that of a stage deployed without one.
type flight struct {
	driver *native.Driver
	rec    *profiler.Recorder
	opts   profiler.FlightOptions

	mu sync.Mutex // one switch at a time
}

// set switches the flight recorder and returns whether it is on afterwards. Switched
// off it forgets the past.
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
