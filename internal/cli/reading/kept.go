package reading

import (
	"errors"
	"sync"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// keptMost is how many bytes of traces stay in memory without a limit of the user's: eight ranks of
// some 125 MB of text, or one of a gigabyte.
const keptMost = 512 << 20

// errCrowded reports that traces that were to stay in memory do not fit together.
var errCrowded = errors.New("the traces do not fit into memory together")

// Kept are traces that stay in memory after they were looked at, for verbs that need them a second time: those that
// fit. It may be used from several goroutines; nil keeps nothing.
type Kept struct {
	mu   sync.Mutex
	room int64 // bytes
	all  bool  // every trace stays: within a limit of the user's it is all or none
	held map[keptKey]*trace.Trace
}

type keptKey struct {
	source string
	seq    int
}

// plan decides what of files may stay in memory if traces may take limit bytes, 0: as many as they need. It reports
// whether all will.
func (k *Kept) plan(files []open.Source, limit int64) (all bool) {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = map[keptKey]*trace.Trace{}
	if k.room, k.all = keptMost, false; limit == 0 {
		return false
	}
	var need int64
	for i := range files {
		need += files[i].Memory()
	}
	if k.room = 0; need <= limit {
		k.room, k.all = limit, true
	}
	return k.all
}

// add keeps t if it fits. It is an error if it does not although all were to fit.
func (k *Kept) add(source string, seq int, t *trace.Trace) error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := t.Bytes()
	switch {
	case k.room == 0:
	case k.all && (n > k.room || t.Repairs.Count[trace.RepairArgsMemory] > 0):
		return errCrowded
	case n <= k.room:
		k.room -= n
		k.held[keptKey{source, seq}] = t
	}
	return nil
}

// Take hands a trace over that was kept: number seq of a source; nil if it was not.
func (k *Kept) Take(source string, seq int) *trace.Trace {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.held[keptKey{source, seq}]
	delete(k.held, keptKey{source, seq})
	return t
}

// drop forgets all traces and keeps none from now on.
func (k *Kept) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.room, k.all = nil, 0, false
}
