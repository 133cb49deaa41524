// Package store keeps runs on disk. A run is one directory,
//
//	<root>/<YYYYMMDD-HHMMSS>_<prefix>_<session ulid>/
//
// (without prefix: <time>_<ulid>) that holds manifest.json and the artifacts,
// those of a rank in stage<N>_<name>/. Files appear by link from a synced
// temporary file: complete or not at all, and never over another file. A
// directory without a manifest is a run that has not finished.
package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// SchemaVersion is the number of the manifest's layout. A reader refuses newer ones.
const SchemaVersion = 1

// ManifestName is the name of the manifest in a run's directory.
const ManifestName = "manifest.json"

// maxManifest bounds what is read as a manifest: 1024 ranks with ten artifacts
// each need about 3 MiB.
const maxManifest = 64 << 20

// timeLayout begins a run's directory name, in UTC.
const timeLayout = "20060102-150405"

// ErrNotFound says that no run, or no artifact, has that name.
var ErrNotFound = errors.New("not found")

// Manifest is what a run says about itself.
type Manifest struct {
	SchemaVersion int            `json:"schema_version"`
	Session       session.Status `json:"session"` // with every rank's state, clock, counters and artifacts
	Config        RunConfig      `json:"config"`
	CreatedBy     string         `json:"created_by,omitempty"`
	Upload        *Upload        `json:"upload,omitempty"` // nil: a session recorded the run
}

// Upload says that a run is an uploaded trace. Its file is among the session's artifacts, and
// belongs to no rank.
type Upload struct {
	Name   string `json:"name"`   // the uploaded file's original name
	Format string `json:"format"` // of the registry trace/format, or of an archive of traces
}

// RunConfig is what the session was asked to do.
type RunConfig struct {
	MaxDurationNs int64                           `json:"max_duration_ns"`
	MaxBytes      int64                           `json:"max_bytes"`
	AllowPartial  bool                            `json:"allow_partial"`
	Stages        map[int]protocol.ProfilerConfig `json:"stages"` // in force, by stage id
}

// Artifacts returns all files of the run, sorted by name.
func (m *Manifest) Artifacts() []protocol.Artifact { return AllArtifacts(&m.Session) }

// AllArtifacts returns all files of a session, sorted by name.
func AllArtifacts(s *session.Status) []protocol.Artifact {
	out := slices.Clone(s.Artifacts)
	for _, st := range s.Stages {
		for _, r := range st.Ranks {
			out = append(out, r.Artifacts...)
		}
	}
	slices.SortFunc(out, func(a, b protocol.Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Store is a directory of runs.
type Store struct{ root string }

// Open returns the store at root, making the directory if need be.
func Open(root string) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open run store: %w", err)
	}
	s := &Store{root: abs}
	if err := s.make(); err != nil {
		return nil, fmt.Errorf("open run store: %w", err)
	}
	return s, nil
}

// make makes the store's directory. What writes a run does it each time, for somebody may have removed the
// directory while a server runs.
func (s *Store) make() error { return os.MkdirAll(s.root, 0o700) }

// Root is the absolute path of the store's directory.
func (s *Store) Root() string { return s.root }

// DirName is the name of a run's directory. The prefix must have passed protocol.ValidatePrefix.
func DirName(at time.Time, prefix, id string) string {
	name := at.UTC().Format(timeLayout) + "_"
	if prefix != "" {
		name += prefix + "_"
	}
	return name + id
}

// Create makes the directory of a new run. It fails if there is one of that name.
func (s *Store) Create(at time.Time, prefix, id string) (*Run, error) {
	if err := protocol.ValidatePrefix(prefix); err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	if _, err := ulid.ParseStrict(id); err != nil {
		return nil, fmt.Errorf("create run: session id %q: %w", id, err)
	}
	if err := s.make(); err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	dir := filepath.Join(s.root, DirName(at, prefix, id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	return openRun(dir)
}

// Reopen returns the run in directory dir of this store, finished or not.
func (s *Store) Reopen(dir string) (*Run, error) {
	if filepath.Dir(filepath.Clean(dir)) != s.root {
		return nil, fmt.Errorf("reopen run: %s is not in %s", dir, s.root)
	}
	return openRun(dir)
}

// Info is one line of a listing.
type Info struct {
	Dir      string    `json:"dir"` // absolute
	ID       string    `json:"id"`  // the session's ULID
	Prefix   string    `json:"prefix,omitempty"`
	At       time.Time `json:"at"`
	Complete bool      `json:"complete"` // has a manifest
}

// List returns the runs, youngest first. What is not named like a run is not a run. A store whose
// directory somebody has removed has none.
func (s *Store) List() ([]Info, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var out []Info
	for _, e := range entries {
		info, ok := parseDirName(e.Name())
		if !ok || !e.IsDir() {
			continue
		}
		info.Dir = filepath.Join(s.root, e.Name())
		st, err := os.Lstat(filepath.Join(info.Dir, ManifestName))
		info.Complete = err == nil && st.Mode().IsRegular()
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(b.ID, a.ID) }) // ULIDs sort by time
	return out, nil
}

func parseDirName(name string) (Info, bool) {
	stamp, rest, ok := strings.Cut(name, "_")
	at, err := time.Parse(timeLayout, stamp)
	if !ok || err != nil {
		return Info{}, false
	}
	i := strings.LastIndexByte(rest, '_') + 1
	if _, err := ulid.ParseStrict(rest[i:]); err != nil {
		return Info{}, false
	}
	return Info{ID: rest[i:], Prefix: strings.TrimSuffix(rest[:i], "_"), At: at}, true
}

// Resolve finds a finished run: "latest" (or ""), the beginning of a session's
// id, a run's directory name, or a path to a run anywhere.
func (s *Store) Resolve(ref string) (*Run, error) {
	if strings.ContainsRune(ref, filepath.Separator) || ref == "." {
		return OpenRun(ref)
	}
	runs, err := s.List()
	if err != nil {
		return nil, err
	}
	runs = slices.DeleteFunc(runs, func(i Info) bool { return !i.Complete })
	if ref == "" || ref == "latest" {
		if len(runs) == 0 {
			return nil, fmt.Errorf("run %q: no finished run in %s: %w", ref, s.root, ErrNotFound)
		}
		return OpenRun(runs[0].Dir)
	}
	var hits []Info
	for _, r := range runs {
		if filepath.Base(r.Dir) == ref {
			return OpenRun(r.Dir)
		}
		if strings.HasPrefix(r.ID, strings.ToUpper(ref)) {
			hits = append(hits, r)
		}
	}
	switch len(hits) {
	case 0:
		if _, err := os.Stat(filepath.Join(ref, ManifestName)); err == nil {
			return OpenRun(ref)
		}
		return nil, fmt.Errorf("run %q in %s: %w", ref, s.root, ErrNotFound)
	case 1:
		return OpenRun(hits[0].Dir)
	}
	return nil, fmt.Errorf("run %q is ambiguous: %d runs begin so, %s and %s among them", ref, len(hits), hits[0].ID,
		hits[1].ID)
}

// OpenRun opens the finished run in dir and reads its manifest.
func OpenRun(dir string) (*Run, error) {
	r, err := openRun(dir)
	if err != nil {
		return nil, err
	}
	if r.was, err = r.readManifest(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func openRun(dir string) (*Run, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open run: %w", err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return nil, fmt.Errorf("open run: %w", err)
	}
	return &Run{dir: abs, root: root}, nil
}

// checkSchema refuses layouts of other versions than this program reads.
func checkSchema(version int) error {
	if version < 1 || version > SchemaVersion {
		return fmt.Errorf("schema_version %d, this program reads 1 to %d", version, SchemaVersion)
	}
	return nil
}

// parseManifest decodes and checks a manifest.
func parseManifest(b []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	if err := checkSchema(m.SchemaVersion); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	for _, a := range m.Artifacts() {
		if !filepath.IsLocal(filepath.FromSlash(a.Name)) {
			return nil, fmt.Errorf("%s: artifact %q is not a path inside the run", ManifestName, a.Name)
		}
	}
	return &m, nil
}
