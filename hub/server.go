package hub

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// serverReadyTimeout bounds the recovery of the streams on disk at start-up.
	serverReadyTimeout = 30 * time.Second
	// defaultListen keeps the embedded server off the network unless asked.
	defaultListen = "127.0.0.1:0"
	// maxConnections is a rank each and room for those that come back before their old
	// connection is missed.
	maxConnections = 8192
	// maxStore is beyond any disk: each bucket has a quota of its own, and JetStream would
	// reserve the sum of them.
	maxStore = 1 << 50
	// TokenFile, in DataDir, keeps a token that was made up, so that ranks find a
	// restarted hub that knows theirs.
	TokenFile = "nats-token"
)

// embedded is a NATS server with JetStream in this process.
type embedded struct {
	*server.Server
	opts        *server.Options // as the server was started; must not be changed
	failed      atomic.Bool     // a write to its storage has failed
	access      *access
	join, local string // URLs with the join token: for any host, for ranks on this one
}

// broken reports whether the storage takes nothing any more.
func (e *embedded) broken() bool { return e.failed.Load() || !e.JetStreamEnabled() }

// ClientURL is where ranks connect, with the join token.
func (e *embedded) ClientURL() string { return e.join }

// free says at once what the server would find out, and not say, in serverReadyTimeout.
func free(host string, port int) error {
	if port <= 0 {
		return nil // it takes one that is
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf(
			"%w: a hub or another NATS server runs there; listen elsewhere, or use that server by its URL", err)
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// startServer runs the embedded server that c describes.
func startServer(c *Config, log *slog.Logger) (*embedded, error) {
	opts, err := serverOptions(c)
	if err != nil {
		return nil, err
	}
	if err := free(opts.Host, opts.Port); err != nil {
		return nil, err
	}
	join, err := joinToken(c)
	if err != nil {
		return nil, err
	}
	e := &embedded{opts: opts}
	if e.access, err = newAccess(c.DataDir, join); err != nil {
		return nil, err
	}
	opts.CustomClientAuthentication = e.access
	if e.Server, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	e.SetLoggerV2(serverLog{log.With("part", "nats"), &e.failed}, false, false, false)
	e.Start()
	stop := func() {
		e.Shutdown()
		e.WaitForShutdown()
	}
	if !e.ReadyForConnections(serverReadyTimeout) {
		stop()
		return nil, fmt.Errorf("nats server is not ready after %v (listen %s, store %s)", serverReadyTimeout, c.Listen,
			opts.StoreDir)
	}
	if !e.JetStreamEnabled() {
		stop()
		return nil, fmt.Errorf("nats server: JetStream did not start in %s", opts.StoreDir)
	}
	if err := e.name(opts, c.Advertise); err != nil {
		stop()
		return nil, err
	}
	return e, nil
}

// serverOptions checks c and makes the server's options of it.
func serverOptions(c *Config) (*server.Options, error) {
	listen := c.Listen
	if listen == "" {
		listen = defaultListen
	}
	host, port, err := splitListen(listen)
	if err != nil {
		return nil, fmt.Errorf("nats listen address %q: %w", listen, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{
		ServerName: "kinetoscope", Host: host, Port: port, JetStream: true,
		StoreDir:   filepath.Join(c.DataDir, "jetstream"),
		MaxPayload: protocol.MaxPayload, NoSigs: true, DisableJetStreamBanner: true,
		PingInterval: link.PingInterval, MaxPingsOut: link.MaxPings, MaxConn: maxConnections,
		JetStreamMaxStore: maxStore,
	}
	if err := os.MkdirAll(opts.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("nats store: %w", err)
	}
	if c.TLSCert != "" || c.TLSKey != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("nats certificate %q with key %q: %w", c.TLSCert, c.TLSKey, err)
		}
		opts.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		opts.TLS = true
	}
	if c.TLSClientCA != "" {
		if opts.TLSConfig == nil {
			return nil, errors.New("nats client certificates: the server needs a certificate of its own for them")
		}
		if opts.TLSConfig.ClientCAs, err = link.Authorities(c.TLSClientCA); err != nil {
			return nil, err
		}
		opts.TLSConfig.ClientAuth = tls.RequireAndVerifyClientCert
		opts.TLSVerify = true
	}
	return opts, nil
}

func splitListen(s string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to 65535", text)
	}
	return host, port, nil
}

// joinToken is what ranks that are started by hand must show. There always is one, on the
// loopback too: every user of this host reaches it.
func joinToken(c *Config) (string, error) {
	if err := link.ValidateToken(c.Token); err != nil {
		return "", err
	}
	if c.Token != "" {
		return c.Token, nil
	}
	path := filepath.Join(c.DataDir, TokenFile)
	data, err := os.ReadFile(path)
	if err == nil {
		token := strings.TrimSpace(string(data))
		if err = link.ValidateToken(token); err == nil && token != "" {
			return token, nil
		}
		return "", fmt.Errorf("nats token in %s is not one: remove the file for a new one", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("nats token: %w", err)
	}
	token := rand.Text()
	if err := writeSecret(path, token); err != nil {
		return "", fmt.Errorf("nats token: %w", err)
	}
	return token, nil
}

// name works out the URLs. A server that listens on every address is named by one
// that other hosts can reach, unless advertise (HOST or HOST:PORT) says how.
func (e *embedded) name(opts *server.Options, advertise string) error {
	bound, ok := e.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("nats server listens on %v, which is no TCP address", e.Addr())
	}
	host, port, local := opts.Host, bound.Port, opts.Host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, local = reachable(), "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			local = "::1"
		}
	}
	if advertise != "" {
		host = advertise
		if h, p, err := splitListen(advertise); err == nil {
			host, port = h, p
		} else if strings.Contains(advertise, ":") && net.ParseIP(advertise) == nil {
			return fmt.Errorf("advertised nats address %q: %w", advertise, err)
		}
	}
	scheme := "nats"
	if opts.TLS {
		scheme, local = "tls", host // the certificate's name
	}
	at := func(host string, port int) string {
		u := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(port)), User: url.User(e.access.join)}
		return u.String()
	}
	e.join, e.local = at(host, port), at(local, bound.Port)
	if opts.TLS {
		e.local = e.join
	}
	return nil
}

// reachable is an address of this host that others may know: the one from which it
// would leave the network, else the first that is up, else the loopback.
func reachable() string {
	// Connecting a UDP socket chooses a route and sends nothing; 192.0.2.0/24 is
	// reserved for documentation (RFC 5737).
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer c.Close()
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok && !a.IP.IsLoopback() {
			return a.IP.String()
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	var six string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case six == "":
			six = n.IP.String()
		}
	}
	if six != "" {
		return six
	}
	return "127.0.0.1"
}

// connect opens the hub's own connection: in process, or to the cluster of c.
func connect(srv *embedded, c *Config, log *slog.Logger) (*nats.Conn, error) {
	to := link.Config{URL: c.NATSURL, Token: c.Token, CA: c.TLSCA, Creds: c.Creds}
	opts := []nats.Option{
		nats.Name("kinetoscope hub"),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats connection lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			log.Info("nats connection is back", "url", c.ConnectedUrlRedacted())
		}),
	}
	if srv != nil {
		to = link.Config{URL: nats.DefaultURL, Token: srv.access.own, As: "hub"}
		opts = append(opts, nats.InProcessServer(srv))
	}
	nc, err := to.Connect(opts...)
	if err != nil {
		return nil, err
	}
	if max := nc.MaxPayload(); max < protocol.MaxPayload {
		log.Warn("this NATS server takes smaller messages than hand-offs may need; set its max_payload",
			"max_payload", max, "want", protocol.MaxPayload)
	}
	return nc, nil
}

// serverLog gives the server's warnings to slog; its notices are for an operator
// of NATS, not of this program, and go to debug.
type serverLog struct {
	log    *slog.Logger
	failed *atomic.Bool // set when a write to the storage has failed
}

func (l serverLog) Noticef(f string, a ...any) { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l serverLog) Debugf(f string, a ...any)  { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l serverLog) Tracef(f string, a ...any)  { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l serverLog) Warnf(f string, a ...any) {
	s := fmt.Sprintf(f, a...)
	if strings.Contains(s, "Filestore") && strings.Contains(s, "took") { // a slow disk, not a fault
		l.log.Debug(s)
		return
	}
	l.log.Warn(s)
}
func (l serverLog) Errorf(f string, a ...any) {
	s := fmt.Sprintf(f, a...)
	// The server has no other word for it: a stream whose write failed refuses all others.
	if strings.Contains(strings.ToLower(s), "critical write error") && l.failed.Swap(true) {
		l.log.Debug(s) // said once
		return
	}
	if l.failed.Load() && strings.Contains(s, "failed to store a msg") {
		l.log.Debug(s)
		return
	}
	l.log.Error(s)
}
func (l serverLog) Fatalf(f string, a ...any) { l.log.Error(fmt.Sprintf(f, a...)) }
