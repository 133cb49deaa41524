package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/work"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/httpd"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/store/catalog"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/units"
	"github.com/kinetoscope/kinetoscope/web"
	"github.com/kinetoscope/kinetoscope/web/view"
)

type serveCmd struct {
	flags.Profiler
	flags.Hub
	File         string         `arg:"" optional:"" default:"omni" help:"Deployment file, or ${builtins}." placeholder:"FILE"`
	Pipeline     string         `help:"The same as the argument, for those who come from capture." placeholder:"NAME|FILE"`
	Addr         string         `default:"${addr}" help:"Where HTTP is served."`
	DataDir      string         `help:"Where NATS and unfinished sessions are kept; with it a restarted server goes on with them." type:"path"`
	RunsDir      string         `help:"Where runs are kept; torch_profiler_dir or runs without it." type:"path"`
	KeepAge      time.Duration  `help:"Delete runs that began longer ago than this, but pinned ones and the youngest; they stay for ever without it." placeholder:"720h"`
	KeepBytes    units.ByteSize `help:"Delete the oldest runs while all of them have more bytes than this, but pinned ones and the youngest." placeholder:"50GiB"`
	MaxUpload    units.ByteSize `default:"4GiB" help:"The largest trace that may be uploaded." placeholder:"BYTES"`
	MaxUploads   units.ByteSize `default:"32GiB" help:"What all uploaded traces may have together." placeholder:"BYTES"`
	NATSListen   string         `name:"nats-listen" help:"Where the embedded NATS server listens, for ranks on other hosts." placeholder:"HOST:PORT"`
	Advertise    string         `name:"nats-advertise" help:"Where ranks on other hosts reach it; --nats-listen's address, or one of this host's, without it." placeholder:"HOST[:PORT]"`
	TLSCert      string         `name:"nats-tls-cert" help:"PEM certificate with which it encrypts connections." type:"path"`
	TLSKey       string         `name:"nats-tls-key" help:"PEM key of the certificate." type:"path"`
	TLSClientCA  string         `name:"nats-tls-client-ca" help:"PEM file of who signs the certificates that ranks must show." type:"path"`
	Attach       bool           `help:"Serve no pipeline: start and stop processes that attach by themselves, by kinetoscope.attach or python -m kinetoscope run."`
	Targets      []string       `name:"target" sep:"none" help:"Profile a server as it is, over HTTP; may be given several times, see docs/servers.md. A deployment file has them under targets." placeholder:"URL"`
	Kineto       bool           `help:"With --attach, let the PyTorch processes of this host that have KINETO_USE_DAEMON in their environment take part as they are."`
	SocketDir    string         `env:"KINETO_IPC_SOCKET_DIR" help:"With --kineto, the KINETO_IPC_SOCKET_DIR of the processes." placeholder:"DIR"`
	NoLaunch     bool           `help:"Start no ranks: wait for those started by hand with the worker verb."`
	TP           int            `name:"tensor-parallel-size" help:"Ranks of every stage, in place of the deployment's: 1, 2 or 4." placeholder:"N"`
	SlowRequest  time.Duration  `help:"Capture the last ten seconds of all ranks when a request took so long." placeholder:"5s"`
	Failed       bool           `name:"failed-request" default:"true" negatable:"" help:"Capture the last ten seconds of all ranks when a request failed inside the pipeline."`
	AllowedHosts []string       `name:"allow-host" aliases:"allowed-host" help:"Name under which clients reach the server, a tunnel's or a proxy's say, besides localhost, addresses and this host's name; * is any." placeholder:"NAME"`
	Insecure     bool           `help:"Serve on an address that others reach without asking for a key."`
	KeyFile      string         `name:"api-key-file" help:"File of keys that clients may show, one a line: read, profile or admin, a space, the key." type:"existingfile"`
	HTTPCert     string         `name:"tls-cert" help:"PEM certificate with which HTTP is encrypted." type:"path"`
	HTTPKey      string         `name:"tls-key" help:"PEM key of the certificate." type:"path"`
	HTTPClientCA string         `name:"tls-client-ca" help:"PEM file of who signs the certificates that clients must show." type:"path"`
	APIKeys      []string       `name:"api-key" sep:"none" env:"KINETOSCOPE_API_KEY" help:"Key that clients must show to generate, to profile and to see sessions, an admin of --api-key-file; may be given several times. The variable does not show in process lists." placeholder:"KEY"`
	ReadyFile    string         `help:"Write the server's URL to this file once it serves, for scripts that wait for it." type:"path"`
	NATSFile     string         `name:"nats-file" help:"Write the URL at which ranks join to this file as soon as they can." type:"path"`
	ReadyTimeout time.Duration  `default:"10m" help:"How long all ranks may take to be ready, for loading weights; ranks that end are not waited for."`
}

// joinAt says where ranks join. The URL has the join token, which no log may have: where Err is no terminal, it is said
// where the token is.
func (c *serveCmd) joinAt(e *cli.Env, url string) string {
	bare := link.Redact(url)
	switch {
	case e.Watched() || bare == url:
		return url
	case c.NATSFile != "":
		return bare + " with the token in " + c.NATSFile
	case c.Token != "":
		return bare + " with the token that was given"
	case c.DataDir != "":
		return bare + " with the token in " + filepath.Join(c.DataDir, hub.TokenFile)
	}
	return bare + " with a token that is not said here, for this is no terminal: --nats-file FILE has it written to a file"
}

// Run checks the whole input before it binds the address, and binds before it loads models.
func (c *serveCmd) Run(e *cli.Env) error {
	plan, err := c.plan(e)
	if err != nil {
		return err
	}
	door, err := c.door(e)
	if err != nil {
		return err
	}
	ln, err := httpd.Bind(e.Ctx, c.Addr) // first, so that a port in use is reported before models are loaded
	if err != nil {
		return err
	}
	defer ln.Close()
	plan.Config.OnHub = func(url string) error {
		fmt.Fprintf(e.Err, "ranks join at %s\n", c.joinAt(e, url))
		if c.NATSFile == "" {
			return nil
		}
		return httpd.WriteURL(c.NATSFile, url)
	}
	if c.NATSFile != "" {
		defer os.Remove(c.NATSFile)
	}
	eng, err := plan.Open(e.Ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	if c.Kineto {
		k, err := startAgent(e, eng, c.SocketDir, false, 0)
		if err != nil {
			return err
		}
		defer k.close()
	}
	return c.serve(e, eng, ln, door, web.Config{
		AllowedHosts: c.AllowedHosts, APIKeys: c.APIKeys, Keys: door.keys, ProfileByGet: len(plan.Config.Targets) > 0,
	})
}

// plan returns what is to be served, checked; nothing is started yet.
func (c *serveCmd) plan(e *cli.Env) (*omni.Plan, error) {
	o, err := c.Override(e)
	if err != nil {
		return nil, err
	}
	if c.Pipeline != "" {
		if c.File != defaultPipeline {
			return nil, cli.Usage("%s and --pipeline %s: name one", c.File, c.Pipeline)
		}
		c.File = c.Pipeline
	}
	if c.Attach && (c.File != defaultPipeline || c.TP != 0) {
		return nil, cli.Usage("--attach serves no model: leave out the file and --tensor-parallel-size")
	}
	targets, name, err := c.targets()
	if err != nil {
		return nil, err
	}
	if c.Kineto && !c.Attach {
		return nil, cli.Usage("--kineto goes with --attach, or a file of targets")
	}
	cfg := c.config(e, o)
	cfg.Targets = targets
	if err := c.Hub.Set(&cfg); err != nil {
		return nil, err
	}
	cfg.Name = cmp.Or(cfg.Name, name)
	if err := httpd.CheckKeys(c.APIKeys); err != nil {
		return nil, err
	}
	if err := c.checkNATS(); err != nil {
		return nil, err
	}
	plan, err := cfg.Plan(e.Ctx)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	if len(plan.Pipeline.Targets) > 0 && !c.Attach {
		return nil, cli.Usage("%s has stages and targets: serve them from files of their own", c.File)
	}
	return plan, nil
}

// config returns the engine's configuration from the flags, with what o overrides.
func (c *serveCmd) config(e *cli.Env, o *deploy.ProfilerOverride) omni.Config {
	return omni.Config{
		Found:              sayFound(e),
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
		Logger:        e.Log,
	}
}

// checkNATS refuses flags of the embedded NATS server that contradict each other.
func (c *serveCmd) checkNATS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return cli.Usage("--nats-tls-cert and --nats-tls-key belong together")
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		return cli.Usage("--nats-tls-client-ca goes with --nats-tls-cert")
	}
	if c.NATS != "" && (c.NATSListen != "" || c.Advertise != "" || c.TLSCert != "") {
		return cli.Usage(
			"--nats-listen, --nats-advertise and --nats-tls-cert are the embedded server's: leave them out with --nats",
		)
	}
	return nil
}

// serve serves eng over HTTP on ln until e.Ctx ends. eng and ln stay the caller's to close.
func (c *serveCmd) serve(e *cli.Env, eng *omni.Engine, ln net.Listener, door door, cfg web.Config) (err error) {
	timelines := view.New(
		view.Config{Library: view.Runs{Root: eng.Hub().Store().Root(),
			Reading: open.Options{Index: index.UserCache()}}, Runs: true},
	)
	defer timelines.Close()
	runs := catalog.New(eng.Hub().Store(), eng.Hub(), catalog.Limits{MaxUpload: int64(c.MaxUpload),
		MaxUploads: int64(c.MaxUploads)})
	cfg.Catalog = runs
	defer c.keep(e, runs)()
	cfg.View = timelines
	if cfg.Asker, err = work.NewDesk(eng.Hub().Conn(), eng.Pipeline().Name, eng.Hub().Replicas()); err != nil {
		return err
	}
	srv := httpd.ForEngine(e, eng, ln, cfg).Encrypt(door.tls)
	fmt.Fprintf(e.Err, "serving %s at %s\n", eng.Model(), srv.URL)
	if c.ReadyFile != "" {
		if err := httpd.WriteURL(c.ReadyFile, srv.URL); err != nil {
			return err
		}
		defer os.Remove(c.ReadyFile)
	}
	defer lookBackOnQuit(e.Ctx, eng)()
	return srv.Serve(e.Ctx)
}

// keep deletes old runs as the flags say, and remains of uploads, until stop is called, which waits for it.
func (c *serveCmd) keep(e *cli.Env, runs *catalog.Catalog) (stop func()) {
	p := catalog.Policy{MaxAge: c.KeepAge, MaxBytes: int64(c.KeepBytes)}
	ctx, cancel := context.WithCancel(e.Ctx)
	var wg sync.WaitGroup
	wg.Go(func() { runs.Keep(ctx, p, e.Log) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// lookBackOnQuit captures the last seconds of all ranks at each SIGQUIT until stop is called, which
// waits for a capture under way.
func lookBackOnQuit(ctx context.Context, eng *omni.Engine) (stop func()) {
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
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
	return func() {
		cancel()
		wg.Wait()
		signal.Stop(quit)
	}
}

// targets reads --target, and a deployment file that has only targets and so runs no model: then it
// sets c.Attach. The text is the file's name for the pipeline, or "".
func (c *serveCmd) targets() ([]httpdriver.Target, string, error) {
	list, err := parseTargets(c.Targets)
	if err != nil {
		return nil, "", err
	}
	if len(list) > 0 {
		if c.File != defaultPipeline || c.TP != 0 {
			return nil, "", cli.Usage("--target serves no model: leave out the file and --tensor-parallel-size, " +
				"or write the servers into the file, under targets")
		}
		c.Attach = true
		return list, "", nil
	}
	if slices.Contains(deploy.Builtins, c.File) || c.Attach {
		return nil, "", nil
	}
	p, _, err := deploy.Load(c.File)
	if err != nil || !p.TargetsOnly() {
		return nil, "", nil // an error in the file is reported where it is planned
	}
	if c.TP != 0 {
		return nil, "", cli.Usage("%s runs no model: leave out --tensor-parallel-size", c.File)
	}
	c.Attach = true
	if !p.Named {
		return p.Targets, "", nil
	}
	return p.Targets, p.Name, nil
}

// door says who may use the server over HTTP.
type door struct {
	keys []web.Key
	tls  *tls.Config // nil: not encrypted
}

// door reads and checks everything that decides who may use the server. If other hosts can reach
// it, a key or a certificate is required.
func (c *serveCmd) door(e *cli.Env) (d door, err error) {
	if c.KeyFile != "" {
		if d.keys, err = readKeys(c.KeyFile); err != nil {
			return d, cli.Usage("--api-key-file: %w", err)
		}
	}
	if d.tls, err = serverTLS(c.HTTPCert, c.HTTPKey, c.HTTPClientCA); err != nil {
		return d, cli.UsageError{Err: err}
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil || web.IsLoopback(c.Addr) || len(c.APIKeys)+len(d.keys) > 0 ||
		c.HTTPClientCA != "" {
		return d, nil // Bind reports a wrong address
	}
	if !c.Insecure {
		return d,
			cli.Usage("--addr %s: others reach this address, and whoever does may profile, generate and download: set KINETOSCOPE_API_KEY "+
				"or --api-key-file, ask for certificates with --tls-client-ca, or say --insecure", c.Addr)
	}
	fmt.Fprintf(e.Err,
		"warning: INSECURE: whoever reaches %s may profile, generate and download: no key is asked for\n", c.Addr)
	return d, nil
}

// readKeys reads a file of keys that nobody else can read.
func readKeys(path string) (keys []web.Key, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: want a plain file that its owner alone can read: chmod 600", path)
	}
	if keys, err = web.ParseKeys(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key", path)
	}
	return keys, nil
}

// serverTLS returns nil without a certificate. With clientCA, clients must show a certificate that
// it signed.
func serverTLS(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" && key == "" && clientCA == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("--tls-cert and --tls-key belong together, and --tls-client-ca goes with them")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s with --tls-key %s: %w", cert, key, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA != "" {
		if cfg.ClientCAs, err = link.Authorities(clientCA); err != nil {
			return nil, fmt.Errorf("--tls-client-ca: %w", err)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}
