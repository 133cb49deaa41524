package main

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/cli"
)

type credentialCmd struct {
	Identity string `arg:"" help:"Who is to have it: rank.<pipeline>.s<stage>.r<replica>.k<rank>, or agent.<pipeline>." placeholder:"IDENTITY"`
	DataDir  string `required:"" help:"The --data-dir of the server." type:"existingdir"`
}

// Run prints the token that lets one rank, or a host's agent, join the server of that
// directory and opens nothing else there.
func (c *credentialCmd) Run(e *cli.Env) error {
	token, err := hub.CredentialOf(c.DataDir, c.Identity)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	_, err = fmt.Fprintln(e.Out, token)
	return err
}
