package profiler

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// sink carries frames to a StartOptions.Out from a goroutine of its own, so that a slow
// Out delays nobody but itself. The collector pushes; a sink that is full makes the
// collector leave data in the chunks.
type sink struct {
	w    io.Writer
	opts uint64
	meta map[string]string

	mu     sync.Mutex
	frames [][]byte
	bytes  int // of frames
	limit  int // the collector's
	closed bool
	wake   chan struct{} // one token: something changed

	written atomic.Uint64
	done    chan struct{} // closed when the goroutine has ended; then:
	err     error

	// The collector's; read by Stop after detach.
	eventsBefore, truncatedBefore, allDropsBefore uint64
	dropsBefore                                   map[uint32]uint64
	lost                                          map[uint32]uint64 // events of generations not taken, by track
	lostNames                                     map[uint32]string
	stats                                         Stats
	trackIDs                                      []uint32
}

func newSink(o StartOptions, c Config) *sink {
	s := &sink{
		w:     o.Out,
		opts:  optionBits(o.RecordShapes, o.WithStack, o.WithFLOPs, o.WithMemory),
		meta:  maps.Clone(o.Meta),
		limit: backlogGenerations * c.GenerationBytes,
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),

		lost:      map[uint32]uint64{},
		lostNames: map[uint32]string{},
	}
	go s.run()
	return s
}

func optionBits(shapes, stacks, flops, memory bool) uint64 {
	var o uint64
	for i, on := range []bool{shapes, stacks, flops, memory} {
		if on {
			o |= format.OptShapes << i
		}
	}
	return o
}

func (s *sink) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// push queues a frame. It takes it even over the limit: the collector asks full first,
// and what it has already taken out of chunks must go somewhere.
func (s *sink) push(frame []byte) {
	s.mu.Lock()
	s.frames = append(s.frames, frame)
	s.bytes += len(frame)
	s.mu.Unlock()
	s.signal()
}

func (s *sink) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes >= s.limit
}

// overfull reports that even what the flight recorder makes the collector take out of
// chunks is too much for Out; then the generation is lost to it.
func (s *sink) overfull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes/2 >= s.limit
}

// lose counts the events of a generation that is not pushed.
func (s *sink) lose(g *builder) {
	for _, b := range g.batches {
		s.lost[b.track] += b.events
	}
	for _, t := range g.tracks {
		s.lostNames[t.id] = t.name
	}
}

func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}

// run writes until the sink is closed and empty. After an error it discards, so that
// recording goes on undisturbed; Stop returns the error.
func (s *sink) run() {
	defer close(s.done)
	for range s.wake {
		for {
			s.mu.Lock()
			if len(s.frames) == 0 {
				closed := s.closed
				s.mu.Unlock()
				if closed {
					return
				}
				break
			}
			f := s.frames[0]
			s.mu.Unlock()
			if s.err == nil {
				n, err := s.w.Write(f)
				s.written.Add(uint64(n))
				if err == nil && n < len(f) {
					err = io.ErrShortWrite
				}
				s.err = err
			}
			s.mu.Lock()
			s.frames[0] = nil
			s.frames = s.frames[1:]
			s.bytes -= len(f)
			s.mu.Unlock()
		}
	}
}

// wait returns when everything is written, or when ctx ends.
func (s *sink) wait(ctx context.Context) (Stats, error) {
	st := s.stats
	select {
	case <-s.done:
	case <-ctx.Done():
		s.mu.Lock()
		left := s.bytes
		s.mu.Unlock()
		return st, fmt.Errorf("stop recording: Out still has %d bytes to write: %w", left, ctx.Err())
	}
	st.Bytes = s.written.Load()
	if s.err != nil {
		return st, fmt.Errorf("stop recording: after %d bytes Out failed, the rest is lost: %w", st.Bytes, s.err)
	}
	return st, nil
}
