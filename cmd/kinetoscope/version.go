package main

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

type versionCmd struct{}

func (versionCmd) Run(e *cli.Env) error {
	fmt.Fprintln(e.Out, "kinetoscope", cli.Version())
	return nil
}
