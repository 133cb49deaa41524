package cores

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// Every index is worked on once, whatever the number of cores, and all is done when Each returns.
func TestEach(t *testing.T) {
	for _, cores := range []int{1, 2, 8} {
		for _, n := range []int{0, 1, 2, 7, 1000} {
			before := runtime.GOMAXPROCS(cores)
			times := make([]int32, n)
			Each(n, func(i int) { atomic.AddInt32(&times[i], 1) })
			runtime.GOMAXPROCS(before)
			if i := slices.IndexFunc(times, func(k int32) bool { return k != 1 }); i >= 0 {
				t.Errorf("%d cores: of %d, %d was called %d times", cores, n, i, times[i])
			}
		}
	}
}

// As many run at once as there are cores, and no more.
func TestEachAtOnce(t *testing.T) {
	const cores = 3
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	var running, most atomic.Int32
	var met sync.WaitGroup
	met.Add(cores)
	Each(2*cores, func(i int) {
		defer running.Add(-1)
		for now := running.Add(1); ; {
			if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
				break
			}
		}
		if i < cores { // the first of each worker wait for one another
			met.Done()
			met.Wait()
		}
	})
	if most.Load() != cores {
		t.Errorf("%d ran at once, want %d", most.Load(), cores)
	}
}
