package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// RecoverConfig says what Recover does.
type RecoverConfig struct {
	// Dir is a data directory, a spool, or one session's directory in a spool.
	Dir     string
	RunsDir string
	Convert ConvertFunc // nil: recordings stay as they are
	Logger  *slog.Logger
}

// Recovered is one session that Recover found.
type Recovered struct {
	ID      string
	Session *session.Status // nil if it could not be brought home
	Err     error
}

// Recover makes runs of the recordings in a spool: those of a hub that was killed, or whose run
// store was full. It touches nothing in a data directory that a running hub uses: then the error is
// an *ErrDataDirTaken. Without the record of a session, only the recordings themselves describe it,
// and clocks are not measured. Files are removed from the spool when they are in a finished run.
func Recover(ctx context.Context, c RecoverConfig) (out []Recovered, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	spool, only, unlock, err := locate(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	if unlock != nil {
		defer func() { err = errors.Join(err, unlock()) }()
	}
	root, err := os.OpenRoot(spool)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	defer func() { _ = root.Close() }() // errors of removing show in the removal itself
	runs, err := store.Open(c.RunsDir)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	for _, e := range entries {
		if _, err := ulid.ParseStrict(e.Name()); err != nil || !e.IsDir() || only != "" && e.Name() != only {
			continue
		}
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if r, ok := recoverSession(ctx, c, root, runs, e.Name()); ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// locate returns the spool that dir means, and a session if dir means only one. For a data
// directory, unlock releases the directory's lock; else it is nil.
func locate(dir string) (spool, only string, unlock func() error, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", nil, err
	}
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s is no directory: name a data directory, a spool, or a session's directory in one", dir)
	}
	if err != nil {
		return "", "", nil, err
	}
	if _, err := ulid.ParseStrict(filepath.Base(dir)); err == nil {
		dir, only = filepath.Dir(dir), filepath.Base(dir)
	}
	if filepath.Base(dir) == spoolName {
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), lockFile)); err == nil {
			dir = filepath.Dir(dir) // its hub may live
		}
	}
	if st, err := os.Stat(SpoolDir(dir)); err == nil && st.IsDir() {
		unlock, err = LockDataDir(dir)
		return SpoolDir(dir), only, unlock, err
	}
	return dir, only, nil, nil
}

// recoverSession brings one session home, false if nothing of it is there.
func recoverSession(ctx context.Context, c RecoverConfig, root *os.Root, runs *store.Store, id string) (Recovered,
	bool) {
	found, err := inSpool(root, id)
	if err != nil {
		return Recovered{ID: id, Err: err}, true
	}
	if len(found) == 0 {
		return Recovered{}, false
	}
	dataDir := filepath.Dir(root.Name())
	rec, known := readRecord(dataDir, id)
	if !known {
		rec.Session.ID = id
	}
	for _, r := range found {
		if !slices.ContainsFunc(rec.Session.Ranks,
			func(k session.RankRecord) bool { return sameRank(k.Target, r.Target) }) {
			rec.Session.Ranks = append(rec.Session.Ranks, r)
			rec.Session.Config.Pipeline = r.Target.Pipeline
		}
	}
	host, _ := os.Hostname() //nolint:errcheck // a rank of no known host is elsewhere
	h := homecoming{store: runs, convert: c.Convert, log: c.Logger, rec: rec, spool: func(t session.Target) *os.Root {
		if t.Host == host || !known {
			return root
		}
		return nil
	}}
	if filepath.Dir(filepath.Clean(rec.RunDir)) != runs.Root() { // of another store
		h.rec.RunDir, h.rec.Arrived = "", nil
	}
	st, err := h.run(ctx)
	if errors.Is(err, errFinished) {
		st, err = h.again(ctx, found)
	}
	if err != nil {
		return Recovered{ID: id, Err: err}, true
	}
	if known {
		_ = os.Remove(filepath.Join(dataDir, recordsDir, id+".json")) // the manifest has all of it
	}
	return Recovered{ID: id, Session: st}, true
}

// again makes a run of its own from the remains of a session whose run is finished, because files
// are never added to a finished run.
func (c *homecoming) again(ctx context.Context, found []session.RankRecord) (*session.Status, error) {
	old := c.rec.Session.ID
	spool := c.spool
	c.rec.RunDir, c.rec.Arrived = "", nil
	c.rec.Session.Ranks = found
	c.rec.Session.StartedAt = idTime(old)
	run, err := c.store.Create(c.rec.Session.StartedAt, "late_"+old, ulid.Make().String())
	if err != nil {
		return nil, err
	}
	c.rec.RunDir = run.Dir()
	if err := run.Close(); err != nil {
		return nil, err
	}
	c.spool = spool
	st, err := c.run(ctx)
	if err == nil {
		c.log.Warn("the session's own run was finished before: what was left of it is a run of its own", "session", old,
			"run", st.RunDir)
	}
	return st, err
}

// sameRank is true of one place; a recording need not know the pipeline's name.
func sameRank(a, b session.Target) bool {
	return a.Stage == b.Stage && a.Replica == b.Replica && a.Rank == b.Rank
}

// inSpool returns the ranks of which a session's directory holds files, as well as they
// are known from these.
func inSpool(root *os.Root, id string) (out []session.RankRecord, err error) {
	entries, err := fs.ReadDir(root.FS(), id)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		t, ok := parseSpooled(e.Name())
		if info, err := e.Info(); !ok || err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		introduce(&t, root, id+"/"+e.Name())
		if !slices.ContainsFunc(out, func(k session.RankRecord) bool { return sameRank(k.Target, t) }) {
			out = append(out, session.RankRecord{Target: t, Status: protocol.RankStatus{
				RankID: t.RankID, StageName: t.StageName, Session: id, State: protocol.StateRecording}})
		}
	}
	slices.SortFunc(out, func(a, b session.RankRecord) int { return a.Target.Compare(b.Target.RankID) })
	return out, nil
}

// parseSpooled reads whose file it is from its name, protocol.RankID's FileBase with an ending.
func parseSpooled(name string) (t session.Target, ok bool) {
	base, _ := splitName(name)
	if n, err := fmt.Sscanf(base, "stage%d_replica%d_rank%d", &t.Stage, &t.Replica, &t.Rank); n != 3 || err != nil ||
		t.FileBase() != base {
		return t, false
	}
	t.Pipeline, t.StageName, t.Config = "recovered", "stage"+strconv.Itoa(t.Stage), protocol.DefaultProfilerConfig()
	return t, t.Validate() == nil
}

// introduce fills in what a recording says of its rank.
func introduce(t *session.Target, root *os.Root, name string) {
	f, _, err := plainfile.Open(root, name, os.Geteuid())
	if err != nil {
		return
	}
	defer f.Close()
	rd, err := format.NewReader(f)
	if err != nil {
		return
	}
	h := rd.Header()
	if name := h.Meta[protocol.MetaStage]; protocol.ValidStageName(name) {
		t.StageName = name
	}
	if name := h.Meta[protocol.MetaPipeline]; protocol.ValidatePipelineName(name) == nil {
		t.Pipeline = name
	}
	if host := h.Meta[protocol.MetaHost]; len(host) <= protocol.MaxHost {
		t.Host = protocol.Heard(host)
	}
	t.Config.Profiler, t.Config.RecordShapes, t.Config.WithStack = protocol.ProfilerTorch, h.Shapes, h.Stacks
	t.Config.WithFLOPs, t.Config.WithMemory = h.FLOPs, h.Memory
}
