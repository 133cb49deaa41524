// Command standin is an inference server in a process of its own whose profile routes behave as those
// of a real one, with two ranks: standin vllm|sglang DIR FILE. Its traces go to DIR, its address to
// FILE. It is for tests of other modules, and to try the verbs and pages without a card.
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

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: standin vllm|sglang DIR FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	q := servertest.Quirks{Ranks: 2, Slow: 100 * time.Millisecond}
	err := servertest.Serve(ctx, os.Args[1], os.Args[2], os.Args[3], q)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}
