package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// ConvertInput is what a conversion works on: a run whose recordings are durable.
type ConvertInput struct {
	Session session.Status
	RunDir  string
	Run     *store.Run // where artifacts go
	Ranks   []ConvertRank
	// Progress reports how far the job has come; clients see it in the status.
	Progress func(done, total int, what string)
	// Lacks reports what could not be made of a rank's files; it stands in the rank's
	// reason and makes the session partial. The rest goes on.
	Lacks func(id protocol.RankID, err error)
}

// ConvertRank is one rank's part: those with at least one file.
type ConvertRank struct {
	Status    protocol.RankStatus
	StageName string
	Recording string              // path of the recording, "" if the rank left none
	Files     []protocol.Artifact // all that it left, names relative to the run
	Config    protocol.ProfilerConfig
	Partial   bool // the rank did not complete: its files may end anywhere
}

// ConvertFunc makes artifacts of recordings. It writes them through in.Run, or
// itself under in.RunDir, and returns them by rank and for the run as a whole;
// where SHA256 is empty the hub measures the file. What is returned beside an error is
// kept: the session is partial then, and failed if nothing could be made; its recordings
// are kept in any case. After a restart of the hub a conversion begins anew
// in a run that holds recordings only.
type ConvertFunc func(ctx context.Context, in ConvertInput) (perRank map[protocol.RankID][]protocol.Artifact, run []protocol.Artifact, err error)

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
	var err error
	if r.runDir != "" {
		r.store, err = r.h.store.Reopen(r.runDir)
	} else {
		r.store, err = r.h.store.Create(r.st.StartedAt, r.st.Prefix, r.id)
		if errors.Is(err, fs.ErrExist) { // made by a hub that died before it wrote that down
			r.store, err = r.h.store.Reopen(filepath.Join(r.h.store.Root(), store.DirName(r.st.StartedAt, r.st.Prefix, r.id)))
		}
	}
	if err != nil {
		return nil, err
	}
	r.runDir = r.store.Dir()
	return r.store, nil
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
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	bucket, obs, err := r.h.uploads(ctx, a.Rank)
	if err != nil {
		return nil, err
	}
	var s protocol.RankStatus
	if err := r.ask(ctx, a, protocol.MethodCollect, protocol.CollectRequest{Session: r.id, Bucket: bucket}, &s); err != nil {
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
	r.abort(session.Action{Kind: session.DoAbort, Rank: a.Rank, Reason: "collected", Keep: in.missing})
	return session.Collected{Rank: a.Rank, Artifacts: got, Others: others, Events: s.Events, Drops: s.Drops,
		Note: joinReasons(s.Reason, in.note()), Bad: joinReasons(in.bad(), in.noteIfBad())}, nil
}

// fetchAll brings a rank's files into the run. What is wrong with one of them is in the
// arrival, and the others are worth having; an error is that time is up.
func (r *runner) fetchAll(ctx context.Context, obs jetstream.ObjectStore, id protocol.RankID, ups []protocol.Artifact) (got []protocol.Artifact, in arrival, err error) {
	for _, up := range ups {
		art, err := r.fetch(ctx, obs, id, up)
		if err == nil {
			got = append(got, art)
			err = r.examine(&in, art)
		} else if ctx.Err() != nil {
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
func (r *runner) fetch(ctx context.Context, obs jetstream.ObjectStore, id protocol.RankID, up protocol.Artifact) (protocol.Artifact, error) {
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
			obj, err := obs.Get(ctx, up.Object)
			if err != nil {
				return fmt.Errorf("fetch %s: %w", up.Object, err)
			}
			art, err = run.Write(name, up.Kind, obj)
			return errors.Join(err, obj.Close())
		})
	}
	if err != nil {
		return none, err
	}
	if art.Size != up.Size || art.SHA256 != up.SHA256 {
		return none, fmt.Errorf("%s has %d bytes with SHA-256 %s, the rank sent %d with %s", name, art.Size, art.SHA256, up.Size, up.SHA256)
	}
	if err := obs.Delete(ctx, up.Object); err != nil {
		r.h.log.Warn("an object that is no longer needed stays until it expires", "object", up.Object, "err", err)
	}
	return art, nil
}

// salvage takes the spooled files of a rank that cannot hand them over: from its
// spool if that is on this host, else by the rank itself or its successor on the same
// host if one of them is there by now. Finding none is no error.
func (r *runner) salvage(a session.Action) (session.Event, error) {
	t := r.incs[a.Rank]
	if t.SpoolDir == "" {
		return session.Salvaged{Rank: a.Rank}, nil
	}
	if t.Host == r.h.host {
		done, err := r.salvageHere(a)
		if err != nil || len(done.Artifacts) > 0 {
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
		r.h.log.Debug("salvage: nothing to stop", "rank", a.Rank.Key(), "err", err) // a successor does not know the session
	}
	bucket, obs, err := r.h.uploads(ctx, a.Rank)
	if err != nil {
		return nil, fmt.Errorf("salvage: %w", err)
	}
	s, err := ask(protocol.MethodCollect, protocol.CollectRequest{Session: r.id, Bucket: bucket})
	if err != nil {
		r.h.log.Info("nothing came of a lost rank's spool", "rank", a.Rank.Key(), "host", host, "err", err)
		return done, nil
	}
	for _, up := range s.Artifacts {
		art, err := r.fetch(ctx, obs, a.Rank, up)
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

// salvaged says how far the files of a rank that ended badly reach, "" if there are none.
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

// salvageHere takes the files from the spool of a rank on this host, if the hub gave it
// that spool: any other directory is what somebody says of a rank.
func (r *runner) salvageHere(a session.Action) (session.Salvaged, error) {
	done := session.Salvaged{Rank: a.Rank}
	t := r.incs[a.Rank]
	spool := r.h.spool[t.SpoolDir]
	if spool == nil {
		r.h.log.Info("a lost rank's spool is none that this hub gave out: nothing is taken from it", "rank", a.Rank.Key(), "dir", t.SpoolDir)
		return done, nil
	}
	r.mu.Lock()
	told := r.told[a.Rank]
	r.mu.Unlock()
	if told != nil { // a rank that lives first completes its file
		<-told
	}
	dir, err := spool.OpenRoot(r.id)
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	} else if err != nil {
		return done, fmt.Errorf("salvage: %w", err)
	}
	defer func() { _ = dir.Close() }() // only read
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return done, fmt.Errorf("salvage: %w", err)
	}
	for _, e := range entries {
		ext, ok := strings.CutPrefix(e.Name(), a.Rank.FileBase()+".")
		if !ok || !e.Type().IsRegular() {
			continue
		}
		art, err := r.salvageFile(a.Rank, dir, e.Name(), "."+ext)
		if err != nil {
			return done, fmt.Errorf("salvage: %w", err)
		}
		if art.Size > 0 {
			done.Artifacts = append(done.Artifacts, art)
		}
	}
	_ = spool.Remove(r.id) // goes with the last file in it
	done.Note = r.salvaged(done.Artifacts)
	return done, nil
}

func (r *runner) salvageFile(id protocol.RankID, dir *os.Root, file, ext string) (art protocol.Artifact, err error) {
	f, size, err := plainfile.Open(dir, file, os.Geteuid())
	if err != nil {
		return art, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if size == 0 { // armed, and nothing reached the file
		return art, dir.Remove(file)
	}
	run, err := r.openRun()
	if err != nil {
		return art, err
	}
	name, kind := store.ArtifactName(id, r.incs[id].StageName, string(protocol.KindRecording), ext), protocol.KindRecording
	if ext != protocol.RecordingExt {
		kind = protocol.KindTrace
	}
	art, err = run.Write(name, kind, f)
	if errors.Is(err, fs.ErrExist) {
		art, err = run.Describe(name, kind)
	}
	if err == nil {
		err = dir.Remove(file)
	}
	return art, err
}

// convert runs the conversion over what was collected.
func (r *runner) convert(a session.Action) (session.Event, error) {
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	if r.h.cfg.Convert == nil {
		return session.Converted{}, nil
	}
	run, err := r.openRun()
	if err != nil {
		return nil, err
	}
	select { // one after the other
	case r.h.slots <- struct{}{}:
		defer func() { <-r.h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the conversions before: %w", context.Cause(ctx))
	}
	st := r.status()
	if r.resumed {
		if err := run.Prune(store.AllArtifacts(st)); err != nil {
			return nil, err
		}
	}
	done := session.Converted{Lacks: map[protocol.RankID]string{}}
	var mu sync.Mutex // of done.Lacks: a conversion may work on several ranks at once
	in := ConvertInput{Session: *st, RunDir: run.Dir(), Run: run, Progress: func(done, total int, what string) {
		r.progress.Store(&session.Progress{Done: done, Total: total, What: what})
	}, Lacks: func(id protocol.RankID, err error) {
		mu.Lock()
		defer mu.Unlock()
		done.Lacks[id] = joinReasons(done.Lacks[id], err.Error())
		r.h.log.Warn("a rank's files could not all be converted", "session", r.id, "rank", id.Key(), "err", err)
	}}
	for _, s := range st.Stages {
		for _, rs := range s.Ranks {
			if len(rs.Artifacts) == 0 {
				continue
			}
			cr := ConvertRank{Status: rs, StageName: s.Name, Files: rs.Artifacts,
				Config: r.target(rs.RankID).Config, Partial: rs.State != protocol.StateComplete}
			for _, f := range rs.Artifacts {
				if f.Kind == protocol.KindRecording {
					cr.Recording = filepath.Join(run.Dir(), filepath.FromSlash(f.Name))
				}
			}
			in.Ranks = append(in.Ranks, cr)
		}
	}
	perRank, whole, err := r.callConvert(ctx, in)
	done.PerRank = map[protocol.RankID][]protocol.Artifact{}
	for id, as := range perRank {
		var bad error
		done.PerRank[id], bad = measure(run, as)
		err = errors.Join(err, bad)
	}
	var bad error
	done.Run, bad = measure(run, whole)
	if err = errors.Join(err, bad); err != nil {
		done.Err = err.Error()
		r.h.log.Warn("session", "session", r.id, "action", a.Kind, "err", err)
	}
	return done, nil
}

// callConvert makes a panic of the conversion an error: recordings are foreign input.
func (r *runner) callConvert(ctx context.Context, in ConvertInput) (perRank map[protocol.RankID][]protocol.Artifact, run []protocol.Artifact, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("conversion panicked: %v", p)
		}
	}()
	return r.h.cfg.Convert(ctx, in)
}

// measure fills in size and hash where the converter has not. What is not there is left
// out, and the error says so.
func measure(run *store.Run, as []protocol.Artifact) (out []protocol.Artifact, err error) {
	for _, a := range as {
		if a.SHA256 == "" {
			m, bad := run.Describe(a.Name, a.Kind)
			if bad != nil {
				err = errors.Join(err, bad)
				continue
			}
			a = m
		}
		out = append(out, a)
	}
	return out, err
}

// finish writes the manifest of a session that has files, and its last record.
func (r *runner) finish() {
	st := r.m.Status()
	cfg := r.m.Config()
	dir := r.dir()
	log := r.h.log.With("session", r.id, "state", st.State, "run", dir)
	if dir != "" && r.ctx.Err() == nil {
		man := store.Manifest{CreatedBy: "kinetoscope", Session: *st, Config: store.RunConfig{
			MaxDurationNs: int64(cfg.MaxDuration), MaxBytes: cfg.MaxBytes, AllowPartial: cfg.AllowPartial,
			Stages: map[int]protocol.ProfilerConfig{},
		}}
		for id, t := range r.incs {
			man.Config.Stages[id.Stage] = t.Config
		}
		run, err := r.openRun()
		if err == nil {
			err = run.Finish(man)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			log.Error("the run has no manifest", "err", err)
			return
		}
	}
	log.Info("session ended", "stopped_by", st.StoppedBy, "error", st.Error, "took", time.Since(st.StartedAt).Round(time.Millisecond))
}
