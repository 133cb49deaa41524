package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/session"
)

// Config says what Run does.
type Config struct {
	Binary string // the program
	Dir    string // where servers work; made and kept
	Seed   uint64
	Torch  string // directory of the omni example on torch, "" if there is none
	// Only chooses cells; nil is all.
	Only func(fault string, at Point) bool
	Log  func(format string, args ...any) // gets progress; may be nil
}

// Cell is one field of the table.
type Cell struct {
	Fault  string
	At     Point
	Skip   string        // why it was not run, "" if it was
	Seen   session.State // where the session was when the fault had struck
	State  session.State // how it ended; "" if there was none
	Said   string        // the first reason of a rank that did not complete, or the refusal
	Broken []string      // promises that did not hold
	Took   time.Duration
}

// Report is a run of the table.
type Report struct {
	Seed  uint64
	Cells []Cell
}

// Broken counts the cells in which a promise did not hold.
func (r *Report) Broken() (n int) {
	for _, c := range r.Cells {
		if len(c.Broken) > 0 {
			n++
		}
	}
	return n
}

// Run runs the table, one server a fault. Promises that do not hold are in the report; an
// error is the harness's own.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	rep := &Report{Seed: c.Seed}
	for i := range Faults {
		f := &Faults[i]
		var at []Point
		for _, p := range Points {
			if c.Only == nil || c.Only(f.Name, p) {
				at = append(at, p)
			}
		}
		if len(at) == 0 {
			continue
		}
		cells, err := c.row(ctx, f, at, rand.New(rand.NewPCG(c.Seed, uint64(i)))) //nolint:gosec // a seed is the point
		if err != nil {
			return rep, fmt.Errorf("%s: %w", f.Name, err)
		}
		rep.Cells = append(rep.Cells, cells...)
	}
	return rep, nil
}

func (c *Config) row(ctx context.Context, f *Fault, at []Point, rnd *rand.Rand) (out []Cell, err error) {
	dir, err := os.MkdirTemp(c.Dir, "row-")
	if err != nil {
		return nil, err
	}
	p := &product{binary: c.Binary, data: filepath.Join(dir, "data"), runs: filepath.Join(dir, "runs"),
		readyAt: filepath.Join(dir, "ready"), client: &http.Client{}, model: "kinetoscope-omni", slow: 1}
	defer p.client.CloseIdleConnections()
	if f.Needs != nil {
		if err := f.Needs(); err != nil {
			return skipped(f, at, err), nil
		}
	}
	if f.disks {
		if err := smallDisks(p.data, p.runs); err != nil {
			return skipped(f, at, err), nil
		}
		defer freeDisks(p.data, p.runs)
	}
	if f.apart {
		if p.deploy, err = writeElsewhere(dir); err != nil {
			return nil, err
		}
		p.far = true
	}
	if f.torch {
		if err := p.torch(dir, c.Torch); err != nil {
			return skipped(f, at, err), nil
		}
	}
	if p.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	defer p.log.Close()
	defer p.stop()
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	list, err := p.processes(ctx)
	if err != nil {
		return nil, err
	}
	p.ranks = len(list)
	seen := newWitness()
	for _, at := range at {
		if f.At != nil && !slices.Contains(f.At, at) {
			out = append(out, Cell{Fault: f.Name, At: at, Skip: nothingThere})
			continue
		}
		cell := c.cell(ctx, f, at, p, seen, rnd)
		out = append(out, cell)
		c.Log("%-40s %-10s %-8s %v %s", f.Name, at, cell.State, cell.Took.Round(time.Millisecond), cell.Broken)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
	return out, nil
}

// skipped are the cells of a fault that cannot be struck here.
func skipped(f *Fault, at []Point, why error) (out []Cell) {
	for _, p := range at {
		out = append(out, Cell{Fault: f.Name, At: p, Skip: why.Error()})
	}
	return out
}

// cell breaks the product once and examines the result.
func (c *Config) cell(ctx context.Context, f *Fault, at Point, p *product, seen *witness, rnd *rand.Rand) (cell Cell) {
	cell = Cell{Fault: f.Name, At: at}
	begun := time.Now()
	defer func() { cell.Took = time.Since(begun) }()
	broken := func(format string, args ...any) { cell.Broken = append(cell.Broken, fmt.Sprintf(format, args...)) }
	if err := p.healthy(ctx); err != nil {
		broken("before the fault: %v", err)
		return cell
	}
	list, err := p.since(ctx, "")
	if err != nil {
		broken("before the fault: %v", err)
		return cell
	}
	before := ""
	if len(list) > 0 {
		before = list[len(list)-1].ID
	}
	told, err := c.strike(ctx, f, at, target{p, rnd}, strikeLog{before, &cell})
	if err != nil {
		broken("%v", err)
	}
	if _, err := ended(ctx, p, before); err != nil {
		broken("%v", err)
	}
	if err := p.healthy(ctx); err != nil {
		broken("afterwards: %v", err)
		return cell
	}
	if err := quiet(ctx, p); err != nil {
		broken("%v", err)
	}
	if list, err = ended(ctx, p, before); err != nil { // with late files, and looks back that began meanwhile
		broken("%v", err)
	}
	for i := range list {
		cell.Broken = append(cell.Broken, checkSession(ctx, p, list[i].ID)...)
	}
	cell.Said = told
	if st, err := p.struck(ctx, before); err == nil && st != nil {
		cell.State, cell.Said = st.State, said(st, told)
	}
	cell.Broken = append(cell.Broken, seen.check(p)...)
	cell.Broken = append(cell.Broken, next(ctx, p, seen)...)
	return cell
}

// strikeLog is where strike notes what it saw: of the session after before.
type strikeLog struct {
	before string
	cell   *Cell
}

// strike brings a session to the point, breaks the product, and mends it.
// It returns what a request was refused with, if one was.
func (c *Config) strike(ctx context.Context, f *Fault, at Point, t target, log strikeLog) (told string, err error) {
	p := t.p
	var wg sync.WaitGroup // requests under way, whose connection the fault may cut
	var refused atomic.Pointer[string]
	defer func() {
		wg.Wait()
		if s := refused.Load(); s != nil {
			told = *s
		}
	}()
	post := func(path string) {
		wg.Go(func() {
			if code, body, err := p.ask(ctx, http.MethodPost, path, map[string]any{}); err == nil &&
				code >= http.StatusBadRequest {
				s := fmt.Sprintf("%d: %s", code, message(body))
				refused.Store(&s)
			}
		})
	}
	if at == Arming {
		post("/start_profile")
		time.Sleep(time.Duration(t.rnd.IntN(20)) * time.Millisecond) // somewhere in the arming
	} else if at != Idle {
		if code, body, err := p.begin(ctx, ""); err != nil || code != http.StatusOK {
			return "", fmt.Errorf("start before the fault: %d %.200s %v", code, body, err)
		}
		if _, err := p.chat(ctx); err != nil {
			return "", fmt.Errorf("before the fault: %w", err)
		}
	}
	if at == Stopping || at == Converting {
		post("/stop_profile")
		reached := func(s session.State) bool { return s == session.StateConverting || s.Terminal() }
		if at == Stopping {
			atOnce := t.rnd.IntN(2) == 0
			reached = func(s session.State) bool { return atOnce || s != session.StateRecording }
		}
		err := until(ctx, sessionTimeout, "a session to be "+string(at), func() bool {
			st, err := p.struck(ctx, log.before)
			return err == nil && st != nil && reached(st.State)
		})
		if err != nil {
			return "", err
		}
	}
	mend, err := f.Strike(ctx, t)
	if st, err := p.struck(ctx, log.before); err == nil && st != nil && at != Idle {
		log.cell.Seen = st.State
	}
	var errs []error
	errs = append(errs, err)
	if _, err := p.chat(ctx); err != nil && p.cmd != nil {
		errs = append(errs, fmt.Errorf("while it is broken: %w", err))
	}
	if at == Arming || at == Recording {
		post("/stop_profile")
	}
	if mend != nil {
		_ = wait.For(ctx, f.After) // it is mended either way
		errs = append(errs, mend())
	}
	return "", errors.Join(errs...)
}
