package profiler

import (
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCollectorRests holds the collector to sleep while nothing is handed over, and to
// wake for the first chunk that is.
func TestCollectorRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{ChunkBytes: minChunkBytes, FlushEvery: time.Hour})
		tr := r.Track("track")
		if err := r.Start(StartOptions{Out: io.Discard}); err != nil {
			t.Fatal(err)
		}
		e := r.eng
		unread := func() (n uint64) {
			e.do(func() { n = e.handed.Load() - e.seen })
			return n
		}
		for rest := range 3 {
			time.Sleep((quietPolls + 2) * pollEvery)
			synctest.Wait()
			if !e.resting.Load() {
				t.Fatalf("rest %d: the collector still polls after %d quiet polls", rest, quietPolls+2)
			}
			for was := e.handed.Load(); e.handed.Load() == was; {
				tr.Begin(testOp, CategoryOp).End()
			}
			synctest.Wait()
			if n := unread(); e.resting.Load() || n != 1 {
				t.Fatalf("rest %d: a chunk was handed over: resting %v, %d to be read", rest, e.resting.Load(), n)
			}
			time.Sleep(pollEvery)
			synctest.Wait()
			if n := unread(); n != 0 {
				t.Fatalf("rest %d: %d chunks are not read at the poll after they were handed over", rest, n)
			}
		}
		stop(t, r)
	})
}

// TestFlightRecorderRestsLonger: with the flight recorder alone no generation is cut every FlushEvery,
// and a recording that begins in its rest is written as often as any.
func TestFlightRecorderRestsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Clock: ClockMonotonic})
		if err := r.FlightStart(FlightOptions{}); err != nil {
			t.Fatal(err)
		}
		e, tr := r.eng, r.Track("track")
		time.Sleep(ringRest - DefaultFlushEvery)
		synctest.Wait()
		var age time.Duration
		e.do(func() { age = time.Duration(monoNow() - e.open.mono) })
		if age < 2*DefaultFlushEvery {
			t.Errorf("after %v without a record the generation is %v old", ringRest-DefaultFlushEvery, age)
		}
		time.Sleep(2 * DefaultFlushEvery) // into the next rest
		var out counter
		if err := r.Start(StartOptions{Out: &out}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * DefaultFlushEvery)
		synctest.Wait()
		before := out.n.Load()
		tr.Begin(testOp, CategoryOp).End()
		time.Sleep(2 * DefaultFlushEvery)
		synctest.Wait()
		if out.n.Load() == before {
			t.Errorf("a recording that began in a rest was not written within %v", 2*DefaultFlushEvery)
		}
		stop(t, r)
		if err := r.FlightStop(); err != nil {
			t.Error(err)
		}
	})
}

// counter counts the bytes written to it.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}
