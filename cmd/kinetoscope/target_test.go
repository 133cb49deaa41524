package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
)

// engineMain is an inference server in a process of its own whose profile routes behave as
// those of a real one: engine KIND DIR FILE [MISSING]. It writes its address to FILE and has
// two ranks, of which MISSING leaves no trace.
func engineMain() {
	if err := runEngine(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func runEngine(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	q := servertest.Quirks{Ranks: 2, Slow: 100 * time.Millisecond}
	if len(args) > 3 {
		q.Silent = []int{1}
	}
	make := servertest.VLLM
	if args[0] == "sglang" {
		make = servertest.SGLang
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: make(args[1], q), ReadHeaderTimeout: time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := os.WriteFile(args[2]+".part", []byte(ln.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(args[2]+".part", args[2]); err != nil {
		return err
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
