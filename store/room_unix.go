//go:build unix

package store

import "golang.org/x/sys/unix"

// Free returns how many bytes an ordinary user may still write on the disk of dir, false
// if that cannot be known.
func Free(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:unconvert // types differ between systems
}
