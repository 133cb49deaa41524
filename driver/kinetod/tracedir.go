package kinetod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
)

// maxTraceBytes bounds one trace: far beyond what viewers open, far below what fills the
// agent's disk for one process's sake.
const maxTraceBytes = 64 << 30

// User is the user whose rights are used for the files in a process's directories.
type User struct {
	UID    int
	GID    int
	Groups []int // further groups
}

// traceDir is the directory into which a process writes one session's trace. The process,
// whose environment names the directory above, may rename or replace it at any time. So
// all work in it goes through handles held since it was made, and is done with the
// process's own rights: the agent reads, writes and removes nothing that the process could
// not.
type traceDir struct {
	as     User
	base   string
	parent *os.Root
	root   *os.Root
}

// makeTraceDir makes the directory base, which must not be there yet, in the directory
// under. The caller calls remove.
func makeTraceDir(as User, under, base string) (*traceDir, error) {
	d := &traceDir{as: as, base: base}
	err := as.do(func() (err error) {
		if d.parent, err = os.OpenRoot(under); err != nil {
			return err
		}
		if err = d.parent.Mkdir(base, 0o700); err != nil {
			return err
		}
		if d.root, err = d.parent.OpenRoot(base); err != nil {
			return err
		}
		return d.mine()
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("directory for the trace: %w", err), d.close())
	}
	return d, nil
}

// mine refuses a directory that does not belong to the process's user.
func (d *traceDir) mine() error {
	st, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if uid, _, ok := plainfile.Owner(st); !ok || uid != d.as.UID {
		return fmt.Errorf("%s is no directory of user %d's own", d.base, d.as.UID)
	}
	return nil
}

// exists reports whether there is something of that name, a link included.
func (d *traceDir) exists(name string) bool {
	return d.as.do(func() error { _, err := d.root.Lstat(name); return err }) == nil
}

// open opens the trace that the process has written, a plain file of its user, and returns
// its size: what is added later belongs to no trace.
func (d *traceDir) open(name string) (f *os.File, size int64, err error) {
	err = d.as.do(func() (err error) {
		f, size, err = plainfile.Open(d.root, name, d.as.UID)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("open the trace: %w", err)
	}
	if size > maxTraceBytes {
		err = fmt.Errorf("trace %s has %d bytes, at most %d are taken", name, size, int64(maxTraceBytes))
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// remove removes the directory and its files. If the path now leads to another directory, only the
// files are removed.
func (d *traceDir) remove() error {
	err := d.as.do(func() error {
		dir, err := d.root.Open(".")
		if err != nil {
			return err
		}
		names, err := dir.Readdirnames(-1)
		err = errors.Join(err, dir.Close())
		for _, n := range names {
			err = errors.Join(err, d.root.RemoveAll(n))
		}
		mine, e := d.root.Stat(".")
		there, e2 := d.parent.Lstat(d.base)
		if e == nil && e2 == nil && os.SameFile(mine, there) {
			err = errors.Join(err, d.parent.Remove(d.base))
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.close())
}

func (d *traceDir) close() (err error) {
	for _, r := range []*os.Root{d.root, d.parent} {
		if r != nil {
			err = errors.Join(err, r.Close())
		}
	}
	return err
}
