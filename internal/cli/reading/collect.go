package reading

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// How the heap is collected while a verb reads and answers. Most of what it holds are columns of
// numbers, in which there is nothing to mark, so that a collection costs a few milliseconds at any
// size: below firstHeap none is worth it, and beyond it garbage may be a third of what lives and not, as is usual, as
// much again.
const (
	firstHeap   = 64 << 20 // bytes
	leastHeap   = 4 << 20  // bytes at which the runtime collects for the first time at 100 percent
	laterGrowth = 35       // percent
	keptGrowth  = 30       // percent, where a verb keeps traces and is to stay within readMost and keptMost
)

var collecting sync.Once

// collectLate has the first collection of this process wait until the heap is firstHeap large, and
// those after it come when it has grown by growth percent. What the user has set with GOGC stays.
func collectLate(growth int) {
	collecting.Do(func() {
		if os.Getenv("GOGC") != "" {
			return
		}
		var m runtime.MemStats
		if runtime.ReadMemStats(&m); m.HeapAlloc > firstHeap/2 {
			return // a process that holds much already collects as it did
		}
		debug.SetGCPercent(100 * firstHeap / leastHeap)
		type object struct{ _ [16]byte }
		runtime.SetFinalizer(new(object), func(*object) { debug.SetGCPercent(growth) })
	})
}
