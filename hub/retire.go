package hub

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// retire drops the durable records of the sessions that the book has forgotten: their runs
// say all that is to be known of them, and the records of a hub that runs for months would
// fill its memory, for the server keeps an index of them. Those whose files wait for room
// keep theirs.
func (h *Hub) retire(ctx context.Context) {
	h.mu.Lock()
	ids := h.book.Forgotten()
	h.mu.Unlock()
	for _, id := range ids {
		h.mu.Lock()
		_, waits := h.stranded[id]
		h.mu.Unlock()
		if waits {
			continue
		}
		if err := h.dropDurable(ctx, id); err != nil && h.ctx.Err() == nil {
			h.log.Debug("the durable record of an old session stays until it expires", "session", id, "err", err)
		}
	}
}

// dropDurable removes a session's record from its bucket, and leaves no marker in its place.
func (h *Hub) dropDurable(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, persistTimeout)
	defer cancel()
	s, err := h.js.Stream(ctx, "KV_"+protocol.BucketSessions)
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(fmt.Sprintf("$KV.%s.%s", protocol.BucketSessions, h.sessionKey(id))))
}
