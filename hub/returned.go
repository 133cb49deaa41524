package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// reclaimTimeout bounds the work on one rank whose profiler is on without a session: its recording
// may have to be completed and uploaded first.
const reclaimTimeout = 5 * time.Minute

// strays are the ranks whose profiler is on for a session that has ended: they were silent
// when it ended, or were told to drop it and did not get the message. The zero value is ready.
type strays struct {
	mu    sync.Mutex
	ranks map[string]bool // by incarnation; true while something is done about it
}

// note says that a rank's presence names a session that has ended, or none, and reports
// whether the caller is to do something about it.
func (s *strays) note(incarnation string, stray bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !stray {
		if !s.ranks[incarnation] {
			delete(s.ranks, incarnation)
		}
		return false
	}
	if s.ranks[incarnation] {
		return false
	}
	if s.ranks == nil {
		s.ranks = map[string]bool{}
	}
	s.ranks[incarnation] = true
	return true
}

// done ends what note has begun; again says that the profiler is still on.
func (s *strays) done(incarnation string, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if again {
		s.ranks[incarnation] = false
		return
	}
	delete(s.ranks, incarnation)
}

// count forgets the ranks that are not live and counts the others: a process that has ended has no
// profiler on, and one that was only silent is noted again when it speaks.
func (s *strays) count(live []protocol.RankInfo) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for incarnation, busy := range s.ranks {
		if !busy && !slices.ContainsFunc(live, func(i protocol.RankInfo) bool { return i.Incarnation == incarnation }) {
			delete(s.ranks, incarnation)
		}
	}
	return len(s.ranks)
}

// Strays is how many ranks have a profiler on that no session owns. It is 0 but for the
// moments that it takes to turn one off.
func (h *Hub) Strays() int { return h.strays.count(h.reg.list("")) }

// ended reports whether a session is this hub's and over.
func (h *Hub) ended(id string) bool {
	h.mu.Lock()
	under := h.runners[id] != nil
	_, waits := h.stranded[id]
	st, known := h.book.Get(id)
	h.mu.Unlock()
	return !under && !waits && known && st.State.Terminal()
}

// reclaim looks at a presence: what the rank records belongs to a session that is under
// way, or is taken from it. A rank that is new to the table may besides hold files of
// sessions that have ended without them.
func (h *Hub) reclaim(info protocol.RankInfo, returned bool) {
	stray := info.Session != "" && h.ended(info.Session)
	if !h.strays.note(info.Incarnation, stray) && !returned {
		return
	}
	h.wg.Go(func() {
		ctx, cancel := context.WithTimeout(h.ctx, reclaimTimeout)
		defer cancel()
		err := h.settle(ctx, info, returned)
		if err != nil && h.ctx.Err() == nil {
			h.log.Warn("a rank holds what no session owns", "rank", info.Key(), "session", info.Session, "err", err)
		}
		if stray {
			h.strays.done(info.Incarnation, err != nil)
		}
	})
}

// settle asks a rank how it stands, stops what no session owns, and takes its files as late
// parts of their sessions.
func (h *Hub) settle(ctx context.Context, info protocol.RankInfo, returned bool) error {
	var s protocol.RankStatus
	if err := h.request(ctx, info.RankID, info.Incarnation, protocol.MethodStatus, struct{}{}, &s); err != nil {
		return err
	}
	var errs []error
	if on := s.Session; on != "" && (s.State == protocol.StateArmed || s.State == protocol.StateRecording) &&
		h.ended(on) {
		h.log.Warn("a rank's profiler is on and its session has ended: it is turned off", "rank", info.Key(), "session",
			on)
		var stopped protocol.RankStatus
		err := h.request(ctx, info.RankID, info.Incarnation, protocol.MethodStop, protocol.StopRequest{Session: on},
			&stopped)
		if err != nil {
			return err
		}
		errs = append(errs, h.takeLate(ctx, info, on))
	}
	if returned {
		for _, id := range s.Held {
			if h.ended(id) {
				errs = append(errs, h.takeLate(ctx, info, id))
			}
		}
	}
	return errors.Join(errs...)
}

// takeLate brings the files of a rank into the run of a session that has ended without
// them, beside what the run's manifest lists, and has the rank drop the session. Of a
// session that left no run, the files stay in the rank's spool.
func (h *Hub) takeLate(ctx context.Context, info protocol.RankInfo, id string) error {
	keep := false
	st, err := h.Session(id)
	if err == nil {
		keep, err = h.fetchLate(ctx, info, st)
	}
	if err != nil {
		return fmt.Errorf("a late part of session %s: %w", id, err)
	}
	var s protocol.RankStatus
	return h.request(ctx, info.RankID, info.Incarnation, protocol.MethodAbort,
		protocol.AbortRequest{Session: id, Reason: "the session has ended", Keep: keep}, &s)
}

// fetchLate reports whether the files are to stay where they are.
func (h *Hub) fetchLate(ctx context.Context, info protocol.RankInfo, st *session.Status) (keep bool, err error) {
	if st.RunDir == "" {
		h.log.Warn("a rank's recording came after its session, which left no run: it stays in the rank's spool",
			"rank", info.Key(), "session", st.ID, "host", info.Host, "spool", info.SpoolDir)
		return true, nil
	}
	bucket, obs, err := h.uploads(ctx, info.RankID)
	if err != nil {
		return false, err
	}
	var s protocol.RankStatus
	if err := h.request(ctx, info.RankID, info.Incarnation, protocol.MethodCollect,
		protocol.CollectRequest{Session: st.ID, Bucket: bucket, Parts: true}, &s); err != nil {
		return false, err
	}
	run, err := h.store.Reopen(st.RunDir)
	if err != nil {
		return false, err
	}
	defer run.Close()
	var late []protocol.Artifact
	for _, up := range s.Artifacts {
		base, ext := splitName(up.Name)
		if has(st.Rank(info.RankID), up) { // it was salvaged as it is
			continue
		}
		name := store.LateDir + "/" + store.ArtifactName(info.RankID, info.StageName, base, ext)
		obj, err := openUpload(ctx, obs, up)
		if err != nil {
			return false, err
		}
		art, err := run.Write(name, up.Kind, obj)
		err = errors.Join(err, obj.Close())
		if errors.Is(err, fs.ErrExist) {
			art, err = run.Describe(name, up.Kind)
		}
		if err != nil {
			return false, err
		}
		if art.SHA256 != up.SHA256 {
			return false, fmt.Errorf("%s is not what the rank sent", name)
		}
		late = append(late, art)
		h.log.Warn("a rank's recording came after its session has ended; it is beside the run's files",
			"rank", info.Key(), "session", st.ID, "file", name, "run", st.RunDir)
	}
	if len(late) > 0 {
		if err := run.FinishLate(info.RankID, late); err != nil {
			return false, err
		}
	}
	for _, up := range s.Artifacts {
		h.drop(ctx, obs, up)
	}
	if len(late) > 0 {
		h.reread(st.RunDir)
	}
	return false, nil
}

// has reports whether a rank has left just this file.
func has(r *protocol.RankStatus, a protocol.Artifact) bool {
	return r != nil && slices.ContainsFunc(r.Artifacts, func(b protocol.Artifact) bool {
		return a.SHA256 != "" && a.SHA256 == b.SHA256
	})
}

// drop removes an uploaded file that is in its run.
func (h *Hub) drop(ctx context.Context, obs jetstream.ObjectStore, up protocol.Artifact) {
	for _, object := range objects(up) {
		if err := obs.Delete(ctx, object); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			h.log.Warn("an object that is no longer needed stays until it expires", "object", object, "err", err)
		}
	}
}

// reread has clients see a finished session as its run has it now.
func (h *Hub) reread(dir string) {
	st, err := readManifest(h.store, dir)
	if err != nil {
		h.log.Error("a finished run cannot be read", "run", dir, "err", err)
		return
	}
	h.setURLs(st)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.book.Put(st)
}
