package main

import (
	"fmt"
	"runtime/debug"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

type versionCmd struct{}

func (versionCmd) Run(e *cli.Env) error {
	fmt.Fprintln(e.Out, "kinetoscope", version())
	return nil
}

// version returns the module's version.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
