package reading

import (
	"errors"
	"sync"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Without a limit of the user's a verb that keeps traces is to stay within a gibibyte on a few cores, if no trace alone
// takes more: half of it is for traces, the rest for the readers' buffers, what is written and what the collector
// leaves.
const (
	keptMost = 192 << 20 // bytes of traces that stay in memory: eight ranks of some 100 MB of text
	readMost = 320 << 20 // bytes of those that are read at a time: two ranks of some 800 MB of text, as expected
)

// errCrowded reports that traces that were to stay in memory do not fit together.
var errCrowded = errors.New("the traces do not fit into memory together")

// Kept are traces that are there after they were looked at, for verbs that need them a second time: in memory those
// that fit, others on disk. It may be used from several goroutines; nil keeps nothing.
type Kept struct {
	mu      sync.Mutex
	room    int64 // bytes
	all     bool  // every trace stays: within a limit of the user's it is all or none
	crowded bool  // they did not fit
	held    map[keptKey]*trace.Trace
	dir     string
	spilled *spill // nil as long as none was
}

// NewKept returns an empty Kept. Traces that do not fit into memory lie in a file of dir that has no name, until
// Close; with dir "" they are not kept.
func NewKept(dir string) *Kept { return &Kept{dir: dir} }

// Close gives up what lies on disk.
func (k *Kept) Close() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.spilled
	k.spilled, k.dir = nil, ""
	if s == nil {
		return nil
	}
	return s.close()
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
	if k.room = 0; need <= limit && !k.crowded {
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
	case k.all && (n > k.room || t.Repairs.Count[trace.RepairArgsMemory] > 0):
		return errCrowded
	case n <= k.room:
		k.room -= n
		k.held[keptKey{source, seq}] = t
	case k.dir != "":
		k.spill(keptKey{source, seq}, t)
	}
	return nil
}

// spill writes t to disk. What cannot be written is read again from its source.
func (k *Kept) spill(key keptKey, t *trace.Trace) {
	if k.spilled == nil {
		s, err := newSpill(k.dir)
		if err != nil {
			k.dir = ""
			return
		}
		k.spilled = s
	}
	if !k.spilled.add(key, t) {
		k.dir = "" // nor will the next ones fit
	}
}

// Take hands a trace over that was kept: number seq of a source; nil if it was not.
func (k *Kept) Take(source string, seq int) *trace.Trace {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key := keptKey{source, seq}
	t := k.held[key]
	if delete(k.held, key); t == nil && k.spilled != nil {
		t = k.spilled.take(key)
	}
	return t
}

// drop forgets all traces and keeps none in memory from now on.
func (k *Kept) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.room, k.all, k.crowded = nil, 0, false, true
}
