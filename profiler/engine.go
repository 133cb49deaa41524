package profiler

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// engine is one armed period of a Recorder: its chunks, its writers, and the collector
// goroutine that empties chunks into generations. It lives while a recording, the flight
// recorder, or both are on.
type engine struct {
	cfg            Config
	tsc            bool
	pool           *pool
	chunksPerTrack int
	flags          atomic.Uint64 // format.Opt* of all sinks together
	handed         atomic.Uint64 // grows when an owner hands over a chunk or closes
	resting        atomic.Bool   // the collector sleeps until something is handed over or due
	wake           chan struct{} // holds at most one: the end of a rest

	mu    sync.Mutex
	added []*writer // not yet seen by the collector

	cmds chan func()
	done chan struct{} // closed when the collector has ended

	// The collector's.
	quit      bool
	out       *sink
	ring      *ring
	writers   []*writer
	seen      uint64 // handed at the last drain
	open      anchor // of the generation being built
	baselines baselines
	gen       builder
	seq       uint64
	events    uint64
	sealed    uint64 // events at the last seal
	drops     uint64 // of writers that are gone
	truncated uint64
	gone      map[uint32]TrackStats // writers that are gone and had drops
}

// maxGone bounds the closed tracks whose drops are still listed by name; the sum counts
// all of them.
const maxGone = 4096

// reading is the collector's place in what a writer has written.
type reading struct {
	chunk     *chunk
	off       int
	tick      int64
	begun     uint64
	stack     []openSpan
	target    uint32 // as in a batch: 0 an instant, 1+n levels out
	reported  uint64 // drops already in a generation
	lastBatch uint64 // seq+1 of the generation that has this track's entry
	name      string // as last written
	broken    bool   // something that is no record was found
}

type openSpan struct {
	nth        uint64 // ordinal among the track's spans
	tick, mono int64
	known      bool // mono is set
	name       uint32
	cat        uint8
}

func newEngine(c Config) *engine {
	e := &engine{
		cfg:  c,
		tsc:  c.Clock.resolve() == ClockTSC,
		cmds: make(chan func()),
		wake: make(chan struct{}, 1),
		done: make(chan struct{}),
		gone: map[uint32]TrackStats{},
	}
	chunkMemory := c.MaxBytes - (backlogGenerations+2)*c.GenerationBytes
	e.pool = newPool(c.ChunkBytes, max(1, chunkMemory/c.ChunkBytes))
	e.chunksPerTrack = max(1, c.MaxTrackBytes/c.ChunkBytes)
	e.baselines = newBaselines(e.tsc)
	e.open = readAnchor(e.tsc)
	e.gen.reset()
	return e
}

// newWriter makes the writer of one track.
func (e *engine) newWriter(t *Track) *writer {
	w := &writer{eng: e, track: t, tsc: e.tsc}
	w.delta() // sets last
	w.rd.tick = w.last
	e.mu.Lock()
	e.added = append(e.added, w)
	e.mu.Unlock()
	return w
}

// run is the collector. It ends after a command that sets quit.
func (e *engine) run() {
	defer close(e.done)
	tick := time.NewTimer(pollEvery)
	defer tick.Stop()
	quiet := 0 // polls in a row that found no full chunk
	for !e.quit {
		select {
		case <-e.wake:
			quiet = 0
			tick.Reset(pollEvery)
		case <-tick.C:
			e.resting.Store(false)
			handed := e.seen
			e.poll()
			if quiet++; e.seen != handed {
				quiet = 0
			}
			tick.Reset(e.pause(quiet))
		case f := <-e.cmds:
			f()
			if e.resting.CompareAndSwap(true, false) { // what f has begun may not wait for the rest's end
				quiet = 0
				tick.Reset(pollEvery)
			}
		}
	}
}

// pause is the time to the next poll. After quietPolls it is a rest, which an owner that
// hands over a chunk ends, and a command, and which lasts no longer than until the generation is
// due or, with the flight recorder alone, ringRest old.
func (e *engine) pause(quiet int) time.Duration {
	if quiet < quietPolls || e.out != nil && e.out.full() {
		return pollEvery
	}
	e.resting.Store(true)
	if e.handed.Load() != e.seen { // since the poll: its owner may have seen no rest
		e.resting.Store(false)
		return pollEvery
	}
	rest := e.cfg.FlushEvery
	if e.out == nil {
		rest = max(rest, ringRest)
	}
	return max(pollEvery, rest-time.Duration(monoNow()-e.open.mono))
}

// handOver tells the collector that a chunk is complete or a track closed. It wakes the
// collector from a rest, which is at most once in quietPolls polls, and else costs two
// atomic operations.
func (e *engine) handOver() {
	e.handed.Add(1)
	if e.resting.Load() && e.resting.CompareAndSwap(true, false) {
		select {
		case e.wake <- struct{}{}:
		default: // an earlier rest's: it wakes as well
		}
	}
}

// do runs f on the collector and waits for it.
func (e *engine) do(f func()) {
	ran := make(chan struct{})
	e.cmds <- func() { defer close(ran); f() }
	<-ran
}

func (e *engine) poll() {
	if e.out != nil && e.out.full() {
		return // what waits stays in the chunks, and when those are full owners drop
	}
	due := monoNow()-e.open.mono >= int64(e.cfg.FlushEvery)
	if handed := e.handed.Load(); due || handed != e.seen {
		e.seen = handed
		e.drain(due, true)
	}
	if due {
		e.seal()
	}
}

// drain reads what owners have published: complete chunks, and with all also the
// beginnings of chunks that are being filled. If polite it stops when Out has a backlog.
func (e *engine) drain(all, polite bool) {
	e.mu.Lock()
	e.writers = append(e.writers, e.added...)
	e.added = nil
	e.mu.Unlock()
	kept := e.writers[:0]
	for _, w := range e.writers {
		if !e.drainWriter(w, all, polite) {
			kept = append(kept, w)
		}
	}
	clear(e.writers[len(kept):])
	e.writers = kept
}

// drainWriter reads one writer and reports whether it is finished for good.
func (e *engine) drainWriter(w *writer, all, polite bool) (finished bool) {
	closed := w.closed.Load() // before next and pub: both are final if it is set
	rd := &w.rd
	if rd.chunk == nil {
		if rd.chunk = w.first.Load(); rd.chunk == nil {
			if closed {
				e.retire(w)
			}
			return closed
		}
	}
	for {
		if polite && e.out != nil && e.out.full() {
			return false
		}
		c := rd.chunk
		next := c.next.Load() // before pub: pub is final if next is set
		if next == nil && !all && !closed {
			return false
		}
		if end := int(atomic.LoadUint32(&c.pub)); end > rd.off {
			e.batch(w, c.buf[rd.off:end])
			rd.off = end
			if len(e.gen.data) >= e.cfg.GenerationBytes {
				e.seal()
			}
		}
		if next == nil && !closed {
			return false
		}
		e.pool.put(c)
		w.held.Add(-1)
		rd.chunk, rd.off = next, 0
		if next == nil {
			e.retire(w)
			return true
		}
	}
}

// retire keeps the counts of a writer that will write no more.
func (e *engine) retire(w *writer) {
	e.report(w)
	e.truncated += w.truncated.Load()
	if d := w.drops.Load(); d > 0 {
		e.drops += d
		if len(e.gone) < maxGone {
			e.gone[w.track.id] = TrackStats{w.track.Name(), d}
		}
	}
}

// batch adds a piece of a track's records to the generation.
func (e *engine) batch(w *writer, data []byte) {
	g, rd := &e.gen, &w.rd
	if rd.broken {
		w.drops.Add(1)
		return
	}
	e.entry(w)
	b := batchMeta{
		track: w.track.id, base: rd.tick, begun: rd.begun, target: rd.target,
		openLo: len(g.opens), dataLo: len(g.data),
	}
	g.opens = append(g.opens, rd.stack...)
	b.openHi = len(g.opens)
	before := e.events
	good := e.scan(rd, data)
	if good < len(data) {
		rd.broken = true
		w.drops.Add(1)
	}
	g.data = append(g.data, data[:good]...)
	b.dataHi, b.events = len(g.data), e.events-before
	g.batches = append(g.batches, b)
}

// attach makes s the destination of what is published from now on.
func (e *engine) attach(s *sink) {
	e.drain(true, false)
	e.seal()
	e.out = s
	e.setFlags()
	s.eventsBefore, s.truncatedBefore = e.events, e.truncatedNow()
	s.dropsBefore = map[uint32]uint64{}
	for _, t := range e.dropsNow() {
		s.dropsBefore[t.id] = t.Drops
		s.allDropsBefore += t.Drops
	}
	s.push(appendHeader(nil, e, s.opts, s.meta, 0, e.open))
}

// detach writes what has been published until now and closes s.
func (e *engine) detach(s *sink, reason string) {
	s.limit = math.MaxInt // it waits for nothing more
	e.drain(true, false)
	e.seal()
	s.stats = e.statsSince(s)
	s.push(appendEnd(nil, e.open, s.stats, s.trackIDs, reason))
	s.close()
	e.out = nil
	e.setFlags()
}

func (e *engine) setFlags() {
	var f uint64
	if e.out != nil {
		f |= e.out.opts
	}
	if e.ring != nil {
		f |= e.ring.opts
	}
	e.flags.Store(f)
}

type trackDrops struct {
	id uint32
	TrackStats
}

func (e *engine) dropsNow() []trackDrops {
	var all []trackDrops
	for id, t := range e.gone {
		all = append(all, trackDrops{id, t})
	}
	for _, w := range e.writers {
		if d := w.drops.Load(); d > 0 {
			all = append(all, trackDrops{w.track.id, TrackStats{w.track.Name(), d}})
		}
	}
	return all
}

func (e *engine) truncatedNow() uint64 {
	n := e.truncated
	for _, w := range e.writers {
		n += w.truncated.Load()
	}
	return n
}

// statsSince counts what happened since s was attached.
func (e *engine) statsSince(s *sink) Stats {
	st := Stats{Events: e.events - s.eventsBefore, Truncated: e.truncatedNow() - s.truncatedBefore}
	s.trackIDs = s.trackIDs[:0]
	add := func(id uint32, name string, drops uint64) {
		st.Drops += drops
		st.PerTrack = append(st.PerTrack, TrackStats{name, drops})
		s.trackIDs = append(s.trackIDs, id)
	}
	listed := map[uint32]bool{}
	for _, t := range e.dropsNow() {
		if d := t.Drops - s.dropsBefore[t.id] + s.lost[t.id]; d > 0 {
			add(t.id, t.Track, d)
			listed[t.id] = true
		}
	}
	for id, n := range s.lost {
		if !listed[id] {
			add(id, s.lostNames[id], n)
		}
	}
	return st
}
