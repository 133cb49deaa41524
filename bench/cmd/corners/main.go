// Command corners measures what traces of unusual shapes cost the program's verbs, as multiples of
// an ordinary trace with the same number of events, and prints the table of docs/performance.md.
// Among the shapes are one id or one time for all events, a track or a name for each, and a stack
// as deep as the trace is long.
//
//	corners -events 300000
//	corners -only "a track each,a process each" -verbs report,idle
//	corners -pairs -events 30000 -runs 1 -limit 6 -verbs report    # what grows with steps times devices, say
//
// Every figure is user processor time of whole processes, the least of some runs, less what the
// program takes for an empty question.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

type flags struct {
	runs, events int
	binary       string
	only, verbs  string
	limit        float64
	keep         string
	timeline     string
	pairs        bool
}

func main() {
	var f flags
	flag.IntVar(&f.runs, "runs", 3, "runs of each; the best counts")
	flag.IntVar(&f.events, "events", 300_000, "events of each trace")
	flag.StringVar(&f.binary, "binary", "bin/kinetoscope", "the program")
	flag.StringVar(&f.only, "only", "", "only these shapes, by name, separated by commas")
	flag.StringVar(&f.verbs, "verbs", "", "only these verbs")
	flag.Float64Var(&f.limit, "limit", 3, "the multiple from which a figure is printed bold, and the program fails")
	flag.StringVar(&f.keep, "keep", "", "write the traces into this directory and keep them")
	flag.BoolVar(&f.pairs, "pairs", false, "every two shapes in one trace, in place of each alone")
	flag.StringVar(&f.timeline, "timeline", "", "lay this trace out as the timeline does, and do nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := measure
	if f.timeline != "" {
		run = layOut
	}
	if err := run(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "corners:", err)
		os.Exit(1)
	}
}

// verb is a question; args are the program's arguments, with IN for the trace, ORDINARY for the
// ordinary one and OUT for a path that does not exist yet.
type verb struct {
	name string
	args []string
}

var verbs = []verb{
	{"inspect", []string{"inspect", "IN"}},
	{"ops", []string{"ops", "IN"}},
	{"kernels", []string{"kernels", "IN"}},
	{"idle", []string{"idle", "IN"}},
	{"steps", []string{"steps", "IN"}},
	{"comms", []string{"comms", "IN"}},
	{"memory", []string{"memory", "IN"}},
	{"critical-path", []string{"critical-path", "IN"}},
	{"report", []string{"report", "IN"}},
	{"diff", []string{"diff", "ORDINARY", "IN"}},
	{"convert to JSON", []string{"convert", "IN", "-o", "OUT.json"}},
	{"merge into Perfetto", []string{"merge", "ORDINARY", "IN", "-o", "OUT.pftrace"}},
	{"tables for SQL", []string{"convert", "IN", "-o", "OUT.tables/"}},
	{"timeline", nil},
}

// bench is one run of the program.
type bench struct {
	flags
	ctx  context.Context
	dir  string
	self string
}

func measure(ctx context.Context, f flags) (err error) {
	if f.binary, err = filepath.Abs(f.binary); err != nil {
		return err
	}
	if _, err := os.Stat(f.binary); err != nil {
		return fmt.Errorf("%w; build it by make build", err)
	}
	b := &bench{flags: f, ctx: ctx}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "corners"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	return b.all()
}

// all measures the ordinary trace and then every other shape.
func (b *bench) all() error {
	in := b.dir
	if b.keep != "" {
		in = b.keep
	}
	path := func(name string) string { return filepath.Join(in, strings.ReplaceAll(name, " ", "_")+".json") }
	wanted := func(list, name string) bool { return list == "" || slices.Contains(strings.Split(list, ","), name) }
	var ask []verb
	for _, v := range verbs {
		if wanted(b.verbs, v.name) {
			ask = append(ask, v)
		}
	}
	empty, ordinary := path("empty"), path("ordinary")
	if err := shapes[0].write(empty, 300); err != nil {
		return err
	}
	if err := shapes[0].write(ordinary, b.events); err != nil {
		return err
	}
	idle, base := make([]time.Duration, len(ask)), make([]time.Duration, len(ask))
	fmt.Printf("%s, %d cores, %s, %d events. Best of %d runs.\n\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		b.events, b.runs)
	head, rule, row := "| |", "|---|", "| ordinary, CPU time |"
	for k, v := range ask {
		var err error
		if idle[k], err = b.least(v, empty, empty, b.runs); err != nil {
			return err
		}
		if base[k], err = b.least(v, ordinary, ordinary, b.runs+2); err != nil {
			return err
		}
		head, rule = head+" "+v.name+" |", rule+"---|"
		row += fmt.Sprintf(" %.2f s |", (base[k] - idle[k]).Seconds())
	}
	fmt.Println(head + "\n" + rule + "\n" + row)
	over := 0
	for _, sh := range b.shapes() {
		if !wanted(b.only, sh.name) {
			continue
		}
		file := path(sh.name)
		if err := sh.write(file, b.events); err != nil {
			return err
		}
		row := "| " + sh.name + " |"
		for k, v := range ask {
			cell, far := b.cell(v, ordinary, file, idle[k], base[k])
			over += far
			row += " " + cell + " |"
		}
		fmt.Println(row)
		if b.keep == "" {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	if over > 0 {
		return fmt.Errorf("%d figures are %g or more", over, b.limit)
	}
	return nil
}

// shapes returns the shapes that are measured.
func (b *bench) shapes() []shape {
	if b.pairs {
		return pairs(shapes[1:])
	}
	return shapes[1:]
}

// cell measures one verb on one trace; far is 1 if it costs more than it may.
func (b *bench) cell(v verb, ordinary, file string, idle, base time.Duration) (text string, far int) {
	ratio := func(runs int) (float64, error) {
		took, err := b.least(v, ordinary, file, runs)
		return (took - idle).Seconds() / (base - idle).Seconds(), err
	}
	r, err := ratio(1)
	if err == nil && r >= 0.8*b.limit {
		var again float64
		again, err = ratio(max(1, b.runs-1))
		r = min(r, again)
	}
	switch {
	case errors.Is(err, errRefused):
		return "–", 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "corners:", err)
		return "**failed**", 1
	case r >= b.limit:
		return fmt.Sprintf("**%.1f**", r), 1
	}
	return fmt.Sprintf("%.1f", max(r, 0)), 0
}

// refused is the exit code with which a verb says that it has nothing to answer for a trace.
const refused = 2

// errRefused reports a verb that refuses to answer for a trace.
var errRefused = errors.New("refused")

// patience is how long a verb may take.
const patience = 5 * time.Minute

// least returns the least processor time that a verb took in a number of runs.
func (b *bench) least(v verb, ordinary, file string, runs int) (time.Duration, error) {
	best := time.Duration(0)
	for i := range runs {
		out := filepath.Join(b.dir, "out")
		command := []string{b.self, "-timeline", file}
		if v.args != nil {
			command = []string{b.binary}
			names := strings.NewReplacer("IN", file, "ORDINARY", ordinary, "OUT", out)
			for _, a := range v.args {
				command = append(command, names.Replace(a))
			}
		}
		took, err := once(b.ctx, command)
		for _, ext := range []string{".json", ".pftrace", ".tables"} {
			err = errors.Join(err, os.RemoveAll(out+ext))
		}
		if err != nil {
			return 0, err
		}
		if i == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// once runs a command to its end and returns the user's processor time that it took.
func once(ctx context.Context, command []string) (time.Duration, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		nothing := strings.Contains(said.String(), "nothing to")
		if st := cmd.ProcessState; st != nil && st.ExitCode() == refused && nothing {
			return 0, errRefused
		}
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(said.String()))
	}
	return cmd.ProcessState.UserTime(), nil
}
