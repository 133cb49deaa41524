package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/usage"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// answer is what the child process prints.
type answer struct {
	Slices, Flows, Instants int
	Ops                     int   // rows of the operator table
	BusyNs                  int64 // of the temporal breakdown
	Size                    int64 // bytes of the file
	Heap, Args              int64 // bytes live after loading
	MaxRSS                  int64 // bytes, of the whole process
	Phases                  []phase
}

func (a *answer) events() int { return a.Slices + a.Flows + a.Instants }

// phase is a part of the child's time.
type phase struct {
	Name      string
	Wall, CPU time.Duration
}

func runChild(f flags, file string) error {
	if f.profile != "" {
		out, err := os.Create(f.profile)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	a, err := ask(f, file)
	if err != nil {
		return fmt.Errorf("%s: %w", f.child, err)
	}
	return json.NewEncoder(os.Stdout).Encode(a)
}

// ask loads the trace and asks what -child says.
func ask(f flags, file string) (a answer, err error) {
	o := open.Options{DropArgs: f.drop}
	if f.child == "index" {
		o.Index = index.Cache{Beside: true}
	}
	clock := newClock()
	list, err := open.Files(context.Background(), []string{file}, o)
	if err != nil {
		return a, err
	}
	t := list[0]
	a.Phases = append(a.Phases, clock.phase("load"))
	a.Slices, a.Flows, a.Instants = t.Slices.Len(), len(t.Flows.Time), len(t.Instants.Time)
	if st, err := os.Stat(file); err == nil {
		a.Size = st.Size()
	}
	if f.child == "ask" {
		v := analysis.Look(t, analysis.Options{})
		a.Phases = append(a.Phases, clock.phase("look"))
		a.Ops = len(v.Ops(analysis.OpOptions{}).Rows)
		a.Phases = append(a.Phases, clock.phase("ops"))
		a.BusyNs = v.Temporal().BusyNs
		a.Phases = append(a.Phases, clock.phase("temporal"))
	}
	a.MaxRSS = usage.Own().RSS
	if f.child == "live" {
		a.Heap, a.Args = live(t)
	}
	return a, nil
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

// clock measures phases of this process.
type clock struct {
	at  time.Time
	cpu time.Duration
}

func newClock() *clock { return &clock{time.Now(), usage.Own().CPU} }

// phase is the time since the last call.
func (c *clock) phase(name string) phase {
	now, cpu := time.Now(), usage.Own().CPU
	p := phase{name, now.Sub(c.at), cpu - c.cpu}
	c.at, c.cpu = now, cpu
	return p
}
