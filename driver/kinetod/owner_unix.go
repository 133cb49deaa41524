//go:build unix

package kinetod

import (
	"fmt"
	"os"
	"syscall"
)

// openOwned opens a file that a process of user uid has written. Whatever else may lie
// there is not read: the agent may be allowed to read more than that user.
func openOwned(path string, uid int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the trace: %w", err)
	}
	st, err := f.Stat()
	if err == nil {
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !st.Mode().IsRegular() || !ok || int(sys.Uid) != uid || sys.Nlink != 1 {
			err = fmt.Errorf("trace %s is no plain file of user %d: it is not taken", path, uid)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// checkOwn refuses a directory that is not this user's own.
func checkOwn(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("directory for traces: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !st.IsDir() || !ok || int(sys.Uid) != os.Getuid() || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("directory for traces %s: want a directory of user %d that nobody else may write to: remove it", dir, os.Getuid())
	}
	return nil
}
