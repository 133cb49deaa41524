package main

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/hub"
)

type credentialCmd struct {
	Identity string `arg:"" help:"Who is to have it: rank.<pipeline>.s<stage>.r<replica>.k<rank>, or agent.<pipeline>." placeholder:"IDENTITY"`
	DataDir  string `required:"" help:"The --data-dir of the server." type:"existingdir"`
}

// Run prints the token that lets one rank, or a host's agent, join the server of that
// directory and opens nothing else there.
func (c *credentialCmd) Run(e *env) error {
	token, err := hub.CredentialOf(c.DataDir, c.Identity)
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintln(e.out, token)
	return err
}
