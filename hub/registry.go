package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// maxTombstones bounds how many incarnations that are known to be gone are
// remembered; a late renewal comes within PresenceTTL, long before so many die.
const maxTombstones = 4096

// lossError is the cause with which a lost rank's context ends.
type lossError struct{ reason string }

func (e *lossError) Error() string { return e.reason }

// entry is one incarnation of a rank. id, inc and ctx never change and may be read
// without the registry's lock.
type entry struct {
	id       protocol.RankID
	inc      string
	doom     string          // why it is about to be lost; the registry's lock
	asked    atomic.Bool     // a question whether it is there is under way
	ctx      context.Context // ends with a *lossError when the incarnation is lost
	lose     context.CancelCauseFunc
	info     protocol.RankInfo
	lastSeen time.Time
}

// registry is the table of live ranks. It has no clock: callers pass now.
// Safe for concurrent use.
type registry struct {
	mu      sync.Mutex
	ranks   map[protocol.RankID]*entry
	gone    map[string]string // incarnations that are not coming back, and why
	goneIDs []string          // the same, oldest first
	changed chan struct{}     // closed and replaced at every change
}

func newRegistry() *registry {
	return &registry{ranks: map[protocol.RankID]*entry{}, gone: map[string]string{}, changed: make(chan struct{})}
}

// wake wakes the goroutines that wait for a change of the table.
func (r *registry) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// seen takes a presence. Another incarnation of the same rank is thereby lost. It reports
// whether the incarnation is new to the table, or back in it, and whether it is taken.
func (r *registry) seen(info protocol.RankInfo, now time.Time) (returned, taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, dead := r.gone[info.Incarnation]; dead {
		return false, false
	}
	e := r.ranks[info.RankID]
	if e != nil && e.info.Incarnation != info.Incarnation {
		if info.StartedAt.Before(e.info.StartedAt) {
			return false, false // the last words of an older process
		}
		r.remove(e, replacedBy(info))
		e = nil
	}
	if returned = e == nil; returned {
		e = &entry{id: info.RankID, inc: info.Incarnation}
		e.ctx, e.lose = context.WithCancelCause(context.Background())
		r.ranks[info.RankID] = e
	}
	e.info, e.lastSeen = info, now
	r.wake()
	return returned, true
}

// replacedBy is why a process is not a rank any more when another has its place.
func replacedBy(by protocol.RankInfo) string {
	return fmt.Sprintf("its process has ended: another one, %d on %s, has its place", by.PID, by.Host)
}

// remove ends an incarnation for good.
func (r *registry) remove(e *entry, reason string) {
	delete(r.ranks, e.info.RankID)
	if e.doom != "" {
		reason = e.doom
	}
	if _, known := r.gone[e.inc]; !known {
		r.gone[e.inc] = reason
		r.goneIDs = append(r.goneIDs, e.inc)
		if len(r.goneIDs) > maxTombstones {
			delete(r.gone, r.goneIDs[0])
			r.goneIDs = r.goneIDs[1:]
		}
	}
	e.lose(&lossError{reason})
	r.wake()
}

// doom says why the live incarnation of id will be lost, before it is.
func (r *registry) doom(id protocol.RankID, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.ranks[id]; e != nil {
		e.doom = reason
	}
}

// lose ends the incarnation of id, whichever it is if incarnation is empty, and
// reports whether it was alive.
func (r *registry) lose(id protocol.RankID, incarnation, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.ranks[id]
	if e == nil || incarnation != "" && e.info.Incarnation != incarnation {
		return false
	}
	r.remove(e, reason)
	return true
}

// sweep drops the ranks without a renewal within ttl, or within the time for which they
// said that they may be quiet. Unlike those that are known to be gone, they are welcome
// back.
func (r *registry) sweep(now time.Time, ttl time.Duration) []protocol.RankInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []protocol.RankInfo
	for id, e := range r.ranks {
		patience := max(ttl, min(time.Duration(e.info.QuietNs), protocol.MaxQuiet))
		if silent := now.Sub(e.lastSeen); silent > patience {
			delete(r.ranks, id)
			e.lose(&lossError{fmt.Sprintf("no sign of life for %v: its process hangs, or its host or the network to it is gone",
				silent.Round(time.Millisecond))})
			out = append(out, e.info)
		}
	}
	if out != nil {
		r.wake()
	}
	return out
}

// excuse moves every rank's last renewal by d: the hub was not listening so long.
func (r *registry) excuse(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.ranks {
		e.lastSeen = e.lastSeen.Add(d)
	}
}

// dead reports whether an incarnation is known to be gone for good, and not only silent.
func (r *registry) dead(incarnation string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, dead := r.gone[incarnation]
	return dead
}

// size is how many ranks are live.
func (r *registry) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ranks)
}

// list returns the live ranks of a pipeline in order, of all pipelines if it is "".
func (r *registry) list(pipeline string) []protocol.RankInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listLocked(pipeline)
}

func (r *registry) listLocked(pipeline string) []protocol.RankInfo {
	var out []protocol.RankInfo
	for id, e := range r.ranks {
		if pipeline == "" || id.Pipeline == pipeline {
			out = append(out, e.info)
		}
	}
	slices.SortFunc(out, func(a, b protocol.RankInfo) int {
		return cmp.Or(a.Compare(b.RankID), cmp.Compare(a.Incarnation, b.Incarnation))
	})
	return out
}

// alive returns the entry of id if that incarnation is the live one. Else the *lossError says why it is not, as
// far as the registry knows.
func (r *registry) alive(id protocol.RankID, incarnation string) (*entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aliveLocked(id, incarnation)
}

// info returns what e announced last, false if it is lost.
func (r *registry) info(e *entry) (protocol.RankInfo, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.info, e.ctx.Err() == nil
}

func (r *registry) aliveLocked(id protocol.RankID, incarnation string) (*entry, error) {
	e := r.ranks[id]
	why, dead := r.gone[incarnation]
	switch {
	case dead:
		return nil, &lossError{why}
	case e == nil:
		return nil, &lossError{"not present"}
	case incarnation != "" && e.info.Incarnation != incarnation:
		return nil, &lossError{replacedBy(e.info)}
	}
	return e, nil
}

// await returns the entry of an incarnation once it is present. A rank that is
// present as another incarnation ends the wait, as ctx does.
func (r *registry) await(ctx context.Context, id protocol.RankID, incarnation string) (*entry, error) {
	for {
		r.mu.Lock()
		e, err := r.aliveLocked(id, incarnation)
		other := r.ranks[id] != nil
		_, dead := r.gone[incarnation]
		changed := r.changed
		r.mu.Unlock()
		if err == nil || other || dead {
			return e, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// waitReady returns when at least n ranks of pipeline are ready.
func (r *registry) waitReady(ctx context.Context, pipeline string, n int) ([]protocol.RankInfo, error) {
	for {
		r.mu.Lock()
		list := r.listLocked(pipeline)
		changed := r.changed
		r.mu.Unlock()
		ready := 0
		for _, i := range list {
			if i.Ready {
				ready++
			}
		}
		if ready >= n {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return list, fmt.Errorf("pipeline %s: %d of %d ranks are ready, %d present: %w",
				pipeline, ready, n, len(list), errors.Join(ctx.Err(), context.Cause(ctx)))
		}
	}
}
