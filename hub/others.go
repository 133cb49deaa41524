package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// maxOthers bounds the ranks that one rank may stand for: the processes of a large server.
const maxOthers = 1024

// patience is how long the session waits for its ranks: the hub's own bounds, and what the
// slowest of the targets says that its profiler needs beyond them.
func (h *Hub) patience(targets []session.Target) session.Timeouts {
	t := h.cfg.Timeouts
	var lead, flush time.Duration
	for _, target := range targets {
		e, err := h.reg.alive(target.RankID, target.Incarnation)
		if err != nil {
			continue // its arm says so
		}
		info, _ := h.reg.info(e)
		lead = max(lead, min(time.Duration(info.LeadNs), protocol.MaxLead))
		flush = max(flush, min(time.Duration(info.FlushNs), protocol.MaxFlush))
	}
	t = forMany(t, len(targets))
	t.Start += lead
	t.Collect += flush
	return t
}

// ahead is how long before the instant the targets have to be told of it.
func (h *Hub) ahead(targets []session.Target) (out time.Duration) {
	for _, target := range targets {
		if e, err := h.reg.alive(target.RankID, target.Incarnation); err == nil {
			info, _ := h.reg.info(e)
			out = max(out, min(time.Duration(info.AheadNs), protocol.MaxLead))
		}
	}
	return out + beyond(len(targets), aheadEach)
}

// target is what the session knows of a rank.
func (r *runner) target(id protocol.RankID) session.Target { return targetOf(r.incs, id) }

// refusedError says that what a rank hands over is not taken: another way would not mend it.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

// fetchOthers brings the files of the ranks home that by has recorded as well.
func (r *runner) fetchOthers(ctx context.Context, obs jetstream.ObjectStore, by protocol.RankID,
	others []protocol.RankStatus) ([]protocol.RankStatus, error) {
	if len(others) > maxOthers {
		return nil, &refusedError{fmt.Sprintf("it stands for %d ranks, at most %d are taken", len(others), maxOthers)}
	}
	for i := range others {
		o := &others[i]
		_, taken := r.incs[o.RankID]
		if _, err := r.h.reg.alive(o.RankID, ""); err == nil { // it speaks for itself
			taken = true
		}
		if taken || o.Pipeline != by.Pipeline || o.Stage != by.Stage || o.Validate() != nil {
			return nil, &refusedError{fmt.Sprintf("it hands over files of %s, for which it does not stand", o.Text())}
		}
		got, in, err := r.fetchAll(ctx, obs, o.RankID, o.Artifacts)
		if err != nil {
			return nil, err
		}
		o.Artifacts, o.Reason = got, joinReasons(o.Reason, in.note())
		if bad := in.bad(); bad != "" {
			o.State, o.Reason = protocol.StateFailed, joinReasons(bad, in.note())
		}
	}
	return others, nil
}
