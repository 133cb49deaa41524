package reading

import (
	"os"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// without leaves Except out of what was found in directories, and notes it. Of the paths that were given, it is
// read where it is one of them.
func (f *Options) without(e *cli.Env, found []open.Source, paths []string) []open.Source {
	written, err := os.Stat(f.Except)
	if f.Except == "" || err != nil {
		return found
	}
	return slices.DeleteFunc(found, func(s open.Source) bool {
		st, err := os.Stat(s.Path)
		if err != nil || !os.SameFile(st, written) || slices.Contains(paths, s.Path) {
			return false
		}
		e.Left = append(e.Left, open.Left{Path: s.Path, Reason: "it is what is written"})
		return true
	})
}
