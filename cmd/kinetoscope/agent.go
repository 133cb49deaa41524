package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/kinetoscope/kinetoscope/agent"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
)

type agentCmd struct {
	flags.Join
	Pipeline  string `default:"attached" env:"KINETOSCOPE_PIPELINE" help:"Name of the pipeline that the processes are ranks of."`
	First     int    `name:"first-replica" help:"Number of this host's first replica, where agents of several hosts have processes that say no rank." placeholder:"N"`
	SocketDir string `env:"KINETO_IPC_SOCKET_DIR" help:"The KINETO_IPC_SOCKET_DIR of the processes." placeholder:"DIR"`
}

// Run takes part for the PyTorch processes of this host until it is interrupted.
func (c *agentCmd) Run(e *cli.Env) error {
	if c.First < 0 {
		return cli.Usage("--first-replica %d: 0 or more", c.First)
	}
	nc, err := c.As(protocol.AgentIdentity(c.Pipeline)).Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	a, err := agent.Start(nc, agent.Config{Pipeline: c.Pipeline, SocketDir: c.SocketDir, FirstReplica: c.First, Logger: e.Log})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Err, "processes of this host that have KINETO_USE_DAEMON take part in %s at %s\n", c.Pipeline, link.Redact(c.NATS))
	<-e.Ctx.Done()
	return a.Close()
}

// localAgent is an agent in this process.
type localAgent struct {
	agent *agent.Agent
	dir   string // of the sockets, made for a command
	env   *cli.Env
}

// startAgent starts an agent for the processes of a command, whose sockets are its own,
// or for those of the host.
func startAgent(e *cli.Env, eng *omni.Engine, socketDir string, command bool) (*localAgent, error) {
	k := &localAgent{env: e}
	if command && socketDir == "" {
		dir, err := os.MkdirTemp("/tmp", "kinetoscope-") // short, for sockets have short names
		if err != nil {
			return nil, err
		}
		k.dir, socketDir = dir, dir
	}
	a, err := agent.Start(eng.Hub().Conn(), agent.Config{Pipeline: eng.Model(), SocketDir: socketDir, Logger: e.Log})
	if err != nil {
		return nil, errors.Join(err, k.removeDir())
	}
	k.agent = a
	return k, nil
}

// vars are the variables with which a command's processes find the agent.
func (k *localAgent) vars() []string {
	vars := []string{"KINETO_USE_DAEMON=1"}
	if k.dir != "" {
		vars = append(vars, "KINETO_IPC_SOCKET_DIR="+k.dir)
	}
	return vars
}

func (k *localAgent) close() {
	if err := errors.Join(k.agent.Close(), k.removeDir()); err != nil {
		k.env.Log.Warn("the agent ends", "err", err)
	}
}

func (k *localAgent) removeDir() error {
	if k.dir == "" {
		return nil
	}
	return os.RemoveAll(k.dir)
}
