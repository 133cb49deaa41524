// Command chaos runs the fault × point table on the real product and prints
// docs/reliability.md from it. It builds the program, works in a directory of its own, and
// ends with 1 if a promise did not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/chaos"
)

func main() {
	if code, inside := chaos.Inside(); inside {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	seed := flag.Uint64("seed", 1, "chooses the victims")
	long := flag.Duration("for", 0, "repeat with other seeds for so long; 0: once")
	page := flag.String("o", "", "write the page of the last run to this file; standard output without it")
	binary := flag.String("binary", "", "the program to break, an older version say; without it the one here is built")
	only := flag.String("only", "", "faults to strike: those whose names hold this text")
	torch := flag.String("torch", "examples/torch/omni", "the omni example on torch, for faults of torch ranks")
	flag.Parse()
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return fail(err)
	}
	if *binary == "" {
		*binary = filepath.Join(dir, "kinetoscope")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", *binary,
			"./cmd/kinetoscope").CombinedOutput(); err != nil {
			return fail(fmt.Errorf("build: %w: %s", err, out))
		}
	}
	end := time.Now().Add(*long)
	for {
		rep, err := chaos.Run(ctx, chaos.Config{Binary: *binary, Dir: dir, Seed: *seed, Torch: *torch,
			Only: func(fault string, _ chaos.Point) bool { return strings.Contains(fault, *only) },
			Log:  func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }})
		if err != nil {
			return fail(fmt.Errorf("seed %d: %w; logs are in %s", *seed, err, dir))
		}
		if err := write(*page, rep); err != nil {
			return fail(err)
		}
		if n := rep.Broken(); n > 0 {
			return fail(fmt.Errorf("seed %d: in %d cells a promise did not hold; logs are in %s", *seed, n, dir))
		}
		if *seed++; time.Now().After(end) {
			break
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fail(err)
	}
	return 0
}

func write(path string, rep *chaos.Report) error {
	if path == "" {
		return rep.Page(os.Stdout)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := rep.Page(f); err != nil {
		return err
	}
	return f.Close()
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "chaos:", err)
	return 1
}
