package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// homecoming brings what one session has left in spools into its run, and finishes that:
// after a run store was full, or a hub was killed. It takes the place of the rest of the
// session, whose ranks need not be there any more.
type homecoming struct {
	store   *store.Store
	convert ConvertFunc
	log     *slog.Logger
	// spool opens the directory in which a rank's recordings lie by session; nil: it is
	// not here. The directory stays the owner's.
	spool func(session.Target) *os.Root
	rec   record
}

// errFinished says that the session's run has its manifest already.
var errFinished = errors.New("its run is finished")

// spooled is one file in a spool.
type spooled struct {
	root *os.Root
	name string // below root, with the session
}

// run returns the session as its manifest has it then. The files in the spools are removed
// once that is written.
func (c *homecoming) run(ctx context.Context) (*session.Status, error) {
	s := &c.rec.Session
	run, err := c.openRun()
	if err != nil {
		return nil, err
	}
	defer func() { _ = run.Close() }() // written files are synced and closed
	if _, err := run.Manifest(); err == nil {
		return nil, errFinished
	}
	if err := c.prune(run); err != nil {
		return nil, err
	}
	var taken []spooled
	for i := range s.Ranks {
		files, err := c.rank(run, &s.Ranks[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Ranks[i].Target.Text(), err)
		}
		taken = append(taken, files...)
	}
	st, err := c.finish(ctx, run)
	if err != nil {
		return nil, err
	}
	removeSpooled(taken, s.ID, c.log)
	return st, nil
}

// removeSpooled removes files that are in their run now.
func removeSpooled(files []spooled, id string, log *slog.Logger) {
	for _, f := range files {
		if err := f.root.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("a recording that is in its run stays in the spool too", "file",
				filepath.Join(f.root.Name(), f.name), "err", err)
		}
		_ = f.root.Remove(id) // goes with the last file in it
	}
}

func (c *homecoming) openRun() (*store.Run, error) {
	s := c.rec.Session
	if s.StartedAt.IsZero() {
		c.rec.Session.StartedAt = idTime(s.ID)
	}
	return openRun(c.store, c.rec.RunDir, c.rec.Session.StartedAt, s.Config.Prefix, s.ID)
}

// idTime is when a session's id was made.
func idTime(id string) time.Time {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(u.Time()).UTC()
}

// prune removes the output of a conversion that did not end. It keeps the files of ranks: those in
// the session's record, and recordings that arrived when no hub could record it.
func (c *homecoming) prune(run *store.Run) error {
	keep := slices.Clone(c.rec.Arrived)
	names, err := run.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), string(protocol.KindRecording)+"_") {
			keep = append(keep, protocol.Artifact{Name: name})
		}
	}
	return run.Prune(keep)
}

// rank takes one rank's files and says how it stands with them.
func (c *homecoming) rank(run *store.Run, r *session.RankRecord) (taken []spooled, err error) {
	k := &r.Status
	had := k.Artifacts
	k.Artifacts = nil
	var in arrival
	add := func(a protocol.Artifact) error {
		if slices.ContainsFunc(k.Artifacts, func(b protocol.Artifact) bool { return b.Name == a.Name }) {
			return nil
		}
		k.Artifacts = append(k.Artifacts, a)
		return in.examine(run, a)
	}
	for _, a := range had {
		if slices.ContainsFunc(c.rec.Arrived, func(b protocol.Artifact) bool { return b.Name == a.Name }) {
			if err := add(a); err != nil {
				return nil, err
			}
		}
	}
	found := 0
	if root := c.spool(r.Target); root != nil {
		files, arts, err := takeSpooled(func() (*store.Run, error) { return run, nil }, root, c.rec.Session.ID,
			r.Target)
		if store.NoRoom(err) {
			return nil, err
		}
		if err != nil {
			in.lacks = append(in.lacks, err.Error())
		}
		taken, found = files, len(arts)
		for _, a := range arts {
			if err := add(a); err != nil {
				return nil, err
			}
		}
	}
	// A recording that was moved here and not written down any more.
	name := store.ArtifactName(r.Target.RankID, r.Target.StageName, string(protocol.KindRecording),
		protocol.RecordingExt)
	if a, err := run.Describe(name, protocol.KindRecording); err == nil {
		if err := add(a); err != nil {
			return nil, err
		}
	}
	c.judge(k, &in, found)
	return taken, nil
}

// judge sets a rank's end state by the files that exist of it now.
func (c *homecoming) judge(k *protocol.RankStatus, in *arrival, found int) {
	was := k.State
	late := ""
	if found > 0 {
		late = "brought home from its spool afterwards"
	}
	switch {
	case len(k.Artifacts) == 0 && was == protocol.StateComplete: // its schedule recorded nothing
	case len(k.Artifacts) == 0:
		if !was.Terminal() {
			k.State = protocol.StateLost
			k.Reason = joinReasons(k.Reason, "it left no recording")
		}
	case len(in.lacks) == 0 && was != protocol.StateLost:
		k.State, k.Reason = protocol.StateComplete, joinReasons(late, in.note())
	case len(in.lacks) == 0:
		k.Reason = joinReasons(k.Reason, late, in.note())
	case in.kept != "":
		if !was.Terminal() || was == protocol.StateComplete || k.Reason == "" {
			k.State, k.Reason = protocol.StateLost, "its process ended before it had ended its recording"
		}
		k.Reason = joinReasons(k.Reason, in.kept, late)
	default:
		k.State, k.Reason = protocol.StateFailed, joinReasons(in.bad(), in.note())
	}
}

// finish converts and writes the manifest.
func (c *homecoming) finish(ctx context.Context, run *store.Run) (*session.Status, error) {
	s := &c.rec.Session
	s.State, s.Error, s.Artifacts = session.StateConverting, "", nil
	s.StoppedBy = cmp.Or(s.StoppedBy, stoppedByRecovery)
	m := session.Restore(*s)
	done := session.Converted{}
	targets := map[protocol.RankID]session.Target{}
	for _, r := range s.Ranks {
		targets[r.Target.RankID] = r.Target
	}
	if c.convert != nil {
		done = convertRun(ctx, c.convert, conversion{run: run, st: m.Status(), log: c.log,
			target:   func(id protocol.RankID) session.Target { return targetOf(targets, id) },
			progress: func(session.Progress) {}})
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.Step(time.Now(), done)
	st := m.Status()
	st.RunDir = run.Dir()
	if err := run.Finish(manifest(st, m.Config(), s.Ranks)); err != nil {
		return nil, err
	}
	return st, nil
}

// stoppedByRecovery is the StoppedBy of a session whose end no hub saw.
const stoppedByRecovery = "recovered"

// takeSpooled copies what a rank left of a session in its spool into the run. The files
// stay; the caller removes those that are returned when the run is safe. An error is of
// some files, unless the store takes no more; the others are returned beside it.
func takeSpooled(open func() (*store.Run, error), root *os.Root, id string, t session.Target) (files []spooled,
	arts []protocol.Artifact, err error) {
	entries, err := fs.ReadDir(root.FS(), id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		ext, ok := strings.CutPrefix(e.Name(), t.FileBase()+".")
		if !ok || !e.Type().IsRegular() {
			continue
		}
		file := spooled{root, id + "/" + e.Name()}
		art, bad := copySpooled(open, file, t, "."+ext)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", e.Name(), bad))
			continue
		}
		files = append(files, file)
		if art.Size > 0 {
			arts = append(arts, art)
		}
	}
	return files, arts, err
}

// copySpooled copies one file. An empty one was armed and nothing reached it.
func copySpooled(open func() (*store.Run, error), file spooled, t session.Target, ext string) (art protocol.Artifact,
	err error) {
	f, size, err := plainfile.Open(file.root, file.name, os.Geteuid())
	if err != nil {
		return art, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if size == 0 {
		return art, nil
	}
	run, err := open()
	if err != nil {
		return art, err
	}
	name, kind := store.ArtifactName(t.RankID, t.StageName, string(protocol.KindRecording), ext), protocol.KindRecording
	if ext != protocol.RecordingExt {
		kind = protocol.KindTrace
	}
	art, err = run.Write(name, kind, f)
	if errors.Is(err, fs.ErrExist) {
		art, err = run.Describe(name, kind)
	}
	return art, err
}
