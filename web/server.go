package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store/catalog"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/feed"
	"github.com/kinetoscope/kinetoscope/web/view"
)

// Limits and times of the server.
const (
	// DefaultAddr is where the server listens unless told: this host only.
	DefaultAddr = api.DefaultAddr
	// MaxGenerateBody bounds the body of a generation request: a long prompt
	// is a few hundred KiB, and the engine's token limit comes far earlier.
	MaxGenerateBody = 4 << 20
	// MaxProfileBody bounds the body of a profile request. Load generators
	// post their whole completion request here, so it is not tiny.
	MaxProfileBody = 1 << 20
	// MaxGenerations bounds generation requests in flight; each holds a
	// connection and an engine's slot or queue place. More get 503.
	MaxGenerations = 512
	// MaxHeaderBytes bounds a request's headers; browsers send under 8 KiB.
	MaxHeaderBytes = 64 << 10
	// HeaderTimeout is how long a client may take to send headers.
	HeaderTimeout = 10 * time.Second
	// BodyTimeout is how long a client may take to send a body.
	BodyTimeout = 30 * time.Second
	// IdleTimeout closes a kept-alive connection on which nothing comes.
	IdleTimeout = 2 * time.Minute
	// StallTimeout is how long one write may wait for a client that does not
	// read. A stream as a whole has no limit.
	StallTimeout = time.Minute
	// DefaultShutdownGrace is how long running requests may go on after Serve's
	// context ends.
	DefaultShutdownGrace = 30 * time.Second
)

// ViewID is the id of the timeline that a server without a pipeline shows.
const ViewID = "files"

// Config configures a Server. API or View is required; every other field has a default for zero.
type Config struct {
	API      omni.API             // nil: there is no pipeline, and no endpoints of one
	View     *view.API            // timelines of runs; nil: their endpoints answer 404. The caller closes it
	Catalog  *catalog.Catalog     // the runs of the store; nil: their endpoints answer 404
	Front    string               // path that / leads to without a pipeline; "": the view of ViewID
	Sessions Sessions             // nil: the sessions endpoints answer 404
	Asker    Asker                // of traces on nodes; nil: its endpoint answers 404
	Logger   *slog.Logger         // nil: slog.Default()
	Registry *prometheus.Registry // nil: a new one; the go and process collectors are added to it
	// Addr is the host:port that Listen binds; "" is DefaultAddr. Its host also
	// tells Handler whether it is behind a loopback address; Serve looks at its
	// listener instead.
	Addr string
	// AllowedHosts are names, without port, under which clients reach the server, such as those of
	// a tunnel or proxy; "*" allows any. localhost and loopback addresses are always allowed. A
	// server that listens beyond the loopback also allows every IP address and its host's own name;
	// a foreign name that an attacker points at the server is none of these.
	AllowedHosts []string
	// APIKeys are admin keys. A client sends one as Authorization: Bearer KEY to use anything but
	// the status page's files, /health and /metrics. Without any key, everybody may use everything.
	APIKeys []string
	// Keys are further keys, each limited to its scope.
	Keys []Key
	// ProfileByGet lets a GET start and stop sessions, as SGLang's servers do, except from
	// browsers.
	ProfileByGet  bool
	ShutdownGrace time.Duration // 0: DefaultShutdownGrace

	bodyTimeout  time.Duration // tests only; 0: BodyTimeout
	stallTimeout time.Duration // tests only; 0: StallTimeout
	stallEvents  time.Duration // tests only; 0: feed.DefaultStall
}

// Optional parts of an omni.API. The server uses what its API implements.
type (
	// RankLister knows the ranks that are present; /health and the status
	// page show them.
	RankLister interface{ Ranks() []protocol.RankInfo }
	// Healther says why the pipeline cannot serve; nil: it can.
	Healther interface{ Health() error }
	// QueueDepther knows how many requests are at each stage, by its name, for /metrics.
	QueueDepther interface{ QueueDepth() map[string]int }
	// Strayer knows how many ranks have a profiler on that no session owns, for /metrics.
	Strayer interface{ Strays() int }
	// SessionReporter knows the session that is running, or the last one; nil: none.
	SessionReporter interface{ Session() *session.Status }
)

// Server serves one pipeline over HTTP. Make it with NewServer.
type Server struct {
	cfg     Config
	api     omni.API
	log     *slog.Logger
	metrics *metrics
	handler http.Handler
	created time.Time

	generations chan struct{} // a place for each generation in flight
	loopback    atomic.Bool   // only this host reaches the server
	hostname    string        // this host's, "" if it has none
	draining    atomic.Bool   // shutting down; health says so
	keys        *keyring
	stops       stopper
	used        usedIDs // by clients, for generations
	last        lastSession
	watch       *watcher
	// streams ends, when the server shuts down, answers that have no end of their own.
	streams    context.Context
	endStreams context.CancelFunc

	// life spans the work that no client's context may end: stopping a
	// session. Close ends it. (A context in a struct, as http.Server's base.)
	life    context.Context
	endLife context.CancelFunc
	work    sync.WaitGroup
}

// NewServer makes a server for cfg.API, which it does not close. It panics if
// there is neither that nor a View, which is a mistake in the program. The caller ends it by
// Serve's context or by Close.
func NewServer(cfg Config) *Server {
	if cfg.API == nil && cfg.View == nil {
		panic("web: Config.API and Config.View are nil")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Addr == "" {
		cfg.Addr = DefaultAddr
	}
	cfg.ShutdownGrace = orDefault(cfg.ShutdownGrace, DefaultShutdownGrace)
	cfg.bodyTimeout = orDefault(cfg.bodyTimeout, BodyTimeout)
	cfg.stallTimeout = orDefault(cfg.stallTimeout, StallTimeout)
	cfg.stallEvents = orDefault(cfg.stallEvents, feed.DefaultStall)
	s := &Server{
		cfg: cfg, api: cfg.API, log: cfg.Logger, created: time.Now(),
		generations: make(chan struct{}, MaxGenerations), keys: newKeyring(cfg.APIKeys, cfg.Keys),
	}
	s.life, s.endLife = context.WithCancel(context.Background())
	s.streams, s.endStreams = context.WithCancel(s.life)
	s.watch = newWatcher(s)
	s.loopback.Store(IsLoopback(cfg.Addr))
	s.hostname, _ = os.Hostname()
	s.metrics = newMetrics(cfg.Registry, s)
	s.handler = s.middleware(s.routes())
	return s
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// Handler returns the server's handler, for a caller with a server of its own.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen binds Config.Addr.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (choose another --addr?): %w", s.cfg.Addr, err)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends, then lets running requests
// finish for Config.ShutdownGrace, cancels the rest, and returns when all is
// done. It closes ln and returns nil for an end by ctx.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.loopback.Store(IsLoopback(ln.Addr().String()))
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: HeaderTimeout,
		// No ReadTimeout: it would run on while the answer streams and end the
		// request. Bodies have BodyTimeout, writes StallTimeout.
		IdleTimeout:    IdleTimeout,
		MaxHeaderBytes: MaxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:    func(net.Listener) context.Context { return base },
	}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(ln) }()
	model := ""
	if s.api != nil {
		model = s.api.Model()
	}
	s.log.Info("serving", "addr", ln.Addr().String(), "model", model)
	select {
	case err := <-failed:
		s.Close()
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.endStreams()
	s.log.Info("shutting down", "grace", s.cfg.ShutdownGrace)
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
	defer done()
	err := hs.Shutdown(grace)
	cancel() // requests that still run are cancelled and free what they hold
	if err != nil {
		s.log.Warn("requests cut off at shutdown", "grace", s.cfg.ShutdownGrace)
		err = hs.Close()
	}
	<-failed // http.ErrServerClosed
	s.Close()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// Close ends the server's own work, a stop that goes on, and waits for it. It
// does not touch requests that a Handler still serves.
func (s *Server) Close() {
	s.endLife()
	s.work.Wait()
}
