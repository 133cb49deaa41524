// Command performance measures what the program's verbs take, beside `gzip -dc` of the
// same text in the same minutes, and prints the table of docs/performance.md.
//
//	performance -mb 400
//	performance -trace big.json.gz
//
// Every figure is of whole processes, the best of several runs that alternate with gzip's:
// CPU time, peak memory and, where nobody else used the machine meanwhile, time on the
// wall. Peers stand beside where they are installed: Holistic Trace Analysis if HTA names
// a Python that has it, trace_processor_shell if TRACE_PROCESSOR names it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
)

// flags are the command line's flags.
type flags struct {
	runs       int
	mb         int64
	trace      string
	binary     string
	recordings string
	idle       int
	mergeMB    int64
}

func main() {
	var f flags
	flag.IntVar(&f.runs, "runs", 5, "runs of each; the best counts")
	flag.Int64Var(&f.mb, "mb", 200, "size of the generated traces in 10^6 bytes of text")
	flag.StringVar(&f.trace, "trace", "", "measure this packed trace in place of a generated one")
	flag.StringVar(&f.binary, "binary", "bin/kinetoscope", "the program")
	flag.StringVar(&f.recordings, "recordings", "", "convert the recordings of this run; one is captured without it")
	flag.IntVar(&f.idle, "idle", 20, "seconds for which an idle server is watched; 0: not at all")
	flag.Int64Var(&f.mergeMB, "mergemb", 250, "size of each of the merged ranks in 10^6 bytes of text; 0: no merge")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "performance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) (err error) {
	if f.binary, err = filepath.Abs(f.binary); err != nil {
		return err
	}
	if _, err := os.Stat(f.binary); err != nil {
		return fmt.Errorf("%w; build it by make build", err)
	}
	dir, err := os.MkdirTemp("", "performance")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{ctx: ctx, flags: f, dir: dir}
	fmt.Printf("%s, %d cores, %s. Best of %d runs.\n\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version(), f.runs)
	fmt.Println("| work | CPU time | of gzip's | wall, of gzip's | peak RSS | |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, step := range []func() error{b.traces, b.unlike, b.small, b.merged, b.recorded, b.idleServer} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
