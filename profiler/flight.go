package profiler

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// DefaultFlightBytes is the flight recorder's memory where FlightOptions has zero.
const DefaultFlightBytes = 16 << 20

// FlightOptions set the flight recorder up.
type FlightOptions struct {
	Bytes int // memory for the past; default 16 MiB. Config.MaxBytes comes on top.

	RecordShapes, WithStack, WithFLOPs, WithMemory bool

	Meta map[string]string // written into the header of each snapshot
}

// ring keeps the newest generations within a budget. The collector owns it.
type ring struct {
	opts   uint64
	meta   map[string]string
	budget int
	bytes  int
	frames []flightFrame
	start  anchor // when the flight recorder was started
}

type flightFrame struct {
	data       []byte
	start, end int64 // mono ns
	events     uint64
}

// push adds a generation and forgets the oldest ones that are over the budget.
func (r *ring) push(f flightFrame) {
	r.frames = append(r.frames, f)
	r.bytes += len(f.data)
	n := 0
	for ; r.bytes > r.budget && n < len(r.frames)-1; n++ {
		r.bytes -= len(r.frames[n].data)
		r.frames[n].data = nil
	}
	r.frames = r.frames[n:]
}

// FlightStart arms the flight recorder: from now on the newest o.Bytes of what happens are
// kept in memory, and Snapshot writes them out. A recording can be started and stopped
// meanwhile; it then also has the spans that were open at its start, and while both are
// on both get what either asks for (shapes, stacks, FLOPs, memory).
func (r *Recorder) FlightStart(o FlightOptions) error {
	if r == nil {
		return nil
	}
	r.ctl.Lock()
	defer r.ctl.Unlock()
	if r.ring != nil {
		return fmt.Errorf("start flight recorder: %w", ErrRecording)
	}
	if o.Bytes <= 0 {
		o.Bytes = DefaultFlightBytes
	}
	g := &ring{
		opts:   optionBits(o.RecordShapes, o.WithStack, o.WithFLOPs, o.WithMemory),
		meta:   maps.Clone(o.Meta),
		budget: o.Bytes,
	}
	e := r.engineLocked()
	e.do(func() {
		e.drain(true, false)
		e.seal()
		e.ring, g.start = g, e.open
		// Forgetting goes by whole generations; an eighth is fine enough.
		e.cfg.GenerationBytes = max(1, min(e.cfg.GenerationBytes, o.Bytes/8))
		e.setFlags()
	})
	r.ring = g
	r.arm(e)
	return nil
}

// FlightStop disarms the flight recorder and forgets what it held.
func (r *Recorder) FlightStop() error {
	if r == nil {
		return nil
	}
	r.ctl.Lock()
	defer r.ctl.Unlock()
	if r.ring == nil {
		return fmt.Errorf("stop flight recorder: %w", ErrIdle)
	}
	e := r.eng
	last := r.out == nil
	if last {
		r.disarm()
	}
	e.do(func() {
		e.ring = nil
		e.cfg.GenerationBytes = r.cfg.GenerationBytes
		e.setFlags()
		e.quit = last
	})
	if last {
		<-e.done
	}
	r.ring = nil
	return nil
}

// Flying reports whether the flight recorder is on.
func (r *Recorder) Flying() bool {
	if r == nil {
		return false
	}
	r.ctl.Lock()
	defer r.ctl.Unlock()
	return r.ring != nil
}

// Snapshot writes what happened in the last d to w as a recording of its own, or all that
// is held if d is 0. Recording goes on; Snapshot returns when w has everything. The window
// starts at d before now or where memory begins.
func (r *Recorder) Snapshot(w io.Writer, d time.Duration) (Stats, error) {
	if r == nil {
		return Stats{}, nil
	}
	if d < 0 {
		return Stats{}, errors.New("snapshot: the duration is negative")
	}
	r.ctl.Lock()
	if r.ring == nil {
		r.ctl.Unlock()
		return Stats{}, fmt.Errorf("snapshot: flight recorder: %w", ErrIdle)
	}
	var head, tail []byte
	var frames []flightFrame
	e := r.eng
	e.do(func() { head, frames, tail = e.snapshot(d) })
	r.ctl.Unlock()

	var st Stats
	write := func(b []byte) error {
		n, err := w.Write(b)
		st.Bytes += uint64(n)
		return err
	}
	err := write(head)
	for i := 0; err == nil && i < len(frames); i++ {
		err = write(frames[i].data)
		st.Events += frames[i].events
	}
	if err == nil {
		err = write(tail)
	}
	if err != nil {
		return st, fmt.Errorf("snapshot: after %d bytes: %w", st.Bytes, err)
	}
	return st, nil
}

// snapshot runs on the collector. Frames are never changed once made, so they can be
// written while the ring moves on.
func (e *engine) snapshot(d time.Duration) (head []byte, frames []flightFrame, tail []byte) {
	e.drain(true, false)
	e.seal()
	now := e.open
	from := int64(math.MinInt64)
	if d > 0 {
		from = now.mono - int64(d)
	}
	first := 0
	for first < len(e.ring.frames) && e.ring.frames[first].end < from {
		first++
	}
	frames = append(frames, e.ring.frames[first:]...)
	start := e.ring.start
	start.mono = max(start.mono, from)
	if first == 0 && len(frames) > 0 {
		start.mono = max(start.mono, frames[0].start)
	}
	head = appendHeader(nil, e, e.ring.opts, e.ring.meta, format.OptSnapshot, start)
	var st Stats
	for _, f := range frames {
		st.Events += f.events
	}
	var ids []uint32
	for _, t := range e.dropsNow() { // since the recorder was armed: when is not known
		st.Drops += t.Drops
		st.PerTrack = append(st.PerTrack, t.TrackStats)
		ids = append(ids, t.id)
	}
	tail = appendEnd(nil, now, st, ids, "snapshot")
	return head, frames, tail
}
