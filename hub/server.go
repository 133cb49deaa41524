package hub

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// serverReadyTimeout bounds the recovery of the streams on disk at start-up.
	serverReadyTimeout = 30 * time.Second
	// defaultListen keeps the embedded server off the network unless asked.
	defaultListen = "127.0.0.1:0"
	// reconnectWait is how often a lost connection to NATS is tried again.
	reconnectWait = 250 * time.Millisecond
)

// startServer runs a NATS server with JetStream in this process.
func startServer(dir, listen string, log *slog.Logger) (*server.Server, error) {
	if listen == "" {
		listen = defaultListen
	}
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("nats listen address %q: %w", listen, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("nats listen address %q: port %q is not a number from 0 to 65535", listen, portText)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	store := filepath.Join(dir, "jetstream")
	if err := os.MkdirAll(store, 0o755); err != nil {
		return nil, fmt.Errorf("nats store: %w", err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "kinetoscope", Host: host, Port: port, JetStream: true, StoreDir: store,
		MaxPayload: protocol.MaxPayload, NoSigs: true, DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	srv.SetLoggerV2(serverLog{log.With("part", "nats")}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(serverReadyTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("nats server is not ready after %v (listen %s, store %s): is the port taken?", serverReadyTimeout, listen, store)
	}
	if !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("nats server: JetStream did not start in %s", store)
	}
	return srv, nil
}

// connect opens the hub's own connection: in process, or over url.
func connect(srv *server.Server, url string, log *slog.Logger) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("kinetoscope hub"), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats connection lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("nats connection is back", "url", c.ConnectedUrlRedacted()) }),
	}
	if srv != nil {
		opts = append(opts, nats.InProcessServer(srv))
		url = ""
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats %s: %w", url, err)
	}
	if max := nc.MaxPayload(); max < protocol.MaxPayload {
		log.Warn("this NATS server takes smaller messages than hand-offs may need; set its max_payload",
			"max_payload", max, "want", protocol.MaxPayload)
	}
	return nc, nil
}

// serverLog gives the server's warnings to slog; its notices are for an operator
// of NATS, not of this program, and go to debug.
type serverLog struct{ log *slog.Logger }

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
func (l serverLog) Errorf(f string, a ...any) { l.log.Error(fmt.Sprintf(f, a...)) }
func (l serverLog) Fatalf(f string, a ...any) { l.log.Error(fmt.Sprintf(f, a...)) }
