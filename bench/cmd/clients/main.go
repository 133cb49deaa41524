// Command clients puts the load of many clients on a server, in turns without a session, with an
// armed one and with a recording one. It prints as Markdown what sessions cost the clients and
// whether the server's memory grows; docs/overhead.md has its tables:
//
//	go run ./bench/cmd/clients
//
// starts the built-in pipeline and takes ten minutes. Most clients poll the pages that browsers
// poll, the others stream completions. The kinds of turn alternate, so that other work on the
// machine affects all of them alike. Nothing else should run on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
)

// options are the command line's flags.
type options struct {
	server  string
	clients int
	streams int
	rounds  int
	turn    time.Duration
	think   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "", "the server; without it one is built and started")
	flag.IntVar(&o.clients, "clients", 200, "clients in all")
	flag.IntVar(&o.streams, "streams", 4, "how many of them stream completions")
	flag.IntVar(&o.rounds, "rounds", 24, "rounds of a turn in each state")
	flag.DurationVar(&o.turn, "turn", 7*time.Second, "length of a turn")
	flag.DurationVar(&o.think, "think", time.Second, "what a polling client waits between requests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := measure(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o *options) (err error) {
	if o.server == "" {
		url, end, err := serve(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
		o.server = url
	}
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.clients, MaxConnsPerHost: o.clients + 2}}
	defer c.CloseIdleConnections()
	m := &measurement{o: o, client: c}
	if err := m.run(ctx); err != nil {
		return err
	}
	return m.print(os.Stdout)
}

// readyTimeout bounds how long the server may take to start.
const readyTimeout = 2 * time.Minute

// serve builds the program and starts it on temporary directories, which end removes.
func serve(ctx context.Context) (url string, end func() error, err error) {
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return "", nil, err
	}
	clean := func() error { return os.RemoveAll(dir) }
	bin, ready := filepath.Join(dir, "kinetoscope"), filepath.Join(dir, "ready")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/kinetoscope")
	if out, err := build.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("build: %w: %s", err, out), clean())
	}
	cmd := exec.Command(bin, "serve", "--addr", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"),
		"--runs-dir", filepath.Join(dir, "runs"), "--ready-file", ready)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, errors.Join(err, clean())
	}
	end = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
		return errors.Join(cmd.Wait(), clean())
	}
	limit, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err = wait.Until(limit, 100*time.Millisecond, func() bool {
		text, err := os.ReadFile(ready)
		url = strings.TrimSpace(string(text))
		return err == nil && url != ""
	})
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("the server does not serve: %w", err), end())
	}
	return url, end, nil
}
