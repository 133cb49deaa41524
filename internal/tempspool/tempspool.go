// Package tempspool is the spools of ranks that were given none: directories in the one for
// temporary files. Each is its process's as long as that lives, by a lock that goes with the
// process however it ends. One that nothing is left in goes with its process, or, if that was killed,
// with the next process that makes one; one with recordings stays until they are brought home. One
// for copies of files that lie elsewhere too goes in the same way, whatever is in it.
//
// The Python package does the same with the same names and lock, in kinetoscope.spool.
package tempspool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
)

// Prefixes of the directories' names: of what attaches in Python, of ranks of native stages, and of
// agents, which keep copies alone there.
const (
	Attached = "kinetoscope-spool-"
	Native   = "kinetoscope-rank-"
	Copies   = "kinetoscope-agent-"
)

// LockFile, in a spool, is locked by the process whose spool it is.
const LockFile = ".lock"

// tries bounds how often a new directory is made, where another process has swept one away
// before its lock was taken.
const tries = 10

// Spool is a spool that this process holds.
type Spool struct {
	Path string
	lock *flock.Flock
}

// Make makes a spool in the directory for temporary files, and removes those of dead processes in
// which nothing is left, or nothing but copies. The caller ends with Leave, one of copies with Remove.
func Make(prefix string) (*Spool, error) {
	held, err := Abandoned(os.TempDir())
	for _, s := range held {
		_, e := s.Leave()
		err = errors.Join(err, e)
	}
	copies, e := abandoned(os.TempDir(), Copies)
	err = errors.Join(err, e)
	for _, s := range copies {
		err = errors.Join(err, s.Remove())
	}
	if err != nil {
		return nil, err
	}
	for range tries {
		dir, err := os.MkdirTemp("", prefix)
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		s, err := hold(dir, os.O_CREATE)
		if err != nil || s != nil {
			return s, err
		}
	}
	return nil, fmt.Errorf("spool: each of %d directories in %s was removed at once", tries, os.TempDir())
}

// hold takes dir's lock. The spool is nil if another process holds it, or dir is gone or no spool.
func hold(dir string, flag int) (*Spool, error) {
	l := flock.New(filepath.Join(dir, LockFile), flock.SetPermissions(0o600), flock.SetFlag(flag|os.O_RDWR))
	ok, err := l.TryLock()
	if err == nil && ok {
		if _, err = os.Lstat(l.Path()); err == nil { // nobody removed it before it was locked
			return &Spool{Path: dir, lock: l}, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, errors.Join(err, l.Close())
}

// Abandoned returns the spools of recordings in tmp of this user's processes that have ended without
// Leave, and holds them. The caller leaves each.
func Abandoned(tmp string) (out []*Spool, err error) { return abandoned(tmp, Attached, Native) }

func abandoned(tmp string, prefixes ...string) (out []*Spool, err error) {
	for _, prefix := range prefixes {
		dirs, err := filepath.Glob(filepath.Join(tmp, prefix+"*"))
		if err != nil {
			return out, fmt.Errorf("spools in %s: %w", tmp, err)
		}
		for _, dir := range dirs {
			// Whoever may write there may make a directory of that name, or a link to one.
			st, err := os.Lstat(dir)
			if err != nil || !st.IsDir() {
				continue
			}
			if uid, _, known := plainfile.Owner(st); known && uid != os.Geteuid() {
				continue
			}
			// One that cannot be locked is left alone: it is nobody's loss that it stays.
			if s, err := hold(dir, 0); err == nil && s != nil {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// Leave gives the spool up and returns the files that are left in it. Without any its directory
// is removed, with what empty directories a rank that was killed had made.
func (s *Spool) Leave() (left []string, err error) {
	err = filepath.WalkDir(s.Path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path != s.lock.Path() {
			left = append(left, path)
		}
		return err
	})
	if err == nil && len(left) == 0 {
		err = os.RemoveAll(s.Path)
	}
	if err = errors.Join(err, s.lock.Close()); err != nil {
		err = fmt.Errorf("leave spool %s: %w", s.Path, err)
	}
	return left, err
}

// Remove gives the spool up and removes it with all that is in it.
func (s *Spool) Remove() error {
	err := errors.Join(os.RemoveAll(s.Path), s.lock.Close())
	if err != nil {
		err = fmt.Errorf("remove %s: %w", s.Path, err)
	}
	return err
}
