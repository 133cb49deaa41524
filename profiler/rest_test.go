package profiler

import (
	"io"
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
