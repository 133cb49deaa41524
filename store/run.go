package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// tempPrefix begins the names of files that are not complete yet.
const tempPrefix = ".tmp-"

// Run is a run's directory. All access is confined to it. Safe for concurrent use.
type Run struct {
	dir  string
	root *os.Root
	temp atomic.Uint64
	was  *Manifest // of a run that OpenRun opened; else nil
}

// Dir is the absolute path of the run.
func (r *Run) Dir() string { return r.dir }

// Close closes the directory. The run stays on disk.
func (r *Run) Close() error { return r.root.Close() }

// StageDir names a stage's directory in a run. Characters that do not belong in
// a file name become '_'.
func StageDir(stage int, name string) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
			return c
		}
		return '_'
	}, name)
	return fmt.Sprintf("stage%d_%s", stage, clean)
}

// RankSuffix tells the files of a stage's ranks apart: "rank1", and in all
// replicas but the first "replica2_rank1".
func RankSuffix(id protocol.RankID) string {
	s := "rank" + strconv.Itoa(id.Rank)
	if id.Replica > 0 {
		s = fmt.Sprintf("replica%d_%s", id.Replica, s)
	}
	return s
}

// ArtifactName is where a rank's file belongs in a run: base "trace" and ext
// ".json.gz" give "stage0_thinker/trace_rank0.json.gz".
func ArtifactName(id protocol.RankID, stageName, base, ext string) string {
	return StageDir(id.Stage, stageName) + "/" + base + "_" + RankSuffix(id) + ext
}

// checkName refuses a name that is not a plain slash-separated path inside the run.
func checkName(name string) error {
	if name == "" || path.Clean(name) != name || !filepath.IsLocal(filepath.FromSlash(name)) ||
		strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("artifact name %q is not a path inside the run", name)
	}
	return nil
}

// Write makes the file name from src and returns it with size and SHA-256; kind
// is the artifact's kind. The file is synced before it appears. An existing file
// is never replaced: the error is fs.ErrExist.
func (r *Run) Write(name string, kind protocol.ArtifactKind, src io.Reader) (protocol.Artifact, error) {
	a, err := r.write(name, src)
	if err != nil {
		return protocol.Artifact{}, fmt.Errorf("write %s of run %s: %w", name, filepath.Base(r.dir), err)
	}
	a.Kind = kind
	return a, nil
}

func (r *Run) write(name string, src io.Reader) (a protocol.Artifact, err error) {
	if err := checkName(name); err != nil {
		return a, err
	}
	if dir := path.Dir(name); dir != "." {
		if err := r.root.MkdirAll(dir, 0o700); err != nil {
			return a, err
		}
	}
	if _, err := r.root.Lstat(name); err == nil {
		return a, fs.ErrExist // before the bytes are moved; Link below is what decides
	}
	temp := path.Join(path.Dir(name), fmt.Sprintf("%s%d-%d", tempPrefix, os.Getpid(), r.temp.Add(1)))
	f, err := r.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return a, err
	}
	defer func() {
		if e := r.root.Remove(temp); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), src)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return a, err
	}
	if err := r.publish(temp, name); err != nil {
		return a, err
	}
	if err := r.syncDir(path.Dir(name)); err != nil {
		return a, err
	}
	return protocol.Artifact{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// publish gives temp its name unless that is taken. File systems without links
// get an exclusive empty file that is replaced at once.
func (r *Run) publish(temp, name string) error {
	err := r.root.Link(temp, name)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), r.root.Rename(temp, name))
}

// syncDir makes a directory's entries durable.
func (r *Run) syncDir(dir string) error {
	d, err := r.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Finish writes the manifest, and with it the run is complete.
func (r *Run) Finish(m Manifest) error {
	m.SchemaVersion = SchemaVersion
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", ManifestName, err)
	}
	if _, err := parseManifest(b); err != nil {
		return fmt.Errorf("finish run: %w", err)
	}
	_, err = r.Write(ManifestName, "manifest", strings.NewReader(string(b)+"\n"))
	return err
}

// Manifest returns the run's manifest, with the files that came after the run's end. A run that was
// opened by OpenRun or Resolve returns the manifest that was read then: all its readers share it,
// and none may change it. A run that was created or reopened may still be written to, so its
// manifest is read anew each time.
func (r *Run) Manifest() (*Manifest, error) {
	if r.was != nil {
		return r.was, nil
	}
	return r.readManifest()
}

func (r *Run) readManifest() (*Manifest, error) {
	f, err := plainfile.Regular(r.root, ManifestName)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("run has not finished: %w: %w", ErrNotFound, err)
		}
		return nil, fmt.Errorf("run %s: %w", r.dir, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(b) > maxManifest {
		err = fmt.Errorf("%s is larger than %d bytes", ManifestName, maxManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", r.dir, err)
	}
	m, err := parseManifest(b)
	if err == nil {
		err = r.addLate(m)
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", r.dir, err)
	}
	return m, nil
}

// Open opens a file of the run by its name in the manifest. Names that lead out
// of the run, symbolic links among them, are refused.
func (r *Run) Open(name string) (*os.File, error) {
	err := checkName(name)
	if err == nil {
		var f *os.File
		if f, err = plainfile.Regular(r.root, name); err == nil {
			return f, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, plainfile.ErrKind) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return nil, fmt.Errorf("artifact %q of run %s: %w", name, filepath.Base(r.dir), err)
}

// Describe returns the file name as an artifact of that kind, measured.
func (r *Run) Describe(name string, kind protocol.ArtifactKind) (protocol.Artifact, error) {
	f, err := r.Open(name)
	if err != nil {
		return protocol.Artifact{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return protocol.Artifact{}, fmt.Errorf("hash %s: %w", name, err)
	}
	return protocol.Artifact{Name: name, Kind: kind, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// Verify checks every artifact of a finished run against its size and SHA-256 and returns all
// errors, joined.
func (r *Run) Verify() error {
	m, err := r.Manifest()
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range m.Artifacts() {
		got, err := r.Describe(a.Name, a.Kind)
		switch {
		case err != nil:
			errs = append(errs, err)
		case got.Size != a.Size:
			errs = append(errs, fmt.Errorf("artifact %s has %d bytes, manifest says %d", a.Name, got.Size, a.Size))
		case got.SHA256 != a.SHA256:
			errs = append(errs, fmt.Errorf("artifact %s has SHA-256 %s, manifest says %s", a.Name, got.SHA256,
				a.SHA256))
		}
	}
	return errors.Join(errs...)
}

// Names returns the files of the run, those of its manifest or not, sorted.
func (r *Run) Names() (names []string, err error) {
	err = fs.WalkDir(r.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list run: %w", err)
	}
	return names, nil
}

// Prune removes what an interrupted job left in an unfinished run: every file
// that is not in keep. A finished run is not touched.
func (r *Run) Prune(keep []protocol.Artifact) error {
	if _, err := r.root.Lstat(ManifestName); err == nil {
		return fmt.Errorf("prune run %s: it has finished", r.dir)
	}
	var doomed []string
	err := fs.WalkDir(r.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !slices.ContainsFunc(keep,
			func(a protocol.Artifact) bool { return a.Name == name }) {
			doomed = append(doomed, name)
		}
		return err
	})
	for _, name := range doomed {
		err = errors.Join(err, r.root.Remove(name))
	}
	if err != nil {
		return fmt.Errorf("prune run: %w", err)
	}
	return nil
}
