// Package plainfile opens files in directories where other users may have replaced them: it only
// opens a regular file of the expected user that has one name.
package plainfile

import (
	"errors"
	"fmt"
	"os"
)

// Open opens the file name in root for reading. It does not block, and does not leave root. The
// file must be a regular one that belongs to user uid and has no other name.
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
	if !st.Mode().IsRegular() || ok && (owner != uid || links != 1) {
		return fmt.Errorf("%s is no plain file of user %d with one name: it is not taken", st.Name(), uid)
	}
	return nil
}
