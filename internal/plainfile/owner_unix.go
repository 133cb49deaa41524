//go:build unix

package plainfile

import (
	"os"
	"syscall"
)

const (
	// noWait does not wait if the file is a pipe.
	noWait = syscall.O_NONBLOCK
	// openFlags follow no link, and do not wait either.
	openFlags = syscall.O_NOFOLLOW | noWait
)

// Owner says whose a file is and how many names it has; ok is false where files have no owner.
func Owner(st os.FileInfo) (uid int, links uint64, ok bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(sys.Uid), uint64(sys.Nlink), true
}
