package hub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// liveTimeout bounds the question how much a rank has recorded. Pages ask again in a moment, and a
// rank in a long step answers then.
const liveTimeout = time.Second

// Live returns the session as Session does, with what the ranks have recorded by now: events,
// bytes, drops and iterations. For a rank that does not answer in time the session's last counts
// are used. The bounds are zero if the session has ended.
func (h *Hub) Live(ctx context.Context, id string) (*session.Status, session.Bounds, error) {
	h.mu.Lock()
	r := h.runners[id]
	h.mu.Unlock()
	if r == nil {
		st, err := h.Session(id)
		return st, session.Bounds{}, err
	}
	st := r.status()
	r.count(ctx, st)
	return st, r.bounds(st), nil
}

// bounds is where the session ends by itself.
func (r *runner) bounds(st *session.Status) session.Bounds {
	cfg := r.m.Config() // set once by New
	b := session.Bounds{MaxBytes: cfg.MaxBytes}
	if st.StartAtNs != 0 && cfg.Last == 0 {
		b.Until = time.Unix(0, st.StartAtNs).Add(cfg.MaxDuration)
	}
	for _, s := range st.Stages {
		for _, k := range s.Ranks {
			if n := r.target(k.RankID).Config.MaxIterations; n > 0 {
				if b.MaxIterations == nil {
					b.MaxIterations = map[int]int{}
				}
				b.MaxIterations[s.Stage] = n
			}
		}
	}
	return b
}

// count asks the ranks that record how much they have, and puts the answers into st, which is
// the caller's own.
func (r *runner) count(ctx context.Context, st *session.Status) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for i := range st.Stages {
		s := &st.Stages[i]
		s.Ranks = slices.Clone(s.Ranks)
		for j := range s.Ranks {
			k := &s.Ranks[j]
			if k.State != protocol.StateRecording {
				continue
			}
			asked.Go(func() {
				var now protocol.RankStatus
				err := r.h.request(ctx, k.RankID, r.incs[k.RankID].Incarnation, protocol.MethodStatus, struct{}{}, &now)
				if err != nil || now.Session != r.id || now.State != protocol.StateRecording {
					return // the session is ending, and reports that itself
				}
				k.Events, k.Bytes, k.Drops, k.Iterations = now.Events, now.Bytes, now.Drops, now.Iterations
			})
		}
	}
	asked.Wait()
}

// UnderWay is a session that has not ended, or whose files wait for room: its run is not to
// be touched.
type UnderWay struct{ ID string }

func (e *UnderWay) Error() string {
	return fmt.Sprintf("session %s is under way: stop it and wait for its run first", e.ID)
}

// HTTPStatus is 409.
func (e *UnderWay) HTTPStatus() int { return 409 }

// Code is session_running.
func (e *UnderWay) Code() protocol.Code { return protocol.CodeSessionRunning }

// Forget drops what the hub remembers of an ended session whose run is deleted. The error is
// an *UnderWay, or that its record stays; a session that the hub does not know is not an error.
func (h *Hub) Forget(ctx context.Context, id string) error {
	h.mu.Lock()
	_, runs := h.runners[id]
	_, waits := h.stranded[id]
	free := !runs && !waits && h.book.Remove(id)
	h.mu.Unlock()
	if !free {
		return &UnderWay{ID: id}
	}
	ctx, cancel := context.WithTimeout(ctx, persistTimeout)
	defer cancel()
	if err := h.dropDurable(ctx, id); err != nil {
		return fmt.Errorf("forget session %s: %w", id, err)
	}
	return nil
}
