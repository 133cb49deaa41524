package hub

import (
	"context"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// askTimeout bounds the question to a rank whose presence is late.
const askTimeout = 2 * time.Second

// askSilent asks the ranks whose presence is late whether they are there. Presence
// goes through JetStream, which may be without a leader or have lost the bucket with
// its only server; a rank that answers is alive whatever became of that.
func (h *Hub) askSilent(now time.Time, silent time.Duration) {
	for _, e := range h.reg.silent(now, silent) {
		h.wg.Go(func() {
			defer e.asked.Store(false)
			ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
			defer cancel()
			var s protocol.RankStatus
			if err := h.request(ctx, e.id, e.inc, protocol.MethodStatus, struct{}{}, &s); err != nil {
				h.log.Debug("a rank whose presence is late does not answer", "rank", e.id.Key(), "err", err)
			}
		})
	}
}

// silent returns the ranks from which nothing has arrived for d and that are not being asked now;
// the caller asks them.
func (r *registry) silent(now time.Time, d time.Duration) (out []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.ranks {
		if now.Sub(e.lastSeen) > d && e.asked.CompareAndSwap(false, true) {
			out = append(out, e)
		}
	}
	return out
}

// touch notes that e has given a sign of life.
func (r *registry) touch(e *entry, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.lastSeen.Before(now) {
		e.lastSeen = now
	}
}
