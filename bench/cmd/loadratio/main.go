// Command loadratio measures what it takes to answer a question of a trace against
// what unpacking its text alone takes: the time of this whole process loading the trace
// and making the operator table and the temporal breakdown, over that of `gzip -dc
// FILE >/dev/null`, alternating, the best of several runs of each. It also prints the
// time of every phase, memory per event and, with -index, the time to open the trace
// from its index.
//
//	gentrace -mb 1000 /tmp/big.json.gz && loadratio /tmp/big.json.gz
//	loadratio -mb 200
//
// A trace that is not packed is compared with the unpacking of FILE.gz beside it.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kinetoscope/kinetoscope/bench/tracegen"
	"github.com/kinetoscope/kinetoscope/internal/usage"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadratio:", err)
		os.Exit(1)
	}
}

// flags are the command line's flags.
type flags struct {
	runs              int
	drop, index, load bool
	unlike            bool
	mb                int64
	child, profile    string
}

func run() error {
	var f flags
	flag.IntVar(&f.runs, "runs", 3, "runs of each; the best counts")
	flag.BoolVar(&f.drop, "drop-args", false, "load without arguments")
	flag.BoolVar(&f.index, "index", false, "measure opening from an index too")
	flag.BoolVar(&f.load, "load-only", false, "load the trace and ask nothing of it")
	flag.Int64Var(&f.mb, "mb", 0, "make a trace of so many 10^6 bytes, measure it packed and plain, and remove it")
	flag.BoolVar(&f.unlike, "unlike", false, "with -mb: put a random text in every slice's arguments")
	flag.StringVar(&f.profile, "profile", "", "write a CPU profile of one more run to this file")
	flag.StringVar(&f.child, "child", "", "run once in this way, ask, load or index: used by the program itself")
	flag.Parse()
	if f.mb > 0 && flag.NArg() == 0 {
		return generated(f)
	}
	if flag.NArg() == 0 || f.child != "" && flag.NArg() != 1 {
		return fmt.Errorf("expected a trace, found %d arguments", flag.NArg())
	}
	if f.child != "" {
		return runChild(f, flag.Arg(0))
	}
	for _, file := range flag.Args() {
		if err := compare(f, file); err != nil {
			return err
		}
	}
	return nil
}

// generated measures a trace made for it, packed and plain.
func generated(f flags) (err error) {
	dir, err := os.MkdirTemp("", "loadratio")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plain := filepath.Join(dir, "trace.json")
	if err := write(plain, f); err != nil {
		return err
	}
	for _, file := range []string{plain + ".gz", plain} {
		if err := compare(f, file); err != nil {
			return err
		}
	}
	return nil
}

// write writes the trace that f asks for to path and, packed, to path.gz.
func write(path string, f flags) error {
	o := tracegen.Options{Bytes: f.mb * 1e6, Python: true, Memory: true, Unlike: f.unlike, Seed: 1}
	for _, to := range []string{path, path + ".gz"} {
		if _, err := tracegen.WriteFile(to, o); err != nil {
			return err
		}
	}
	return nil
}

// best returns the better of two runs; before is zero if there was none yet.
func best(before, c usage.Cost) usage.Cost {
	if before.Wall == 0 {
		return c
	}
	return before.Lower(c)
}

// timed runs a program to its end.
func timed(name string, arg ...string) ([]byte, usage.Cost, error) {
	cmd := exec.Command(name, arg...)
	var out bytes.Buffer
	if name != "gzip" { // gzip's output goes to /dev/null
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
	}
	c, err := usage.Run(cmd)
	if err != nil {
		return nil, c, fmt.Errorf("%v: %w", cmd, err)
	}
	return out.Bytes(), c, nil
}

func compare(f flags, file string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	packed := file
	if !strings.HasSuffix(file, ".gz") {
		packed += ".gz"
	}
	child := "ask"
	if f.load {
		child = "load"
	}
	drop := fmt.Sprintf("-drop-args=%v", f.drop)
	var gz, own usage.Cost
	var last answer
	for range f.runs {
		_, c, err := timed("gzip", "-dc", packed)
		if err != nil {
			return err
		}
		gz = best(gz, c)
		out, c, err := timed(self, drop, "-child", child, file)
		if err != nil {
			return err
		}
		var a answer
		if err := json.Unmarshal(out, &a); err != nil {
			return err
		}
		if own.Wall == 0 || c.Wall <= own.Wall {
			last = a
		}
		own = best(own, c)
	}
	print(file, gz, own, last)
	if f.profile != "" {
		if _, _, err := timed(self, drop, "-child", child, "-profile", f.profile, file); err != nil {
			return err
		}
	}
	out, _, err := timed(self, drop, "-child", "live", file)
	if err != nil {
		return err
	}
	var l answer
	if err := json.Unmarshal(out, &l); err != nil {
		return err
	}
	n := float64(l.events())
	fmt.Printf("  memory    %.1f bytes/event live after loading, of these %.1f arguments; peak RSS %.1f bytes/event\n",
		float64(l.Heap)/n, float64(l.Args)/n, float64(last.MaxRSS)/n)
	if f.index {
		return compareIndex(f, self, file, gz)
	}
	return nil
}

func print(file string, gz, own usage.Cost, a answer) {
	fmt.Printf("%s: %d events, %.0f MB, %d cores\n", filepath.Base(file), a.events(), float64(a.Size)/1e6,
		runtime.NumCPU())
	fmt.Printf("  gzip -dc  %7.3f s, CPU %.3f s\n", gz.Wall.Seconds(), gz.CPU.Seconds())
	fmt.Printf("  process   %7.3f s, CPU %.3f s: ratio %.2f, of CPU time %.2f; %.0f ns/event\n", own.Wall.Seconds(),
		own.CPU.Seconds(),
		own.Wall.Seconds()/gz.Wall.Seconds(), own.CPU.Seconds()/gz.CPU.Seconds(),
		float64(own.Wall.Nanoseconds())/float64(a.events()))
	for _, p := range a.Phases {
		fmt.Printf("  %-9s %7.3f s, CPU %.3f s\n", p.Name, p.Wall.Seconds(), p.CPU.Seconds())
	}
}

// compareIndex makes the index of file and times opening it.
func compareIndex(f flags, self, file string, gz usage.Cost) error {
	var own usage.Cost
	for i := range f.runs + 1 {
		_, c, err := timed(self, "-child", "index", file)
		if err != nil {
			return err
		}
		if i > 0 { // the first run makes the index
			own = best(own, c)
		}
	}
	fmt.Printf("  index     %7.3f s, CPU %.3f s: ratio %.2f\n", own.Wall.Seconds(), own.CPU.Seconds(),
		own.Wall.Seconds()/gz.Wall.Seconds())
	return nil
}
