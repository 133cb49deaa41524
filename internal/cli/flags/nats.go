package flags

import (
	"fmt"
	"io"
	"strings"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/omni"
)

// Hub says how a verb that runs a hub reaches NATS.
type Hub struct {
	NATS     string `name:"nats" help:"Use this NATS cluster; an embedded server without it." placeholder:"URL"`
	Token    string `name:"nats-token" env:"KINETOSCOPE_NATS_TOKEN" help:"Join token, with which ranks join that are started by hand; made up without it. The variable does not show in process lists." placeholder:"TOKEN"`
	CA       string `name:"nats-tls-ca" help:"PEM file of who signed the certificate of the --nats cluster, or of --nats-tls-cert; the system's authorities without it." type:"path"`
	Creds    string `name:"nats-creds" env:"KINETOSCOPE_NATS_CREDS" help:"Credentials of the hub's user on the --nats cluster: a .creds file, or a file with an nkey's seed." type:"path" placeholder:"FILE"`
	Ranks    string `name:"nats-rank-creds" help:"Credentials of the ranks that this process starts: a file for all, or a directory with IDENTITY.creds or IDENTITY.nk for each; the hub's without it." type:"path" placeholder:"PATH"`
	Replicas int    `name:"nats-replicas" default:"1" help:"How many servers of the --nats cluster keep each bucket." placeholder:"N"`
	Name     string `name:"name" help:"Name of the pipeline on the NATS cluster, in place of the deployment's." placeholder:"NAME"`
}

// Set checks the flags and writes them to c.
func (f *Hub) Set(c *omni.Config) error {
	if err := link.ValidateToken(f.Token); err != nil {
		return cli.Usage("--nats-token: %w", err)
	}
	if f.Replicas < 1 || f.Replicas > 1 && f.NATS == "" {
		return cli.Usage("--nats-replicas %d: 1, or more with --nats", f.Replicas)
	}
	if f.NATS == "" && (f.Creds != "" || f.Ranks != "") {
		return cli.Usage(
			"--nats-creds and --nats-rank-creds are for users of a --nats cluster: the embedded server makes its own")
	}
	c.Creds, c.RankCreds = f.Creds, f.Ranks
	c.NATSURL, c.Token, c.TLSCA, c.Replicas, c.Name = f.NATS, f.Token, f.CA, f.Replicas, f.Name
	return nil
}

// Join says how a verb joins a hub.
type Join struct {
	NATS  string `name:"nats" required:"" env:"KINETOSCOPE_NATS" help:"URL of the hub's NATS server, as serve prints it. The variable does not show in process lists." placeholder:"URL"`
	Token string `name:"nats-token" env:"KINETOSCOPE_NATS_TOKEN" help:"Join token of the server, or the credential of this rank or agent, if the URL has neither. The variable does not show in process lists." placeholder:"TOKEN"`
	CA    string `name:"nats-tls-ca" env:"KINETOSCOPE_NATS_TLS_CA" help:"PEM file of who signed the server's certificate; the system's authorities without it." type:"path"`
	Creds string `name:"nats-creds" env:"KINETOSCOPE_NATS_CREDS" help:"Credentials on a cluster with users of its own: a .creds file, or a file with an nkey's seed." type:"path" placeholder:"FILE"`
	Cert  string `name:"nats-tls-cert" env:"KINETOSCOPE_NATS_TLS_CERT" help:"PEM certificate to show, where serve has --nats-tls-client-ca." type:"path"`
	Key   string `name:"nats-tls-key" env:"KINETOSCOPE_NATS_TLS_KEY" help:"PEM key of the certificate." type:"path"`
}

// As returns how to connect as the given identity of package protocol.
func (f *Join) As(identity string) link.Config {
	return link.Config{URL: f.NATS, Token: f.Token, CA: f.CA, Creds: f.Creds, Cert: f.Cert, Key: f.Key, As: identity}
}

// WarnOfSecrets warns of secrets in args, which every user of this host can read in the process
// list.
func WarnOfSecrets(w io.Writer, args []string) {
	for i, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		variable := map[string]string{"--nats-token": "KINETOSCOPE_NATS_TOKEN", "--api-key": APIKeyEnv}[name]
		if name == "--nats" && strings.Contains(value, "@") {
			variable = "KINETOSCOPE_NATS"
		}
		if variable != "" {
			fmt.Fprintf(w, "warning: the secret in %s shows in process lists, to every user of this host: use %s\n",
				name, variable)
		}
	}
}
