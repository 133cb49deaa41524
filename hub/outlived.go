package hub

import (
	"errors"
	"os"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// errHubKilled is why a whole recording ends before its session was stopped.
var errHubKilled = errors.New("the hub was killed: it recorded until then")

// errHubKilledLater is why a rank that had ended its recording could not hand over its files.
var errHubKilledLater = errors.New("the hub was killed meanwhile, and its ranks with it")

// gone returns the event for a rank that will not answer any more. Ranks that the hub launched end
// with the hub, in good order: the next hub finds complete recordings in the spool, so these ranks
// have stopped and are not lost.
func (r *runner) gone(id protocol.RankID, reason string) session.Event {
	if !r.resumed {
		return session.Lost{Rank: id, Reason: reason}
	}
	c := r.leftHere(id)
	if c == nil || c.Lacks() != "" {
		return session.Lost{Rank: id, Reason: "the hub was killed while it recorded, and it has not come back: " +
			reason}
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

// leftAllHere reports whether a rank that ended with the hub before this one had ended its
// recording, and left all of it on this host.
func (r *runner) leftAllHere(id protocol.RankID) bool {
	if !r.resumed {
		return false
	}
	c := r.leftHere(id)
	if c == nil || c.Lacks() != "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orphans[id] = true
	return true
}

// leftHere reads a rank's recording where it lies: in the spool that the hub gave it, or in the run
// if the previous hub moved it there and was killed before it could record that. It is nil if there
// is none.
func (r *runner) leftHere(id protocol.RankID) *format.Check {
	var f *os.File
	var err error
	if root := r.h.ownSpool(r.incs[id]); root != nil {
		f, _, err = plainfile.Open(root, r.id+"/"+id.FileBase()+protocol.RecordingExt, os.Geteuid())
	}
	if f == nil || err != nil {
		if r.dir() == "" {
			return nil
		}
		run, err := r.openRun()
		if err != nil {
			return nil
		}
		name := store.ArtifactName(id, r.target(id).StageName, string(protocol.KindRecording), protocol.RecordingExt)
		if f, err = run.Open(name); err != nil {
			return nil
		}
	}
	defer f.Close()
	c, err := format.Verify(f)
	if err != nil {
		return nil
	}
	return c
}
