// Package profiler records what a Go program does: spans and operators, counters,
// instants, flows and memory. It depends on the standard library only.
//
// # Use
//
//	var matmul = profiler.Intern("aten::mm")
//
//	rec := profiler.New(profiler.Config{Process: "stage0 thinker rank 1"})
//	t := rec.Track("main")                 // one goroutine at a time
//	err := rec.Start(profiler.StartOptions{Out: file, RecordShapes: true})
//	s := t.Begin(matmul, profiler.CategoryOp).Shape(profiler.Float32, 8, 512)
//	s.End()
//	stats, err := rec.Stop()
//
// # Contract
//
// A Track belongs to one goroutine at a time and its methods take no lock, use no
// channel and allocate nothing. They never wait: if memory runs out, whole spans are
// dropped and counted. Start, Stop, FlightStart, FlightStop and Snapshot may be called
// from any goroutine at any time. A recording leaves in self-contained generations while
// it runs; package profiler/format specifies and reads them. docs/recorder.md explains
// ownership, buffers, generations and memory order.
package profiler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Bounds and periods of a Recorder, used where Config has zero.
const (
	DefaultMaxBytes        = 64 << 20              // about five million spans not yet written
	DefaultChunkBytes      = 16 << 10              // one per recording track at least; about 1,500 spans
	DefaultGenerationBytes = 1 << 20               // what a killed process loses at most per backlog
	DefaultFlushEvery      = time.Second           // and in time
	minChunkBytes          = 2 << 10               // room for the ends of MaxDepth open spans
	maxChunkBytes          = 1 << 20               // published offsets and generations stay small
	maxGenerationBytes     = 16 << 20              // a frame's limit is 64 MiB
	backlogGenerations     = 8                     // waiting for a slow Out
	pollEvery              = 10 * time.Millisecond // one core fills 2 MiB in this time
	// A poll wakes an idle process, which is most of what an armed recorder costs there:
	// after so many polls without a full chunk the collector rests until an owner hands one
	// over or a generation is due.
	quietPolls = 20
	// ringRest is how long such a rest may last while only the flight recorder is on: what it keeps
	// in memory is lost with the process whether a generation was cut or not.
	ringRest = 10 * time.Second
)

// Config sets a Recorder up. The zero value is usable.
type Config struct {
	Process         string        // process name shown in viewers, e.g. "stage0 thinker rank 1"; default the program's
	MaxBytes        int           // memory for what is recorded and not yet written; default 64 MiB
	MaxTrackBytes   int           // of which one track may hold this much; default half
	ChunkBytes      int           // unit in which tracks take memory; default 16 KiB
	GenerationBytes int           // a generation is cut at this size; default 1 MiB, at most MaxBytes/32
	FlushEvery      time.Duration // and at this age; default 1 s
	Clock           Clock         // default ClockAuto
}

func (c Config) withDefaults() Config {
	if c.Process == "" {
		c.Process = filepath.Base(os.Args[0])
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.ChunkBytes <= 0 {
		c.ChunkBytes = DefaultChunkBytes
	}
	c.ChunkBytes = min(max(c.ChunkBytes, minChunkBytes), maxChunkBytes)
	if c.GenerationBytes <= 0 {
		c.GenerationBytes = DefaultGenerationBytes
	}
	c.GenerationBytes = max(1, min(c.GenerationBytes, c.MaxBytes/32, maxGenerationBytes))
	if c.MaxTrackBytes <= 0 {
		c.MaxTrackBytes = c.MaxBytes / 2
	}
	if c.FlushEvery <= 0 {
		c.FlushEvery = DefaultFlushEvery
	}
	return c
}

// Errors of Start, Stop and the flight recorder.
var (
	ErrRecording = errors.New("a recording is already on; stop it first")
	ErrIdle      = errors.New("nothing is being recorded")
)

// Recorder owns what one process records. All methods of a nil Recorder do nothing.
type Recorder struct {
	cfg Config

	ctl  sync.Mutex // serialises Start, Stop, flight; held while an engine starts or ends
	out  *sink      // of the recording that is on
	ring *ring      // of the flight recorder that is on

	mu     sync.Mutex // guards what follows; held for moments only
	eng    *engine
	tracks map[*Track]struct{}
	nextID uint32

	shared sharedTrack
}

// New returns a Recorder that records nothing until Start.
func New(c Config) *Recorder {
	r := &Recorder{cfg: c.withDefaults(), tracks: map[*Track]struct{}{}}
	if r.cfg.Clock.resolve() == ClockTSC {
		clockBirth() // the earlier, the better the rate is known
	}
	return r
}

// Track returns a new lane owned by the calling goroutine. A nil Recorder gives a nil
// Track, on which every method is a no-op. Close gives a lane back; a lane per request
// is affordable, a lane per operator is not.
func (r *Recorder) Track(name string) *Track {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextID++
	t := &Track{rec: r, id: r.nextID}
	t.name.Store(&name)
	r.tracks[t] = struct{}{}
	if r.eng != nil {
		t.live.Store(r.eng.newWriter(t))
	}
	return t
}

// StartOptions says where a recording goes.
type StartOptions struct {
	Out io.Writer // receives self-contained generations, from one goroutine, in whole frames

	RecordShapes, WithStack, WithFLOPs, WithMemory bool

	Meta map[string]string // written into the recording's header
}

// Start begins recording into o.Out. Spans that are open at this moment are not in the
// recording, unless the flight recorder has them.
func (r *Recorder) Start(o StartOptions) error {
	if r == nil {
		return nil
	}
	if o.Out == nil {
		return errors.New("start recording: Out is nil; give a file or io.Discard")
	}
	r.ctl.Lock()
	defer r.ctl.Unlock()
	if r.out != nil {
		return fmt.Errorf("start recording: %w", ErrRecording)
	}
	s := newSink(o, r.cfg)
	e := r.engineLocked()
	e.do(func() { e.attach(s) })
	r.setOut(s)
	r.arm(e)
	return nil
}

// setOut is under ctl; mu makes Recording readable without it.
func (r *Recorder) setOut(s *sink) {
	r.mu.Lock()
	r.out = s
	r.mu.Unlock()
}

// engineLocked returns the running engine or starts one. Callers hold ctl and call arm
// when the engine has somewhere to put what it collects.
func (r *Recorder) engineLocked() *engine {
	if r.eng != nil {
		return r.eng
	}
	e := newEngine(r.cfg)
	go e.run()
	return e
}

// arm lets every track record into e.
func (r *Recorder) arm(e *engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.eng == e {
		return
	}
	r.eng = e
	for t := range r.tracks {
		t.live.Store(e.newWriter(t))
	}
}

// disarm stops every track. An owner in the middle of an event may finish it in memory
// that nobody reads any more.
func (r *Recorder) disarm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.eng = nil
	for t := range r.tracks {
		t.live.Store(nil)
	}
}

// TrackStats counts what one track lost.
type TrackStats struct {
	Track string
	Drops uint64
}

// Stats counts what a recording holds and lost.
type Stats struct {
	Events    uint64       // spans, instants, async ends, counter samples, allocations and frees
	Bytes     uint64       // written to Out
	Drops     uint64       // events and arguments for which there was no memory
	Truncated uint64       // arguments that were cut to the limit
	PerTrack  []TrackStats // tracks with drops
}

// Stop ends the recording; everything recorded has been written to Out when it returns.
// What happened before Stop in the memory model's sense is in the recording. It takes
// milliseconds whatever was recorded, as long as Out keeps up.
func (r *Recorder) Stop() (Stats, error) { return r.StopContext(context.Background()) }

// StopContext is Stop with an end to its patience: if Out is still writing when ctx ends,
// it returns and leaves Out to a goroutine that ends with that write. Recording is over
// in any case.
func (r *Recorder) StopContext(ctx context.Context) (Stats, error) {
	if r == nil {
		return Stats{}, nil
	}
	s, err := r.detach()
	if err != nil {
		return Stats{}, err
	}
	return s.wait(ctx) // without ctl: a slow Out is in nobody's way
}

// detach ends the recording and returns its sink, which has yet to write what it holds.
func (r *Recorder) detach() (*sink, error) {
	r.ctl.Lock()
	defer r.ctl.Unlock()
	s := r.out
	if s == nil {
		return nil, fmt.Errorf("stop recording: %w", ErrIdle)
	}
	e := r.eng
	last := r.ring == nil
	if last {
		r.disarm()
	}
	r.setOut(nil)
	e.do(func() { e.detach(s, "stop"); e.quit = last })
	if last {
		<-e.done
	}
	return s, nil
}

// Stats returns the counts of the recording that is on, as of now; zero if none is. Bytes
// are those that Out has taken. It is for watchdogs and metrics, not for every span.
func (r *Recorder) Stats() Stats {
	if r == nil {
		return Stats{}
	}
	r.ctl.Lock()
	defer r.ctl.Unlock()
	s := r.out
	if s == nil {
		return Stats{}
	}
	var st Stats
	r.eng.do(func() {
		r.eng.drain(true, true)
		st = r.eng.statsSince(s)
	})
	st.Bytes = s.written.Load()
	return st
}

// Recording reports whether a recording is on; the flight recorder alone is none.
func (r *Recorder) Recording() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out != nil
}
