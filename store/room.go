package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/kinetoscope/kinetoscope/units"
)

// NoRoom reports whether err says that nothing more can be written: the disk or the quota is full,
// or the file system is read-only. A later attempt may succeed.
func NoRoom(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, fs.ErrPermission} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// probeBytes are written to test whether writing works: more than a file system stores inside the
// file's own record.
const probeBytes = 16 << 10

// Probe writes and removes a small file in dir and says why that cannot be done.
func Probe(dir string) (err error) {
	f, err := os.CreateTemp(dir, tempPrefix+"probe-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(make([]byte, probeBytes))
	return errors.Join(err, f.Close())
}

// Room returns nil if need bytes more can be written in dir, as far as can be known
// without writing them.
func Room(dir string, need int64) error {
	if free, ok := Free(dir); ok && free < need {
		return fmt.Errorf("%s has %s free, and %s are needed: %w", dir, units.Bytes(free), units.Bytes(need),
			syscall.ENOSPC)
	}
	if err := Probe(dir); err != nil {
		return fmt.Errorf("%s cannot be written: %w", dir, err)
	}
	return nil
}

// Room returns nil if need bytes more can be written in the store, as the function Room does.
func (s *Store) Room(need int64) error {
	if err := s.make(); err != nil {
		return fmt.Errorf("%s cannot be written: %w", s.root, err)
	}
	return Room(s.root, need)
}
