package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Point is where a session is when a fault strikes.
type Point string

// The points, in a session's order. Arming, stopping and converting last milliseconds: the
// fault is sent on its way with the request, and the report says where it arrived.
const (
	Idle       Point = "idle"
	Arming     Point = "arming"
	Recording  Point = "recording"
	Stopping   Point = "stopping"
	Converting Point = "converting"
)

// Points are all of them.
var Points = []Point{Idle, Arming, Recording, Stopping, Converting}

// nothingThere is why a cell of Fault.At is left out.
const nothingThere = "there is nothing to break"

// A Fault is one way of breaking the product.
type Fault struct {
	Name string
	// Needs says why it cannot be struck on this machine; nil: it always can.
	Needs func() error
	// Strike breaks something. It returns a function that mends it, nil if nothing has to be
	// mended. The error means that nothing was broken.
	Strike strike
	// At are the points where it makes sense; nil is all.
	At []Point
	// After is how long the fault stays.
	After time.Duration
	apart bool // it strikes a rank on another host
	disks bool // it needs small disks of its own
	torch bool // it strikes the ranks of a torch pipeline
}

// target is what a fault strikes, and the chance that chooses its victim.
type target struct {
	p   *product
	rnd *rand.Rand
}

// Faults are the rows of the table.
var Faults = []Fault{
	{Name: "a rank is killed", Strike: killRank},
	{Name: "a rank is frozen for 7 s", Strike: freezeRank, After: 7 * time.Second},
	{Name: "a rank is cut off for 7 s", Strike: cutCable, After: 7 * time.Second, apart: true},
	{Name: "a rank's clock is set by an hour", Needs: clockNeeds, Strike: setClock, After: time.Second},
	{Name: "the hub is killed and started again", Strike: killHub},
	{Name: "a second hub on the data directory", Strike: secondHub},
	{Name: "the data disk is full for 2 s", disks: true, Strike: fillData, After: 2 * time.Second},
	{Name: "the run store is full for 2 s", disks: true, Strike: fillRuns, After: 2 * time.Second},
	{Name: "the run store is read-only for 2 s", disks: true, Strike: readOnlyRuns, After: 2 * time.Second},
	{Name: "a recording is damaged in its spool", Strike: damage, At: []Point{Recording}},
	{Name: "two ranks are killed at once", Strike: killTwo},
	{Name: "a rank is killed while another is frozen for 7 s", Strike: killAndFreeze, After: 7 * time.Second},
	{Name: "the hub is killed while a rank is frozen for 7 s", Strike: both(freezeRank, killHub),
		After: 7 * time.Second},
	{Name: "a rank is killed while the data disk is full for 2 s", disks: true, Strike: both(fillData, killRank),
		After: 2 * time.Second},
	{Name: "a rank is killed while the run store is read-only for 2 s", disks: true,
		Strike: both(readOnlyRuns, killRank), After: 2 * time.Second},
	{Name: "a torch rank is killed", torch: true, Strike: killRank},
	{Name: "a torch rank is frozen for 7 s", torch: true, Strike: freezeRank, After: 7 * time.Second},
	{Name: "the hub of torch ranks is killed and started again", torch: true, Strike: killHub},
}

type strike = func(context.Context, target) (mend func() error, err error)

// both strikes twice, the second while the first stays, and mends both.
func both(first, second strike) strike {
	return func(ctx context.Context, t target) (func() error, error) {
		one, err := first(ctx, t)
		if err != nil {
			return one, err
		}
		other, err := second(ctx, t)
		return func() error {
			var errs []error
			for _, mend := range []func() error{one, other} {
				if mend != nil {
					errs = append(errs, mend())
				}
			}
			return errors.Join(errs...)
		}, err
	}
}

// victims chooses n ranks.
func victims(ctx context.Context, t target, n int) ([]rankProcess, error) {
	list, err := t.p.processes(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) < n {
		return nil, fmt.Errorf("%d ranks are there, not %d", len(list), n)
	}
	t.rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:n], nil
}

func killRank(ctx context.Context, t target) (func() error, error) {
	v, err := victims(ctx, t, 1)
	if err != nil {
		return nil, err
	}
	return nil, syscall.Kill(v[0].PID, syscall.SIGKILL)
}

func killTwo(ctx context.Context, t target) (func() error, error) {
	v, err := victims(ctx, t, 2)
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(syscall.Kill(v[0].PID, syscall.SIGKILL), syscall.Kill(v[1].PID, syscall.SIGKILL))
}

func killAndFreeze(ctx context.Context, t target) (func() error, error) {
	v, err := victims(ctx, t, 2)
	if err != nil {
		return nil, err
	}
	mend, err := freeze(v[1])
	return mend, errors.Join(err, syscall.Kill(v[0].PID, syscall.SIGKILL))
}

func freezeRank(ctx context.Context, t target) (func() error, error) {
	v, err := victims(ctx, t, 1)
	if err != nil {
		return nil, err
	}
	return freeze(v[0])
}

func freeze(v rankProcess) (func() error, error) {
	return func() error {
		if err := syscall.Kill(v.PID, syscall.SIGCONT); !errors.Is(err, syscall.ESRCH) { // it may have been replaced
			return err
		}
		return nil
	}, syscall.Kill(v.PID, syscall.SIGSTOP)
}

func killHub(ctx context.Context, t target) (func() error, error) {
	t.p.kill()
	return nil, t.p.start(ctx)
}

func secondHub(_ context.Context, t target) (func() error, error) {
	p := t.p
	ready := p.readyAt
	p.readyAt += ".second"
	cmd := p.serve()
	p.readyAt = ready
	cmd.Stdout, cmd.Stderr = nil, nil
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil, errors.New("a second hub was let on the data directory")
	}
	if want := fmt.Sprintf("used by process %d", p.cmd.Process.Pid); !strings.Contains(string(out), want) {
		return nil, fmt.Errorf("the second hub does not say %q: %.300s", want, out)
	}
	return nil, nil
}

// fill takes all room of a directory's disk.
func fill(dir string) (func() error, error) {
	path := filepath.Join(dir, "filled")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(fmt.Errorf("the disk of %s does not fill", dir), err, f.Close(), os.Remove(path))
	}
	return func() error { return os.Remove(path) }, f.Close()
}

type zeros struct{}

// Read gives zeros without end.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func fillData(_ context.Context, t target) (func() error, error) { return fill(t.p.data) }

func fillRuns(_ context.Context, t target) (func() error, error) { return fill(t.p.runs) }

// damage writes over the middle of a recording that is being made.
func damage(ctx context.Context, t target) (func() error, error) {
	var files []string
	err := until(ctx, requestTimeout, "recordings to be written", func() bool {
		files = nil
		for _, f := range t.p.spooled() {
			if st, err := os.Stat(f); err == nil && st.Size() > 2<<10 {
				files = append(files, f)
			}
		}
		return len(files) > 0
	})
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(files[t.rnd.IntN(len(files))], os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt([]byte("damaged"), 1<<10)
	return nil, errors.Join(err, f.Close())
}
