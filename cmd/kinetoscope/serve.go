package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web"
	"github.com/kinetoscope/kinetoscope/web/view"
)

type serveCmd struct {
	profilerFlags
	natsFlags
	File         string        `arg:"" optional:"" default:"omni" help:"Deployment file, or ${builtins}." placeholder:"FILE"`
	Pipeline     string        `help:"The same as the argument, for those who come from capture." placeholder:"NAME|FILE"`
	Addr         string        `default:"127.0.0.1:8000" help:"Where HTTP is served."`
	DataDir      string        `help:"Where NATS and unfinished sessions are kept; with it a restarted server goes on with them." type:"path"`
	RunsDir      string        `help:"Where runs are kept; torch_profiler_dir or runs without it." type:"path"`
	NATSListen   string        `name:"nats-listen" help:"Where the embedded NATS server listens, for ranks on other hosts." placeholder:"HOST:PORT"`
	Advertise    string        `name:"nats-advertise" help:"Where ranks on other hosts reach it; --nats-listen's address, or one of this host's, without it." placeholder:"HOST[:PORT]"`
	TLSCert      string        `name:"nats-tls-cert" help:"PEM certificate with which it encrypts connections." type:"path"`
	TLSKey       string        `name:"nats-tls-key" help:"PEM key of the certificate." type:"path"`
	TLSClientCA  string        `name:"nats-tls-client-ca" help:"PEM file of who signs the certificates that ranks must show." type:"path"`
	Attach       bool          `help:"Serve no pipeline: start and stop processes that attach by themselves, by kinetoscope.attach or python -m kinetoscope run."`
	Kineto       bool          `help:"With --attach, let the PyTorch processes of this host that have KINETO_USE_DAEMON in their environment take part as they are."`
	SocketDir    string        `env:"KINETO_IPC_SOCKET_DIR" help:"With --kineto, the KINETO_IPC_SOCKET_DIR of the processes." placeholder:"DIR"`
	NoLaunch     bool          `help:"Start no ranks: wait for those started by hand with the worker verb."`
	TP           int           `name:"tensor-parallel-size" help:"Ranks of every stage, in place of the deployment's: 1, 2 or 4." placeholder:"N"`
	SlowRequest  time.Duration `help:"Capture the last ten seconds of all ranks when a request took so long." placeholder:"5s"`
	Failed       bool          `name:"failed-request" default:"true" negatable:"" help:"Capture the last ten seconds of all ranks when a request failed inside the pipeline."`
	AllowedHosts []string      `name:"allow-host" aliases:"allowed-host" help:"Name under which clients reach the server, a tunnel's or a proxy's say, besides localhost, addresses and this host's name; * is any." placeholder:"NAME"`
	Insecure     bool          `help:"Serve on an address that others reach without asking for a key."`
	KeyFile      string        `name:"api-key-file" help:"File of keys that clients may show, one a line: read, profile or admin, a space, the key." type:"existingfile"`
	HTTPCert     string        `name:"tls-cert" help:"PEM certificate with which HTTP is encrypted." type:"path"`
	HTTPKey      string        `name:"tls-key" help:"PEM key of the certificate." type:"path"`
	HTTPClientCA string        `name:"tls-client-ca" help:"PEM file of who signs the certificates that clients must show." type:"path"`
	APIKeys      []string      `name:"api-key" sep:"none" env:"KINETOSCOPE_API_KEY" help:"Key that clients must show to generate, to profile and to see sessions, an admin of --api-key-file; may be given several times. The variable does not show in process lists." placeholder:"KEY"`
	ReadyFile    string        `help:"Write the server's URL to this file once it serves, for scripts that wait for it." type:"path"`
	NATSFile     string        `name:"nats-file" help:"Write the URL at which ranks join to this file as soon as they can." type:"path"`
	ReadyTimeout time.Duration `default:"2m" help:"How long all ranks may take to be ready."`
}

func (c *serveCmd) Run(e *env) error {
	o, err := c.override(e)
	if err != nil {
		return err
	}
	if c.Pipeline != "" {
		if c.File != defaultPipeline {
			return usage("%s and --pipeline %s: name one", c.File, c.Pipeline)
		}
		c.File = c.Pipeline
	}
	if c.Attach && (c.File != defaultPipeline || c.TP != 0) {
		return usage("--attach serves no model: leave out the file and --tensor-parallel-size")
	}
	if c.Kineto && !c.Attach {
		return usage("--kineto goes with --attach")
	}
	cfg := omni.Config{
		Attached:           c.Attach,
		Pipeline:           c.File,
		TensorParallelSize: c.TP,
		Profiler:           o,
		DataDir:            c.DataDir,
		RunsDir:            c.RunsDir,
		Connection: hub.Connection{
			Listen:      c.NATSListen,
			Advertise:   c.Advertise,
			TLSCert:     c.TLSCert,
			TLSKey:      c.TLSKey,
			TLSClientCA: c.TLSClientCA,
		},
		SlowRequest:   c.SlowRequest,
		FailedRequest: c.Failed,
		NoLaunch:      c.NoLaunch,
		ReadyTimeout:  c.ReadyTimeout,
		Logger:        e.log,
	}
	if err := c.natsFlags.set(&cfg); err != nil {
		return err
	}
	if err := checkKeys(c.APIKeys); err != nil {
		return err
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usage("--nats-tls-cert and --nats-tls-key belong together")
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		return usage("--nats-tls-client-ca goes with --nats-tls-cert")
	}
	if c.NATS != "" && (c.NATSListen != "" || c.Advertise != "" || c.TLSCert != "") {
		return usage(
			"--nats-listen, --nats-advertise and --nats-tls-cert are the embedded server's: leave them out with --nats",
		)
	}
	plan, err := cfg.Plan(e.ctx)
	if err != nil {
		return usageError{err}
	}
	door, err := c.door(e)
	if err != nil {
		return err
	}
	ln, err := bind(e.ctx, c.Addr) // first: a port in use is known before models are loaded
	if err != nil {
		return err
	}
	defer ln.Close()
	plan.Config.OnHub = func(url string) error {
		fmt.Fprintf(e.err, "ranks join at %s\n", url)
		if c.NATSFile == "" {
			return nil
		}
		return writeURL(c.NATSFile, url)
	}
	if c.NATSFile != "" {
		defer os.Remove(c.NATSFile)
	}
	eng, err := plan.Open(e.ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, false)
		if err != nil {
			return err
		}
		defer k.close()
	}
	timelines := view.New(
		view.Config{Library: view.Runs{Root: eng.Hub().Store().Root(), Reading: open.Options{Index: viewIndex()}}},
	)
	defer timelines.Close()
	srv := newServer(
		e,
		eng,
		ln,
		web.Config{View: timelines, AllowedHosts: c.AllowedHosts, APIKeys: c.APIKeys, Keys: door.keys},
	).encrypt(door.tls)
	fmt.Fprintf(e.err, "serving %s at %s\n", eng.Model(), srv.url)
	if c.ReadyFile != "" {
		if err := writeURL(c.ReadyFile, srv.url); err != nil {
			return err
		}
		defer os.Remove(c.ReadyFile)
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	defer signal.Stop(quit)
	ctx, cancel := context.WithCancel(e.ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-quit:
				eng.LookBack("sigquit")
			}
		}
	})
	return srv.serve(e.ctx)
}

// apiKeyEnv holds a key for --api-key, the server's and the clients'.
const apiKeyEnv = "KINETOSCOPE_API_KEY"

// checkKeys refuses keys that no header can carry, an empty one above all: it comes of a
// variable that was to hold a key. Ranks and what they load have no use for the variable.
func checkKeys(keys []string) error {
	for _, key := range keys {
		if err := web.CheckKey(key); err != nil {
			return usage("--api-key (%s): %w; leave both away to serve without a key", apiKeyEnv, err)
		}
	}
	return os.Unsetenv(apiKeyEnv)
}

// writeURL makes the file appear with its content, not before it. The URL may hold a
// token, so only the user may read it.
func writeURL(path, url string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(url+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the URL: %w", err)
	}
	return os.Rename(tmp, path)
}

// server is an HTTP server that is bound but does not serve yet.
type server struct {
	web *web.Server
	ln  net.Listener
	url string
}

// quickShutdown is the grace of a server whose only client is done.
const quickShutdown = time.Second

// bind takes the address on which HTTP is served.
func bind(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if a := (*net.AddrError)(nil); errors.As(err, &a) {
		return nil, usage("--addr: %w: write HOST:PORT", a)
	}
	if err != nil {
		return nil, fmt.Errorf("serve HTTP at %s: %w; --addr names another address", addr, err)
	}
	return ln, nil
}

func newServer(e *env, eng *omni.Engine, ln net.Listener, cfg web.Config) *server {
	cfg.API, cfg.Sessions, cfg.Logger, cfg.Addr = eng, web.HubSessions(eng.Hub()), e.log, ln.Addr().String()
	return &server{web: web.NewServer(cfg), ln: ln, url: "http://" + ln.Addr().String()}
}

func (s *server) serve(ctx context.Context) error { return s.web.Serve(ctx, s.ln) }
