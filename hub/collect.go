package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// dir is the run's directory, "" before its first file.
func (r *runner) dir() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runDir
}

// openRun returns the session's run, made at its first file.
func (r *runner) openRun() (*store.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != nil {
		return r.store, nil
	}
	run, err := openRun(r.h.store, r.runDir, r.st.StartedAt, r.st.Prefix, r.id)
	if err != nil {
		return nil, err
	}
	r.store = run
	r.runDir = r.store.Dir()
	return r.store, nil
}

// openRun returns the run of a session. It creates the run if dir is empty.
func openRun(s *store.Store, dir string, at time.Time, prefix, id string) (*store.Run, error) {
	if dir != "" {
		return s.Reopen(dir)
	}
	run, err := s.Create(at, prefix, id)
	if errors.Is(err, fs.ErrExist) { // made by a hub that died before it wrote that down
		return s.Reopen(filepath.Join(s.Root(), store.DirName(at, prefix, id)))
	}
	return run, err
}

// splitName splits at the first dot, so that "trace.json.gz" keeps its whole ending.
func splitName(name string) (base, ext string) {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// collect has a rank upload its files and brings them into the run. What an
// earlier hub has already brought is measured instead of fetched.
func (r *runner) collect(a session.Action) (session.Event, error) {
	if r.outlived(a.Rank) { // there is nobody to ask
		return r.collectHere(a, errHubKilled)
	}
	if err := r.h.Health(); err != nil { // nothing can be handed over
		return r.collectHere(a, err)
	}
	ev, err := r.collectOver(a)
	if err == nil || r.actx.Err() != nil {
		return ev, err
	}
	if r.mind(err) {
		return nil, &noRoomError{r.h.store.Root(), err}
	}
	if re, ok := errors.AsType[*RankError](err); ok && re.State != protocol.StateFailed {
		if re.State == protocol.StateLost && r.leftAllHere(a.Rank) {
			return r.collectHere(a, errHubKilledLater)
		}
		return ev, err // it is gone or silent, so its files are salvaged
	}
	if _, ok := errors.AsType[*refusedError](err); ok {
		return ev, err
	}
	return r.collectHere(a, err)
}

// collectHere takes a living rank's files from its spool, for they could not be handed
// over because of err. That is the error if they are not on this host.
func (r *runner) collectHere(a session.Action, err error) (session.Event, error) {
	done, bad := r.salvageHere(a)
	if bad != nil || len(done.Artifacts) == 0 {
		return nil, err
	}
	var in arrival
	for _, art := range done.Artifacts {
		if e := r.examine(&in, art); e != nil {
			in.lacks = append(in.lacks, e.Error())
		}
	}
	note := fmt.Sprintf("taken from its spool, for it could not be handed over: %v", err)
	if errors.Is(err, errHubKilled) {
		note = err.Error()
	}
	ev := session.Collected{Rank: a.Rank, Artifacts: done.Artifacts,
		Note: joinReasons(note, r.remark(a.Rank), in.note()), Bad: in.bad()}
	if r.outlived(a.Rank) { // there is nobody to tell
		return ev, nil
	}
	r.home(ev, func() { r.abort(session.Action{Kind: session.DoAbort, Rank: a.Rank, Reason: "collected"}) })
	return nil, nil
}

// collectOver has a rank upload its files.
func (r *runner) collectOver(a session.Action) (session.Event, error) {
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	bucket, obs, err := r.h.uploads(ctx, a.Rank)
	if err != nil {
		return nil, err
	}
	var s protocol.RankStatus
	if err := r.ask(ctx, a, protocol.MethodCollect, protocol.CollectRequest{Session: r.id, Bucket: bucket, Parts: true},
		&s); err != nil {
		return nil, err
	}
	got, in, err := r.fetchAll(ctx, obs, a.Rank, s.Artifacts)
	if err != nil {
		return nil, err
	}
	others, err := r.fetchOthers(ctx, obs, a.Rank, s.Others)
	if err != nil {
		return nil, err
	}
	// Durable here: the rank may forget the session.
	r.home(session.Collected{Rank: a.Rank, Artifacts: got, Others: others, Events: s.Events, Drops: s.Drops,
		Note: joinReasons(s.Reason, r.remark(a.Rank), in.note()),
		Bad:  joinReasons(failed(s), in.bad(), in.noteIfBad())},
		func() {
			r.abort(session.Action{Kind: session.DoAbort, Rank: a.Rank, Reason: "collected", Keep: in.missing})
		})
	return nil, nil
}

// failed returns why a rank reports, with the files it hands over, that it has failed.
func failed(s protocol.RankStatus) string {
	if s.State != protocol.StateFailed {
		return ""
	}
	return cmp.Or(s.Reason, "no reason given; see the rank's log")
}

// fetchAll brings a rank's files into the run. What is wrong with one of them is in the
// arrival, and the others are worth having; an error is that time is up.
func (r *runner) fetchAll(ctx context.Context, obs jetstream.ObjectStore, id protocol.RankID,
	ups []protocol.Artifact) (got []protocol.Artifact, in arrival, err error) {
	for _, up := range ups {
		art, err := r.fetch(ctx, obs, id, up)
		if err == nil {
			got = append(got, art)
			err = r.examine(&in, art)
		} else if ctx.Err() != nil || store.NoRoom(err) {
			return got, in, err
		} else {
			in.missing = true
		}
		if err != nil {
			in.lacks = append(in.lacks, fmt.Sprintf("%s: %v", up.Name, err))
		}
	}
	return got, in, nil
}

// examine says what a file that came home lacks.
func (r *runner) examine(in *arrival, art protocol.Artifact) error {
	run, err := r.openRun()
	if err != nil {
		return err
	}
	return in.examine(run, art)
}

// joinReasons is all that are not empty, as one text.
func joinReasons(list ...string) string {
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), "; ")
}

// fetch brings one uploaded file into the run and checks it.
func (r *runner) fetch(ctx context.Context, obs jetstream.ObjectStore, id protocol.RankID,
	up protocol.Artifact) (protocol.Artifact, error) {
	var none protocol.Artifact
	run, err := r.openRun()
	if err != nil {
		return none, err
	}
	base, ext := splitName(up.Name)
	name := store.ArtifactName(id, r.target(id).StageName, base, ext)
	art, err := run.Describe(name, up.Kind)
	if errors.Is(err, store.ErrNotFound) {
		err = link.Retry(ctx, func() error {
			obj, err := openUpload(ctx, obs, up)
			if err != nil {
				return err
			}
			art, err = run.Write(name, up.Kind, obj)
			return errors.Join(err, obj.Close())
		})
	}
	if err != nil {
		return none, err
	}
	if art.Size != up.Size || art.SHA256 != up.SHA256 {
		return none, fmt.Errorf("%s has %d bytes with SHA-256 %s, the rank sent %d with %s", name, art.Size, art.SHA256,
			up.Size, up.SHA256)
	}
	r.h.drop(ctx, obs, up)
	return art, nil
}

// salvage takes the spooled files of a rank that cannot hand them over: from its
// spool if that is on this host, else by the rank itself or its successor on the same
// host if one of them is there by now. Finding none is not an error.
func (r *runner) salvage(a session.Action) (session.Event, error) {
	t := r.incs[a.Rank]
	if t.SpoolDir == "" {
		return session.Salvaged{Rank: a.Rank}, nil
	}
	if t.Host == r.h.host {
		done, err := r.salvageHere(a)
		if err != nil || len(done.Artifacts) > 0 || done.Note != "" {
			return done, err
		}
	}
	return r.salvageThere(a, t.Host)
}

// salvageThere asks who lives under the lost rank's name on its host. One that is
// back from a silence still records, so it is stopped first.
func (r *runner) salvageThere(a session.Action, host string) (session.Event, error) {
	done := session.Salvaged{Rank: a.Rank}
	e, err := r.h.reg.alive(a.Rank, "")
	if err != nil {
		return done, nil
	}
	info, ok := r.h.reg.info(e)
	if !ok || info.Host != host {
		return done, nil
	}
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	ask := func(method protocol.Method, in any) (s protocol.RankStatus, err error) {
		err = r.h.request(ctx, a.Rank, e.inc, method, in, &s)
		return s, err
	}
	if _, err := ask(protocol.MethodStop, protocol.StopRequest{Session: r.id}); err != nil {
		// a successor does not know the session
		r.h.log.Debug("salvage: nothing to stop", "rank", a.Rank.Key(), "err", err)
	}
	bucket, obs, err := r.h.uploads(ctx, a.Rank)
	if err != nil {
		return nil, fmt.Errorf("salvage: %w", err)
	}
	s, err := ask(protocol.MethodCollect, protocol.CollectRequest{Session: r.id, Bucket: bucket, Parts: true})
	if err != nil {
		r.h.log.Info("nothing came of a lost rank's spool", "rank", a.Rank.Key(), "host", host, "err", err)
		return done, nil
	}
	for _, up := range s.Artifacts {
		art, err := r.fetch(ctx, obs, a.Rank, up)
		if store.NoRoom(err) {
			done.Note = fmt.Sprintf("its recording waits in %s on %s, from where kinetoscope recover brings it home",
				filepath.Join(r.incs[a.Rank].SpoolDir, r.id), host)
			return done, nil
		}
		if err != nil {
			return nil, fmt.Errorf("salvage: %w", err)
		}
		done.Artifacts = append(done.Artifacts, art)
	}
	done.Note = r.salvaged(done.Artifacts)
	if _, err := ask(protocol.MethodAbort, protocol.AbortRequest{Session: r.id, Reason: "collected"}); err != nil {
		r.h.log.Warn("a salvaged file stays in its spool too", "rank", a.Rank.Key(), "host", host, "err", err)
	}
	return done, nil
}

// salvaged says how far the files of a rank that ended badly reach, "" if it has none.
func (r *runner) salvaged(arts []protocol.Artifact) string {
	var in arrival
	for _, art := range arts {
		if err := r.examine(&in, art); err != nil {
			in.lacks = append(in.lacks, fmt.Sprintf("%s: %v", art.Name, err))
		}
	}
	switch {
	case in.kept != "": // a process that was killed leaves nothing better
		return joinReasons(in.kept, in.note())
	case len(arts) > 0 && len(in.lacks) == 0:
		in.notes = append(in.notes, "what it recorded until then is whole")
	}
	return joinReasons(in.bad(), in.note())
}

// salvageHere takes the files from the spool of a rank on this host, if the hub gave it that spool.
// Other directories are not trusted, because any rank can name them.
func (r *runner) salvageHere(a session.Action) (session.Salvaged, error) {
	done := session.Salvaged{Rank: a.Rank}
	t := r.incs[a.Rank]
	spool := r.h.spool[t.SpoolDir]
	if spool == nil {
		r.h.log.Info("a lost rank's spool is none that this hub gave out: nothing is taken from it", "rank",
			a.Rank.Key(), "dir", t.SpoolDir)
		return done, nil
	}
	r.mu.Lock()
	told := r.told[a.Rank]
	r.mu.Unlock()
	if told != nil { // a rank that lives first completes its file
		<-told
	}
	files, arts, err := takeSpooled(r.openRun, spool, r.id, t)
	if len(files) > 0 && r.quiet(a.Rank) {
		removeSpooled(files, r.id, r.h.log)
	} // else it is silent: what it has not written yet comes late, with the rest
	done.Artifacts = arts
	switch {
	case r.mind(err):
		done.Note = fmt.Sprintf(
			"its recording waits in %s and is brought home when there is room, or by kinetoscope recover",
			filepath.Join(t.SpoolDir, r.id))
		return done, nil
	case err != nil && len(arts) == 0:
		return done, fmt.Errorf("salvage: %w", err)
	case err != nil:
		done.Note = err.Error()
	case len(arts) == 0: // moved by a collection that was given up, or nothing there
		run, name := r.openedRun(), store.ArtifactName(a.Rank, t.StageName, string(protocol.KindRecording),
			protocol.RecordingExt)
		if run != nil {
			if art, err := run.Describe(name, protocol.KindRecording); err == nil {
				done.Artifacts = append(done.Artifacts, art)
			}
		}
	}
	done.Note = joinReasons(r.salvaged(done.Artifacts), r.remark(a.Rank), done.Note)
	return done, nil
}

// quiet reports whether a rank will write no more to its files: it is gone, or has dropped
// the session.
func (r *runner) quiet(id protocol.RankID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orphans[id] || r.answered[id] || r.h.reg.dead(r.incs[id].Incarnation)
}

// openedRun is the session's run if it has one already.
func (r *runner) openedRun() *store.Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store
}
