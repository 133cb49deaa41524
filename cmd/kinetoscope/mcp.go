package main

import (
	"bytes"
	"context"
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
)

type mcpCmd struct {
	Root         string `default:"." help:"Traces under this directory may be asked about." type:"existingdir"`
	AllowCapture bool   `help:"Let agents start and stop captures."`
	HTTP         string `name:"http" help:"Serve over HTTP at this loopback address instead of standard input and output." placeholder:"HOST:PORT"`
}

func (c *mcpCmd) Run(e *cli.Env) error {
	server, err := mcpserver.New(mcpserver.Options{Run: runVerb, Root: c.Root, Version: version(),
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
		return cli.Usage("--http %s: agents are served on loopback only, for the protocol has no key here", c.HTTP)
	}
	l, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return fmt.Errorf("serve agents: %w", err)
	}
	protection := http.NewCrossOriginProtection()
	h := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{SessionTimeout: time.Hour})
	srv := &http.Server{Handler: protection.Handler(h), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(e.Err, "agents are served at http://%s\n", l.Addr())
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
	return mcpserver.Result{Stdout: out.String(), Stderr: errs.String(), Code: code}
}
