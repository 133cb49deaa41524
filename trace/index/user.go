package index

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// WorthMinSize is the least size in bytes of a file that is worth an index: a smaller one is
// read as fast.
const WorthMinSize = 8 << 20

// Limits of the indexes in the user's cache: as much as ten runs of eight ranks take.
const (
	userBytes = 20 << 30
	userDir   = "kinetoscope/index"
)

// UserCache keeps the indexes of large files in the user's cache directory, so that a file
// opens at once the next time. The oldest ones go first when they take too much. Without
// such a directory none is kept.
func UserCache() Cache {
	base, err := os.UserCacheDir()
	if err != nil {
		return Cache{}
	}
	dir := filepath.Join(base, filepath.FromSlash(userDir))
	prune(dir, userBytes)
	return Cache{Dir: dir, MinSize: WorthMinSize}
}

// prune removes the indexes of dir made longest ago, and what crashed writers left,
// until the rest is within limit.
func prune(dir string, limit int64) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return // nothing there yet
	}
	type file struct {
		path string
		size int64
		at   time.Time
	}
	var files []file
	for _, f := range list {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && strings.Contains(f.Name(), Suffix) {
			files = append(files, file{filepath.Join(dir, f.Name()), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return b.at.Compare(a.at) })
	total := int64(0)
	for _, f := range files {
		if total += f.size; total > limit {
			_ = os.Remove(f.path) // another view may have been first
		}
	}
}
