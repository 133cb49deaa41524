package hub

import (
	"fmt"
	"os"
	"path/filepath"
)

// spools are the directories that the hub gives to ranks on its host, by absolute path. They are
// kept open, so that files are always taken from these directories, even if their paths are
// replaced later.
type spools map[string]*os.Root

// openSpools creates missing directories, accessible only to this user, and opens all. The caller
// closes them.
func openSpools(dirs []string) (s spools, err error) {
	s = spools{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, dir := range dirs {
		path, err := filepath.Abs(dir)
		if err == nil {
			err = os.MkdirAll(path, 0o700)
		}
		if err == nil {
			s[path], err = os.OpenRoot(path)
		}
		if err != nil {
			return s, fmt.Errorf("spool of ranks: %w", err)
		}
	}
	return s, nil
}

func (s spools) close() {
	for path, root := range s {
		_ = root.Close() // nothing was written through it
		delete(s, path)
	}
}
