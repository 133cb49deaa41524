// Package ceiling holds this process to an amount of resident memory: what the user allowed
// is a bound on what the operating system counts, not on what some structures take.
//
// Three things hold it. The share for traces is planned, so that readers refuse early and
// in words what cannot fit. The runtime's collector is given the amount as its limit, so
// that garbage goes before the amount is reached. And a watch looks at what the process
// really has; if that comes near the amount all the same the owner is told and ends the
// process in words before the amount is passed.
package ceiling

import (
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/units"
)

const (
	// Least is the smallest amount: the program itself, the reserves, a reader's buffers with
	// one goroutine, and a trace of a few hundred thousand events.
	Least = 192 << 20
	// interval is how often the watch looks. What several cores can touch meanwhile, 4 MB
	// each, is within a reserve; looking takes some 10 µs.
	interval = 2 * time.Millisecond
	// ownGrowth is how many bytes of the program's own code and tables are paged in when a trace is
	// read and written, beyond those already there when the limit is set.
	ownGrowth = 16 << 20
	// perWorker is what a scanning goroutine of a trace's reader takes at the most, which is
	// that of a reader with one: four blocks of text of 4 MiB, the rows that are made of them,
	// and tables of its own.
	perWorker = 26 << 20
	// reserves is how many reserves the amount has: the collector does all it can to stay
	// three of them below it, at two of them the process is asked to give up, at one it is
	// ended.
	reserves = 16
	// leastReserve is what a table that grows can take at once.
	leastReserve = 24 << 20
)

// Error reports that the process came to its amount of memory.
type Error struct {
	Resident, Limit int64 // bytes
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s of memory in use, %s allowed, and the answer needs more: allow more, or ask less at a time (fewer traces, one rank, a part by convert --from --to)",
		units.Bytes(e.Resident), units.Bytes(e.Limit))
}

// Ceiling is an amount of memory that is watched.
type Ceiling struct {
	limit  int64
	base   int64 // resident when it was set, without the runtime's heap
	before int64 // the collector's limit before

	stop chan struct{}
	done sync.WaitGroup
}

// Set holds the process to limit bytes until Close. Near them giveUp is called, once, which is
// to stop what can be stopped; if the process comes closer still, end is called, which is to end
// it at once. Both are called from a goroutine of the ceiling's.
func Set(limit int64, giveUp, end func(*Error)) (*Ceiling, error) {
	if limit < Least {
		return nil, fmt.Errorf("%s of memory is too little: allow %s or more", units.Bytes(limit), units.Bytes(Least))
	}
	heap := mapped()
	c := &Ceiling{limit: limit, base: max(0, resident()-heap) + ownGrowth, stop: make(chan struct{})}
	c.before = debug.SetMemoryLimit(c.collect())
	c.done.Go(func() { c.watch(giveUp, end) })
	return c, nil
}

// collect is the amount of the runtime's memory at which the collector does all it can.
func (c *Ceiling) collect() int64 { return c.limit - 3*c.reserve() - c.base }

// reserve is a part of the amount that is kept free.
func (c *Ceiling) reserve() int64 { return max(c.limit/reserves, leastReserve) }

// Traces returns how many bytes traces may take at a time if workers goroutines scan, and the work
// on a trace takes appetite times as much memory as the trace.
func (c *Ceiling) Traces(workers int, appetite float64) int64 {
	rest := c.collect() - int64(workers)*perWorker
	return max(1, int64(float64(rest)/(1+appetite)))
}

// For returns what would have to be allowed for traces of that many bytes.
func (c *Ceiling) For(traces int64, workers int, appetite float64) int64 {
	heap := float64(traces)*(1+appetite) + float64(workers)*perWorker
	need := int64(heap) + c.base
	return max(c.limit, need+3*leastReserve, need*reserves/(reserves-3))
}

// Workers returns how many goroutines may scan: at most asked, and so many that their buffers take
// no more than half of the memory.
func (c *Ceiling) Workers(asked int) int {
	return max(1, min(asked, int(c.collect()/2/perWorker)))
}

// Close ends the watch.
func (c *Ceiling) Close() {
	close(c.stop)
	c.done.Wait()
	debug.SetMemoryLimit(c.before)
}

// watch looks until the end.
func (c *Ceiling) watch(giveUp, end func(*Error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		n := resident()
		if n > c.limit-2*c.reserve() && giveUp != nil {
			giveUp(&Error{Resident: n, Limit: c.limit})
			giveUp = nil
		}
		if n > c.limit-c.reserve() {
			end(&Error{Resident: n, Limit: c.limit})
			return
		}
	}
}

// mapped is the runtime's memory that the operating system holds for it, in bytes.
func mapped() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()) - int64(s[1].Value.Uint64())
}
