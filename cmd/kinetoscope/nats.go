package main

import (
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/omni"
)

// natsFlags say how a verb that runs a hub reaches NATS.
type natsFlags struct {
	NATS     string `name:"nats" help:"Use this NATS cluster; an embedded server without it." placeholder:"URL"`
	Token    string `name:"nats-token" env:"KINETOSCOPE_NATS_TOKEN" help:"Token that lets ranks join; made up if the embedded server listens beyond this host." placeholder:"TOKEN"`
	CA       string `name:"nats-tls-ca" help:"PEM file of who signed the certificate of the --nats cluster, or of --nats-tls-cert; the system's authorities without it." type:"path"`
	Replicas int    `name:"nats-replicas" default:"1" help:"How many servers of the --nats cluster keep each bucket." placeholder:"N"`
	Name     string `name:"name" help:"Name of the pipeline on the NATS cluster, in place of the deployment's." placeholder:"NAME"`
}

func (f *natsFlags) set(c *omni.Config) error {
	if err := link.ValidateToken(f.Token); err != nil {
		return usage("--nats-token: %w", err)
	}
	if f.Replicas < 1 || f.Replicas > 1 && f.NATS == "" {
		return usage("--nats-replicas %d: 1, or more with --nats", f.Replicas)
	}
	c.NATSURL, c.Token, c.TLSCA, c.Replicas, c.Name = f.NATS, f.Token, f.CA, f.Replicas, f.Name
	return nil
}
