package main

import (
	"context"
	"fmt"
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
	return servertest.Serve(ctx, args[0], args[1], args[2], q)
}
