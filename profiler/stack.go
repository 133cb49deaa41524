package profiler

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// Stacks are interned in one table a process. It is read without a lock; a new stack
// takes one, once.
const (
	stackBuckets = 1 << 12
	maxStacks    = 1 << 16 // distinct stacks; beyond it spans go without
)

type stackEntry struct {
	pcs  []uintptr
	id   uint32 // from 1
	next *stackEntry
}

var stacks struct {
	buckets [stackBuckets]atomic.Pointer[stackEntry]
	mu      sync.Mutex
	byID    []*stackEntry
}

// callerStack returns the id of the calling stack without its skip innermost frames
// above this function's, or 0 if the table is full.
func callerStack(skip int) uint32 {
	var pcs [format.MaxFrames]uintptr
	n := runtime.Callers(skip+2, pcs[:])
	h := uint64(14695981039346656037)
	for _, pc := range pcs[:n] {
		h = (h ^ uint64(pc)) * 1099511628211
	}
	b := &stacks.buckets[(h^h>>32)%stackBuckets]
	for e := b.Load(); e != nil; e = e.next {
		if slices.Equal(e.pcs, pcs[:n]) {
			return e.id
		}
	}
	return addStack(b, pcs[:n])
}

func addStack(b *atomic.Pointer[stackEntry], pcs []uintptr) uint32 {
	stacks.mu.Lock()
	defer stacks.mu.Unlock()
	for e := b.Load(); e != nil; e = e.next {
		if slices.Equal(e.pcs, pcs) {
			return e.id
		}
	}
	if len(stacks.byID) >= maxStacks {
		return 0
	}
	e := &stackEntry{pcs: slices.Clone(pcs), id: uint32(len(stacks.byID) + 1), next: b.Load()}
	stacks.byID = append(stacks.byID, e)
	b.Store(e)
	return e.id
}

// stackFrames returns the program counters of a stack, nil if id is unknown.
func stackFrames(id uint64) []uintptr {
	stacks.mu.Lock()
	defer stacks.mu.Unlock()
	if id == 0 || id > uint64(len(stacks.byID)) {
		return nil
	}
	return stacks.byID[id-1].pcs
}
