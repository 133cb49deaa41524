package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/mcpserver"
	"github.com/kinetoscope/kinetoscope/web"
)

type mcpCmd struct {
	Root         string `default:"." help:"Traces under this directory may be asked about." type:"existingdir"`
	AllowCapture bool   `help:"Let agents start and stop captures."`
	HTTP         string `name:"http" help:"Serve over HTTP at this loopback address instead of standard input and output; clients show the token of KINETOSCOPE_MCP_TOKEN or, on a terminal, one that is said." placeholder:"HOST:PORT"`
}

// mcpTokenEnv names the variable with the token that clients of --http show.
const mcpTokenEnv = "KINETOSCOPE_MCP_TOKEN" //nolint:gosec // a name

// mcpToken is the token that clients show, a new one without the variable. Every user of this host
// reaches the loopback.
func mcpToken() (token string, given bool, err error) {
	token = os.Getenv(mcpTokenEnv)
	if token == "" {
		return rand.Text(), false, nil
	}
	if err := web.CheckKey(token); err != nil {
		return "", true, cli.Usage("%s: %w", mcpTokenEnv, err)
	}
	return token, true, os.Unsetenv(mcpTokenEnv) // what verbs start has no use for it
}

// withToken lets only requests with the token reach h.
func withToken(token string, h http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(shown)))
		if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || !strings.EqualFold(scheme, "Bearer") {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "send the header Authorization: Bearer TOKEN, with the token of "+mcpTokenEnv+
				" or of the line in which kinetoscope mcp says where it serves", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (c *mcpCmd) Run(e *cli.Env) error {
	server, err := mcpserver.New(mcpserver.Options{Run: runVerb, Root: c.Root, Version: cli.Version(),
		Server: os.Getenv("KINETOSCOPE_URL"), AllowCapture: c.AllowCapture})
	if err != nil {
		return cli.UsageError{Err: err}
	}
	if c.HTTP != "" {
		return c.serve(e, server)
	}
	// The protocol uses standard input and output; messages for people go to stderr.
	err = server.Run(e.Ctx, &mcp.StdioTransport{})
	if err != nil && !errors.Is(err, context.Canceled) && e.Ctx.Err() == nil {
		return fmt.Errorf("serve agents: %w", err)
	}
	return nil
}

// mcpShutdown is how long a question that is being answered may take when the server is to end.
const mcpShutdown = 5 * time.Second

func (c *mcpCmd) serve(e *cli.Env, server *mcp.Server) error {
	host, _, err := net.SplitHostPort(c.HTTP)
	if err != nil {
		return cli.Usage("--http %q: write HOST:PORT", c.HTTP)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return cli.Usage("--http %s: agents are served on loopback only, for the token would cross the network in the clear", c.HTTP)
	}
	token, given, err := mcpToken()
	if err != nil {
		return err
	}
	if !given && !e.Watched() {
		return cli.Usage("--http: a token that is made up is said on a terminal alone, for others read logs: give one in %s",
			mcpTokenEnv)
	}
	l, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return fmt.Errorf("serve agents: %w", err)
	}
	protection := http.NewCrossOriginProtection()
	h := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{SessionTimeout: time.Hour})
	srv := &http.Server{Handler: withToken(token, protection.Handler(h)), ReadHeaderTimeout: 10 * time.Second}
	if given { // it is not repeated where others may read
		token = "the token of " + mcpTokenEnv
	}
	fmt.Fprintf(e.Err, "agents are served at http://%s\nthey send the header Authorization: Bearer %s\n", l.Addr(), token)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve agents: %w", err)
	case <-e.Ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.Ctx), mcpShutdown)
	defer cancel()
	err = srv.Shutdown(ctx)
	if err != nil {
		err = srv.Close()
	}
	<-failed
	return err
}

// runVerb runs a verb in this process as the shell would.
func runVerb(ctx context.Context, args []string) mcpserver.Result {
	var out, errs bytes.Buffer
	code := run(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return mcpserver.Result{Stdout: out.String(), Stderr: errs.String(), Code: code, Partial: code == cli.ExitPartial}
}
