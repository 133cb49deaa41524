// Command loadratio measures what loading a packed trace costs against unpacking it
// alone: the time of this whole process reading the trace over that of
// `gzip -dc FILE >/dev/null`, alternating, the best of several runs of each. It also
// prints memory per event and, with -index, the time to open the trace from its index.
//
//	gentrace -mb 1000 /tmp/big.json.gz && loadratio /tmp/big.json.gz
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadratio:", err)
		os.Exit(1)
	}
}

// loaded is what the child process prints.
type loaded struct {
	Slices, Flows, Instants int
	Heap, Args              int64 // bytes live after loading
	MaxRSS                  int64 // bytes, of the whole process
}

func run() error {
	runs := flag.Int("runs", 3, "runs of each; the best counts")
	drop := flag.Bool("drop-args", false, "load without arguments")
	useIndex := flag.Bool("index", false, "measure opening from an index too")
	child := flag.String("child", "", "load only, or load from the index: used by the program itself")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("expected one packed trace, found %d arguments", flag.NArg())
	}
	file := flag.Arg(0)
	if *child != "" {
		l, err := load(file, *child == "index", *drop)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(l)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var gz, own, idx, gzCPU, ownCPU time.Duration
	var last loaded
	for range *runs {
		unzip := exec.Command("gzip", "-dc", file)
		gz = best(gz, timed(unzip))
		gzCPU = best(gzCPU, cpu(unzip))
		cmd := exec.Command(self, fmt.Sprintf("-drop-args=%v", *drop), "-child", "load", file)
		start := time.Now()
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		own = best(own, time.Since(start))
		ownCPU = best(ownCPU, cpu(cmd))
		if err := json.Unmarshal(out, &last); err != nil {
			return err
		}
	}
	events := float64(last.Slices + last.Flows + last.Instants)
	fmt.Printf("gzip -dc  %8.3f s\nload      %8.3f s   ratio %.2f   %.0f ns/event on %d cores\n",
		gz.Seconds(), own.Seconds(), own.Seconds()/gz.Seconds(), float64(own.Nanoseconds())/events, runtime.NumCPU())
	fmt.Printf("CPU time  %8.3f s and %.3f s, ratio %.2f; over all cores at best %.2f\n",
		gzCPU.Seconds(), ownCPU.Seconds(), ownCPU.Seconds()/gzCPU.Seconds(), ownCPU.Seconds()/gzCPU.Seconds()/float64(runtime.NumCPU()))
	fmt.Printf("%d slices, %d flows, %d instants: %.1f bytes/event live, of these %.1f args; peak RSS %.1f bytes/event\n",
		last.Slices, last.Flows, last.Instants, float64(last.Heap)/events, float64(last.Args)/events, float64(last.MaxRSS)/events)
	if !*useIndex {
		return nil
	}
	if _, err := load(file, true, false); err != nil { // makes it
		return err
	}
	for range *runs {
		idx = best(idx, timed(exec.Command(self, "-child", "index", file)))
	}
	fmt.Printf("index     %8.3f s   ratio %.2f\n", idx.Seconds(), idx.Seconds()/gz.Seconds())
	return nil
}

func best(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// cpu returns the time that a finished process took of all cores.
func cpu(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func timed(cmd *exec.Cmd) time.Duration {
	start := time.Now()
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadratio:", cmd, err)
		os.Exit(1)
	}
	return time.Since(start)
}

func load(file string, useIndex, drop bool) (l loaded, err error) {
	o := open.Options{DropArgs: drop}
	if useIndex {
		o.Index = index.Cache{Beside: true}
	}
	list, err := open.Files(context.Background(), []string{file}, o)
	if err != nil {
		return l, err
	}
	t := list[0]
	l.Slices, l.Flows, l.Instants = t.Slices.Len(), len(t.Flows.Time), len(t.Instants.Time)
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err == nil {
		l.MaxRSS = use.Maxrss * 1024 // kilobytes on Linux
	}
	if !useIndex {
		l.Heap, l.Args = live(t)
	}
	return l, nil
}

// live returns the live memory of the process, and of the arguments.
func live(t *trace.Trace) (heap, args int64) {
	var m runtime.MemStats
	runtime.GC() // twice: what lies in pools outlives one
	runtime.GC()
	runtime.ReadMemStats(&m)
	args = t.ArgsBytes()
	runtime.KeepAlive(t)
	return int64(m.HeapAlloc), args
}
