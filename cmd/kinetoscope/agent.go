package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/agent"
	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/work"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/httpd"
	"github.com/kinetoscope/kinetoscope/internal/cli/nodes"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/units"
)

type agentCmd struct {
	flags.Join
	Pipeline  string         `default:"attached" env:"KINETOSCOPE_PIPELINE" help:"Name of the pipeline that the processes are ranks of."`
	First     int            `name:"first-replica" help:"Number of this host's first replica, where agents of several hosts have processes that say no rank." placeholder:"N"`
	SocketDir string         `env:"KINETO_IPC_SOCKET_DIR" help:"The KINETO_IPC_SOCKET_DIR of the processes." placeholder:"DIR"`
	Targets   []string       `name:"target" sep:"none" help:"Drive a server of this host, whose files are seen here alone; may be given several times, see docs/servers.md." placeholder:"URL"`
	File      string         `name:"targets" help:"Deployment file: drive those of its targets whose agent is this host." type:"existingfile" placeholder:"FILE"`
	DynoPort  int            `help:"Answer dynolog's command line on this port of the loopback, 1778 by its default: dyno gputrace and scripts around it then work." placeholder:"PORT"`
	Host      string         `name:"agent-name" help:"What the file's targets call this agent, and NODE in NODE:PATH; the host's name without it." placeholder:"NAME"`
	Traces    []string       `sep:"none" help:"Answer questions about the traces below this directory, which stay here; may be given several times, see docs/scale.md." placeholder:"DIR"`
	Memory    units.ByteSize `help:"Memory that the traces of such questions may take at a time." placeholder:"4GiB"`
	ReadyFile string         `help:"Write the name of this agent to this file once it takes part, for scripts that wait for it." type:"path"`
}

// Run takes part for the PyTorch processes of this host until it is interrupted.
func (c *agentCmd) Run(e *cli.Env) error {
	if c.First < 0 {
		return cli.Usage("--first-replica %d: 0 or more", c.First)
	}
	if c.DynoPort < 0 || c.DynoPort > 65535 {
		return cli.Usage("--dyno-port %d: 1 to 65535", c.DynoPort)
	}
	seats, err := c.seats()
	if err != nil {
		return err
	}
	solver, err := c.solver(e)
	if err != nil {
		return err
	}
	nc, err := c.As(protocol.AgentIdentity(c.Pipeline)).Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	a, err := agent.Start(nc, agent.Config{Pipeline: c.Pipeline, SocketDir: c.SocketDir, FirstReplica: c.First,
		DynoPort: c.DynoPort, Logger: e.Log})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Err, "processes of this host that have KINETO_USE_DAEMON take part in %s at %s\n", c.Pipeline,
		link.Redact(c.NATS))
	fleet, err := httpdriver.Join(e.Ctx, nc, seats, httpdriver.FleetConfig{Logger: e.Log, Found: sayFound(e),
		Later: true})
	if err != nil {
		return errors.Join(err, a.Close())
	}
	if solver != nil {
		node, err := work.Serve(nc, work.NodeConfig{Pipeline: c.Pipeline, Name: c.node(), Solver: solver,
			Logger: e.Log})
		if err != nil {
			return errors.Join(err, fleet.Close(), a.Close())
		}
		defer node.Close()
		fmt.Fprintf(e.Err, "traces below %s are asked for as %s:PATH\n", strings.Join(c.Traces, ", "), c.node())
	}
	if c.ReadyFile != "" {
		if err := httpd.WriteURL(c.ReadyFile, c.node()); err != nil {
			return errors.Join(err, fleet.Close(), a.Close())
		}
		defer os.Remove(c.ReadyFile)
	}
	<-e.Ctx.Done()
	return errors.Join(fleet.Close(), a.Close())
}

// solver answers questions about traces; nil without --traces.
func (c *agentCmd) solver(e *cli.Env) (*nodes.Solver, error) {
	if len(c.Traces) == 0 {
		return nil, nil
	}
	return nodes.NewSolver(c.Traces, c.Memory, e.Log)
}

// node is this agent's name in NODE:PATH.
func (c *agentCmd) node() string { return protocol.NodeName(c.host()) }

// host is this agent's name.
func (c *agentCmd) host() string {
	if c.Host != "" {
		return c.Host
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// seats returns the places of the servers that this agent drives. Servers in a deployment file get
// the same places as in the process that serves the file.
func (c *agentCmd) seats() ([]httpdriver.Seat, error) {
	list, err := parseTargets(c.Targets)
	if err != nil {
		return nil, err
	}
	if c.File == "" {
		return httpdriver.Seats(list, c.Pipeline, httpdriver.TargetStage), nil
	}
	if len(list) > 0 {
		return nil, cli.Usage("--target and --targets: give one of them, for both number their stages")
	}
	p, _, err := deploy.Load(c.File)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	name := c.host()
	seats := slices.DeleteFunc(httpdriver.Seats(p.Targets, c.Pipeline, httpdriver.TargetStage),
		func(s httpdriver.Seat) bool { return s.Agent != name })
	if len(seats) == 0 {
		return nil, cli.Usage("%s: no target has agent: %s", c.File, name)
	}
	return seats, nil
}

// localAgent is an agent in this process.
type localAgent struct {
	agent *agent.Agent
	dir   string // of the sockets, made for a command
	env   *cli.Env
}

// startAgent starts an agent: with sockets of its own for the processes of a command, else for
// those of the host. Their stages are numbered from first on.
func startAgent(e *cli.Env, eng *omni.Engine, socketDir string, command bool, first int) (*localAgent, error) {
	k := &localAgent{env: e}
	if command && socketDir == "" {
		dir, err := os.MkdirTemp("/tmp", "kinetoscope-") // short, for sockets have short names
		if err != nil {
			return nil, err
		}
		k.dir, socketDir = dir, dir
	}
	a, err := agent.Start(eng.Hub().Conn(), agent.Config{Pipeline: eng.Pipeline().Name, SocketDir: socketDir,
		FirstStage: first, Logger: e.Log})
	if err != nil {
		return nil, errors.Join(err, k.removeDir())
	}
	k.agent = a
	return k, nil
}

// vars returns the environment variables from which a command's processes learn the agent's
// sockets.
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
