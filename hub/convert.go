package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

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
type ConvertFunc func(ctx context.Context, in ConvertInput) (perRank map[protocol.RankID][]protocol.Artifact,
	run []protocol.Artifact, err error)

// convert runs the conversion on the collected files.
func (r *runner) convert(a session.Action) (session.Event, error) {
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	if r.h.cfg.Convert == nil {
		return session.Converted{}, nil
	}
	run, err := r.openRun()
	if err != nil {
		r.mind(err)
		return nil, err
	}
	select { // one after the other
	case r.h.slots <- struct{}{}:
		defer func() { <-r.h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the conversions before: %w", context.Cause(ctx))
	}
	st := r.status()
	r.arrived = store.AllArtifacts(st)
	if r.resumed {
		if err := run.Prune(r.arrived); err != nil {
			return nil, err
		}
	}
	return convertRun(ctx, r.h.cfg.Convert, conversion{run: run, st: st, log: r.h.log, target: r.target,
		mind:     func(err error) { r.mind(err) },
		progress: func(p session.Progress) { r.progress.Store(&p) }}), nil
}

// conversion is what convertRun works on.
type conversion struct {
	run      *store.Run
	st       *session.Status // with every file that came home
	log      *slog.Logger
	target   func(protocol.RankID) session.Target
	progress func(session.Progress)
	mind     func(error) // is called with every error; may be nil
}

// convertRun makes artifacts of a session's files. What went wrong is in the result,
// beside all that was made.
func convertRun(ctx context.Context, f ConvertFunc, c conversion) session.Converted {
	done := session.Converted{Lacks: map[protocol.RankID]string{}, PerRank: map[protocol.RankID][]protocol.Artifact{}}
	mind := c.mind
	if mind == nil {
		mind = func(error) {}
	}
	var mu sync.Mutex // of done.Lacks: a conversion may work on several ranks at once
	in := ConvertInput{Session: *c.st, RunDir: c.run.Dir(), Run: c.run, Progress: func(n, total int, what string) {
		c.progress(session.Progress{Done: n, Total: total, What: what})
	}, Lacks: func(id protocol.RankID, err error) {
		mu.Lock()
		defer mu.Unlock()
		mind(err)
		done.Lacks[id] = joinReasons(done.Lacks[id], err.Error())
		c.log.Warn("a rank's files could not all be converted", "session", c.st.ID, "rank", id.Key(), "err", err)
	}}
	for _, s := range c.st.Stages {
		for _, rs := range s.Ranks {
			if len(rs.Artifacts) == 0 {
				continue
			}
			cr := ConvertRank{Status: rs, StageName: s.Name, Files: rs.Artifacts,
				Config: c.target(rs.RankID).Config, Partial: rs.State != protocol.StateComplete}
			for _, f := range rs.Artifacts {
				if f.Kind == protocol.KindRecording {
					cr.Recording = filepath.Join(c.run.Dir(), filepath.FromSlash(f.Name))
				}
			}
			in.Ranks = append(in.Ranks, cr)
		}
	}
	perRank, whole, err := callConvert(ctx, f, in)
	for id, as := range perRank {
		var bad error
		done.PerRank[id], bad = measure(c.run, as)
		err = errors.Join(err, bad)
	}
	var bad error
	done.Run, bad = measure(c.run, whole)
	if err = errors.Join(err, bad); err != nil {
		mind(err)
		done.Err = err.Error()
		c.log.Warn("session", "session", c.st.ID, "action", session.DoConvert, "err", err)
	}
	return done
}

// callConvert makes a panic of the conversion an error: recordings are foreign input.
func callConvert(ctx context.Context, f ConvertFunc, in ConvertInput) (perRank map[protocol.RankID][]protocol.Artifact,
	run []protocol.Artifact, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("conversion panicked: %v", p)
		}
	}()
	return f(ctx, in)
}

// measure fills in size and hash where the converter has not. Files that do not exist are left out,
// and the error names them.
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

// targetOf returns the session's target for a rank; for a rank that was found by its files, the
// target of the rank that stands for it.
func targetOf(targets map[protocol.RankID]session.Target, id protocol.RankID) session.Target {
	if t, ok := targets[id]; ok {
		return t
	}
	for of, t := range targets {
		if of.Pipeline == id.Pipeline && of.Stage == id.Stage {
			return t
		}
	}
	return session.Target{RankID: id}
}

// manifest is what a run says of a session that has ended.
func manifest(st *session.Status, cfg session.Config, ranks []session.RankRecord) store.Manifest {
	man := store.Manifest{CreatedBy: "kinetoscope", Session: *st, Config: store.RunConfig{
		MaxDurationNs: int64(cfg.MaxDuration), MaxBytes: cfg.MaxBytes, AllowPartial: cfg.AllowPartial,
		Stages: map[int]protocol.ProfilerConfig{},
	}}
	for _, r := range ranks {
		man.Config.Stages[r.Target.Stage] = r.Target.Config
	}
	return man
}

// finish writes the manifest of a session that has files. One whose files could not all
// be written gets none: it waits for room, and the run is finished then.
func (r *runner) finish() {
	st := r.m.Status()
	dir := r.dir()
	log := r.h.log.With("session", r.id, "state", st.State, "run", dir)
	if r.ctx.Err() != nil {
		return
	}
	if dir != "" && !r.noRoom.Load() {
		run, err := r.openRun()
		if err == nil {
			err = run.Finish(manifest(st, r.m.Config(), r.m.Snapshot().Ranks))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			log.Error("the run has no manifest", "err", err)
			if !r.mind(err) {
				return
			}
		}
	}
	if r.noRoom.Load() {
		if r.arrived == nil { // nothing was made of them
			r.arrived = store.AllArtifacts(st)
		}
		r.h.strand(record{Hub: r.h.cfg.Name, RunDir: dir, Session: r.m.Snapshot(), Arrived: r.arrived})
		log.Error("the session waits for room in the run store", "dir", r.h.store.Root())
		return
	}
	log.Info("session ended", "stopped_by", st.StoppedBy, "error", st.Error, "took",
		time.Since(st.StartedAt).Round(time.Millisecond))
}

// noRoomError says of what a run store is the matter, and not of which of its files.
type noRoomError struct {
	dir string
	err error
}

func (e *noRoomError) Error() string {
	what := "may not be written"
	switch {
	case errors.Is(e.err, syscall.ENOSPC):
		what = "is full"
	case errors.Is(e.err, syscall.EDQUOT):
		what = "is at the end of its quota"
	case errors.Is(e.err, syscall.EROFS):
		what = "is read-only"
	}
	return "the run store " + e.dir + " " + what
}

func (e *noRoomError) Unwrap() error { return e.err }

// mind notes that the run store takes nothing more, if that is what err says, and reports
// whether it is.
func (r *runner) mind(err error) bool {
	if !store.NoRoom(err) {
		return false
	}
	r.noRoom.Store(true)
	return true
}
