// Package plainfile opens files in directories where other users may have replaced them: it only
// opens a regular file of the expected user that has one name.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// AnyUser is in place of a user whose files are taken whoever they belong to.
const AnyUser = -1

// Open opens the file name in root for reading. It does not block, and does not leave root. The
// file must be a regular one that belongs to user uid, or to anybody if that is AnyUser, and has no
// other name.
func Open(root *os.Root, name string, uid int) (f *os.File, size int64, err error) {
	if f, err = root.OpenFile(name, os.O_RDONLY|openFlags, 0); err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil {
		err = check(st, uid)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func check(st os.FileInfo, uid int) error {
	owner, links, ok := Owner(st)
	switch {
	case !st.Mode().IsRegular() || ok && links != 1:
		return fmt.Errorf("%s is no plain file with one name: it is not taken", st.Name())
	case ok && uid != AnyUser && owner != uid:
		return fmt.Errorf("%s is no file of user %d: it is not taken", st.Name(), uid)
	}
	return nil
}

// ByPath opens the regular file at path for reading, wherever links lead and whoever it belongs to. It does not
// block. For anything but a regular file the error wraps ErrKind.
func ByPath(path string) (*os.File, error) {
	return regular(os.OpenFile(path, os.O_RDONLY|noWait, 0))
}

// ReadPath is os.ReadFile of what ByPath opens.
func ReadPath(path string) ([]byte, error) {
	f, err := ByPath(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Regular opens the regular file name in root for reading, whoever it belongs to and however many names it
// has. It does not block, and does not leave root; links within root are followed. For anything but a
// regular file the error wraps ErrKind.
func Regular(root *os.Root, name string) (*os.File, error) {
	return regular(root.OpenFile(name, os.O_RDONLY|noWait, 0))
}

// regular returns f if it is a regular file, and closes it otherwise.
func regular(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", f.Name(), ErrKind)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ErrKind says that what has a file's name is a directory, a pipe or the like.
var ErrKind = errors.New("not a regular file")
