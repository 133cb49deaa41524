package profiler

import (
	"context"
	"io"
	"runtime/trace"
	"testing"
	"time"
)

// best returns the shortest time per call of several tries, so that a busy machine
// disturbs little.
func best(calls int, f func()) time.Duration {
	least := time.Duration(1 << 62)
	for range 15 {
		start := time.Now()
		for range calls {
			f()
		}
		least = min(least, time.Since(start))
	}
	return least
}

// What a span costs, against things that everyone knows, measured in one run: off next to
// nothing, on less than a runtime/trace region and than one mutex and two clock reads
// twice over.
func TestCost(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes all costs")
	}
	r := New(Config{})
	tr := r.Track("track")
	span := func() { tr.Begin(testOp, CategoryOp).End() }
	base := time.Now()
	var sum time.Duration
	clocks := func() { sum += time.Since(base) + time.Since(base) }
	const calls = 20_000
	off := best(calls, span)
	two := best(calls, clocks)
	if err := r.Start(StartOptions{Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	on := best(calls, span)
	stop(t, r)
	t.Logf("a span takes %.2f ns off, %.1f ns on; two clock reads %.1f ns",
		float64(off.Nanoseconds())/calls, float64(on.Nanoseconds())/calls, float64(two.Nanoseconds())/calls)
	if off > two/5 {
		t.Errorf("off, a span takes %v per %d, more than a fifth of two clock reads, %v", off, calls, two)
	}
	if on > 3*two {
		t.Errorf("on, a span takes %v per %d, more than three times two clock reads, %v", on, calls, two)
	}
	if trace.Start(io.Discard) != nil {
		return // go test -trace has it
	}
	defer trace.Stop()
	ctx := context.Background()
	region := best(calls, func() { trace.StartRegion(ctx, "x").End() })
	if on > region {
		t.Errorf("on, a span takes %v per %d, a runtime/trace region %v", on, calls, region)
	}
}
