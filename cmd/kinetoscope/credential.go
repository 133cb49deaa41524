package main

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/cli"
)

type credentialCmd struct {
	Identity string `arg:"" help:"Who is to have it: rank.<pipeline>.s<stage>.r<replica>.k<rank>, or agent.<pipeline>." placeholder:"IDENTITY"`
	DataDir  string `help:"The --data-dir of the server." type:"existingdir"`

	Permissions bool `help:"What its user needs on a NATS cluster of your own (--nats), as JSON for that server's configuration, instead of a credential."`
}

// Run prints the credential with which one rank, or one host's agent, joins the server of the
// directory. It opens nothing else there.
func (c *credentialCmd) Run(e *cli.Env) error {
	if c.Permissions == (c.DataDir != "") {
		return cli.Usage(
			"credential: give the --data-dir of an embedded server, or --permissions for a cluster of your own")
	}
	if c.Permissions {
		p, err := hub.Permissions(c.Identity)
		if err != nil {
			return cli.UsageError{Err: err}
		}
		enc := json.NewEncoder(e.Out)
		enc.SetEscapeHTML(false) // NATS' configuration does not know \u escapes
		enc.SetIndent("", "  ")
		return enc.Encode(permissionsOf(p))
	}
	credential, err := hub.CredentialOf(c.DataDir, c.Identity)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	_, err = fmt.Fprintln(e.Out, credential)
	return err
}

// natsSide is what a user of a NATS server may publish or subscribe to.
type natsSide struct {
	Allow []string `json:"allow"`
}

// natsAnswers bounds how long and how often a user may answer a request.
type natsAnswers struct {
	Max     int    `json:"max"`
	Expires string `json:"expires"`
}

// natsPermissions is "permissions" of a user in a NATS server's configuration.
type natsPermissions struct {
	Publish   natsSide    `json:"publish"`
	Subscribe natsSide    `json:"subscribe"`
	Responses natsAnswers `json:"allow_responses"`
}

func permissionsOf(p *server.Permissions) natsPermissions {
	return natsPermissions{natsSide{p.Publish.Allow}, natsSide{p.Subscribe.Allow},
		natsAnswers{p.Response.MaxMsgs, p.Response.Expires.String()}}
}
