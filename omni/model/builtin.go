package model

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

//go:embed configs
var builtin embed.FS

const builtinPrefix = "builtin/"

// Builtins names the models that are compiled in; each is a value of Options.Model. They
// have a config and no weights.
func Builtins() []string {
	dirs, err := fs.ReadDir(builtin, "configs")
	if err != nil {
		panic("model: invariant violation: " + err.Error())
	}
	names := make([]string, len(dirs))
	for i, d := range dirs {
		names[i] = builtinPrefix + d.Name()
	}
	return names
}

// modelFS returns the directory that Options.Model names.
func modelFS(model string) (fs.FS, error) {
	if name, ok := strings.CutPrefix(model, builtinPrefix); ok {
		fsys, err := fs.Sub(builtin, "configs/"+name)
		if err == nil {
			_, err = fs.Stat(fsys, ConfigFile)
		}
		if err != nil {
			return nil, fmt.Errorf("model %q: no such built-in model; there are %s", model,
				strings.Join(Builtins(), ", "))
		}
		return fsys, nil
	}
	info, err := os.Stat(model)
	if err != nil {
		return nil, fmt.Errorf("model %q: %w", model, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("model %q: not a directory", model)
	}
	return os.DirFS(model), nil
}
