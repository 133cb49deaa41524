// Package httpd starts HTTP servers for verbs: it binds the address before anything else is done,
// checks keys, and writes the URL to a file once the server serves.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/web"
)

// CheckKeys refuses keys that a header cannot carry, and the empty key, which usually comes from an
// environment variable that was meant to hold one. It removes the variable from the environment,
// because ranks and the models they load have no use for it.
func CheckKeys(keys []string) error {
	for _, key := range keys {
		if err := web.CheckKey(key); err != nil {
			return cli.Usage("--api-key (%s): %w; leave both out to serve without a key", flags.APIKeyEnv, err)
		}
	}
	return os.Unsetenv(flags.APIKeyEnv)
}

// WriteURL writes a file that never exists without its content, because others wait for it. The URL
// may hold a token, so only the user may read the file.
func WriteURL(path, url string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(url+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the URL: %w", err)
	}
	return os.Rename(tmp, path)
}

// Server is an HTTP server that is bound but does not serve yet.
type Server struct {
	URL string // where clients find it
	web *web.Server
	ln  net.Listener
}

// QuickShutdown is the grace of a server whose only client is done.
const QuickShutdown = time.Second

// Bind takes the address on which HTTP is served.
func Bind(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if a := (*net.AddrError)(nil); errors.As(err, &a) {
		return nil, cli.Usage("--addr: %w: write HOST:PORT", a)
	}
	if err != nil {
		return nil, fmt.Errorf("serve HTTP at %s: %w; --addr names another address", addr, err)
	}
	return ln, nil
}

// New makes a server with the configuration cfg on ln, which it closes when serving ends.
func New(ln net.Listener, cfg web.Config) *Server {
	cfg.Addr = ln.Addr().String()
	return &Server{web: web.NewServer(cfg), ln: ln, URL: "http://" + cfg.Addr}
}

// ForEngine makes a server of a pipeline: its API and sessions, with the rest of cfg.
func ForEngine(e *cli.Env, eng *omni.Engine, ln net.Listener, cfg web.Config) *Server {
	cfg.API, cfg.Sessions, cfg.Logger = eng, web.HubSessions(eng.Hub()), e.Log
	return New(ln, cfg)
}

// Serve serves until ctx ends.
func (s *Server) Serve(ctx context.Context) error { return s.web.Serve(ctx, s.ln) }

// Encrypt has s speak TLS, if cfg is not nil.
func (s *Server) Encrypt(cfg *tls.Config) *Server {
	if cfg != nil {
		s.ln, s.URL = tls.NewListener(s.ln, cfg), "https://"+s.ln.Addr().String()
	}
	return s
}
