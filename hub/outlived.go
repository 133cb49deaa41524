package hub

import (
	"errors"
	"os"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// errHubKilled is why a whole recording ends before its session was stopped.
var errHubKilled = errors.New("the hub was killed: it recorded until then")

// gone is the event for a rank that will not answer any more. Ranks that a hub has launched
// end with it, in good order: the next hub finds what they recorded whole in the spool, and
// they have stopped instead of being lost.
func (r *runner) gone(id protocol.RankID, reason string) session.Event {
	if !r.resumed {
		return session.Lost{Rank: id, Reason: reason}
	}
	c := r.inOwnSpool(id)
	if c == nil || c.Lacks() != "" {
		return session.Lost{Rank: id, Reason: "the hub was killed while it recorded, and it has not come back: " + reason}
	}
	r.mu.Lock()
	r.orphans[id] = true
	r.mu.Unlock()
	return session.Stopped{Rank: id, Status: protocol.RankStatus{
		RankID: id, State: protocol.StateStopped, Session: r.id, StartedAtNs: c.Header.Start, StoppedAtNs: c.End.Time,
		Events: c.End.Events, Drops: c.End.Drops, StoppedBy: protocol.StoppedByHubLost,
	}}
}

// outlived reports whether a rank has ended with the hub before this one and left a whole
// recording here.
func (r *runner) outlived(id protocol.RankID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphans[id]
}

// inOwnSpool reads a rank's recording where it lies, nil if there is none here.
func (r *runner) inOwnSpool(id protocol.RankID) *format.Check {
	root := r.h.ownSpool(r.incs[id])
	if root == nil {
		return nil
	}
	f, _, err := plainfile.Open(root, r.id+"/"+id.FileBase()+protocol.RecordingExt, os.Geteuid())
	if err != nil {
		return nil
	}
	defer f.Close()
	c, err := format.Verify(f)
	if err != nil {
		return nil
	}
	return c
}
