package rank

import (
	"errors"
	"io"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// FlightRecorder is what a Recorder offers that keeps the recent past;
// *profiler.Recorder does.
type FlightRecorder interface {
	FlightStart(profiler.FlightOptions) error
	Flying() bool
	Snapshot(w io.Writer, last time.Duration) (profiler.Stats, error)
}

// errNoFlight is the reason of a rank that has no past to hand over.
var errNoFlight = errors.New("the flight recorder is off on this rank: give the stage flight_recorder_mb")

// StartFlight arms the flight recorder; its snapshots name the rank as recordings do.
func (h *RecorderHandler) StartFlight(o profiler.FlightOptions) error {
	fr, ok := h.rec.(FlightRecorder)
	if !ok {
		return errNoFlight
	}
	o.Meta = h.meta("")
	return fr.FlightStart(o)
}

// flight writes the past at the agreed instant; the capture is over with it.
func (h *RecorderHandler) flight(c *capture) {
	fr, ok := h.rec.(FlightRecorder)
	if !ok || !fr.Flying() {
		h.fail(c, errNoFlight)
		return
	}
	now := h.now()
	stats, err := fr.Snapshot(c.file, time.Duration(c.req.LastNs))
	c.status.StartedAtNs, c.status.StoppedAtNs = now.Add(-time.Duration(c.req.LastNs)).UnixNano(), now.UnixNano()
	if err := h.finish(c, protocol.StoppedByFlight, stats, err); err != nil {
		h.log.Error("flight recorder", "session", c.req.Session, "err", err)
	}
	h.notify(c)
}
