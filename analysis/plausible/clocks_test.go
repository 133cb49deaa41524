package plausible

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// move adds by(t) to the times of a device's slices, as its own clock would show them.
func move(t *trace.Trace, device int64, by func(at int64) int64) {
	s := &t.Slices
	for i, id := range s.Track {
		if tk := &t.Tracks[id]; tk.Kind == trace.TrackGPU && tk.Device == device {
			s.Start[i] += by(s.Start[i])
		}
	}
}

func constant(us0 int64) func(int64) int64 { return func(int64) int64 { return us0 * us } }

// loop is a program that launches kernels, five a step, which begin 6 µs after their
// launch or when those before have ended, and waits for them at the end of each step by wait.
func loop(steps int, wait string, devices int) *program {
	p := newProgram(vendors[0], devices)
	end := make([]int64, devices)
	for s := range steps {
		d := s % devices
		for k := range 5 {
			p.corr++
			p.t.AddSlice(trace.Slice{Start: epoch + p.now*us, Dur: 5 * us, Name: p.vendor.launch, Cat: p.vendor.cat,
				Track: p.host, Corr: p.corr})
			from := max(p.now+6, end[d]+1)
			end[d] = from + int64(9+k)
			p.t.AddSlice(trace.Slice{Start: epoch + from*us, Dur: int64(9+k)*us + 1, Name: fmt.Sprintf("gemm_%d", k),
				Cat: trace.CatKernel, Track: p.streams[d], Corr: p.corr})
			p.now += 7
		}
		if wait != "" {
			until := max(p.now+2, end[d]+4)
			p.corr++
			p.t.AddSlice(trace.Slice{Start: epoch + p.now*us, Dur: (until - p.now) * us, Name: wait, Cat: p.vendor.cat,
				Track: p.host, Corr: p.corr})
			if strings.Contains(wait, "Memcpy") { // the work of a copy is the wait's own
				p.t.AddSlice(trace.Slice{Start: epoch + (end[d]+1)*us, Dur: 2 * us,
					Name: "Memcpy DtoH (Device -> Pageable)", Cat: trace.CatGPUMemcpy, Track: p.streams[d],
					Corr: p.corr})
				end[d] += 3
			}
			p.now = until
		}
		p.now += 100
	}
	return p
}

// truth is how far the times that Look gives are from those before the clock was moved, at
// most, in ns.
func truth(t *testing.T, sound *trace.Trace, got *Trace) int64 {
	t.Helper()
	var far int64
	for _, i := range got.Work {
		far = max(far, got.Start[i]-sound.Slices.Start[i], sound.Slices.Start[i]-got.Start[i])
	}
	return far
}

// TestClockIsFound: a clock that is off by a known time, behind or ahead, is set right to
// within the least delay of a launch or of a wait's return.
func TestClockIsFound(t *testing.T) {
	const within = 20 * us
	for _, wait := range []string{"cudaDeviceSynchronize", "hipMemcpyWithStream", "cudaMemcpy"} {
		for _, by := range []int64{0, -3, 8, -60, 60, -700, 700, -50_000, 50_000} {
			name := fmt.Sprintf("%s %d µs", wait, by)
			sound, p := loop(60, wait, 1), loop(60, wait, 1)
			move(p.t, 0, constant(by))
			got := Look(p.t)
			doubts := has(got, Clock)
			if small := by >= -15 && by <= 15; small {
				if len(got.Doubts) > 0 {
					t.Errorf("%s: %+v", name, got.Doubts)
				}
				continue
			}
			if len(doubts) != 1 || len(got.Doubts) != 1 {
				t.Errorf("%s: %+v", name, got.Doubts)
				continue
			}
			word := "behind"
			if by > 0 {
				word = "ahead"
			}
			wantText(t, doubts[0], "device 0", word, "at least", "at most")
			if far := truth(t, sound.t, got); far > within {
				t.Errorf("%s: off by %d ns: %s", name, far, doubts[0].Text)
			}
		}
	}
}

// TestClockRunsAway: a clock that drifts is set right along a line, whether calls wait for
// the work or not; ahead of the host without such calls it cannot be told from a queue.
func TestClockRunsAway(t *testing.T) {
	const within = 25 * us
	for _, c := range []struct {
		wait    string
		at, ppm int64 // µs at the begin, and what is added later
	}{
		{"cudaDeviceSynchronize", 0, 20_000}, {"cudaDeviceSynchronize", 0, -20_000},
		{"hipDeviceSynchronize", 400, -15_000},
		{"cudaMemcpy", -30, 10_000}, {"cudaDeviceSynchronize", 5000, 8_000}, {"", -500, 15_000}, {"", -100, -19_000},
	} {
		sound, p := loop(200, c.wait, 1), loop(200, c.wait, 1)
		if c.ppm = c.ppm * 9 / 10; c.at == 0 {
			c.at = 1
		}
		move(p.t, 0, func(at int64) int64 { return c.at*us + (at-epoch)*c.ppm/1_000_000 })
		got := Look(p.t)
		d := has(got, Clock)
		if len(d) != 1 {
			t.Errorf("%+v: %+v", c, got.Doubts)
			continue
		}
		wantText(t, d[0], "device 0", "runs away", "ppm")
		if far := truth(t, sound.t, got); far > within {
			t.Errorf("%+v: off by %d ns: %s", c, far, d[0].Text)
		}
	}
}

// TestClockAheadWithoutWaits: nothing waits for the device, and yet all that it begins
// while it is idle comes late by the same time.
func TestClockAheadWithoutWaits(t *testing.T) {
	for _, c := range []struct{ steps, by int64 }{{60, 900}, {60, 20_000}, {8, 900}, {8, 3_600_000_000}} {
		by := c.by
		sound, p := loop(int(c.steps), "", 1), loop(int(c.steps), "", 1)
		move(p.t, 0, constant(by))
		got := Look(p.t)
		d := has(got, Clock)
		if len(d) != 1 {
			t.Fatalf("%d µs: %+v", by, got.Doubts)
		}
		wantText(t, d[0], "found the device idle", "ahead")
		if far := truth(t, sound.t, got); far > 20*us {
			t.Errorf("%d µs: off by %d ns", by, far)
		}
	}
}

// TestOneClockOfSeveral: the devices of a process have clocks of their own.
func TestOneClockOfSeveral(t *testing.T) {
	sound, p := loop(80, "", 4), loop(80, "", 4)
	move(p.t, 2, constant(-2500))
	got := Look(p.t)
	wantText(t, only(t, got, Clock, 1), "device 2", "behind")
	if far := truth(t, sound.t, got); far > 20*us {
		t.Errorf("off by %d ns", far)
	}
}

// TestQueueIsNoClock: a host that runs ahead of its device launches long before the work
// begins, more so with every launch, and that says nothing of clocks.
func TestQueueIsNoClock(t *testing.T) {
	for _, behind := range []int64{0, 3000} {
		p := newProgram(vendors[0], 1)
		for k := range int64(400) {
			p.corr++
			p.t.AddSlice(trace.Slice{Start: epoch + k*10*us, Dur: 5 * us, Name: p.vendor.launch, Cat: p.vendor.cat,
				Track: p.host, Corr: p.corr})
			p.t.AddSlice(trace.Slice{Start: epoch + (6+k*21)*us, Dur: 20*us + 1, Name: "gemm", Cat: trace.CatKernel,
				Track: p.streams[0], Corr: p.corr})
		}
		move(p.t, 0, constant(-behind))
		got := Look(p.t)
		if behind == 0 {
			if len(got.Doubts) > 0 {
				t.Errorf("%+v", got.Doubts)
			}
			continue
		}
		d := only(t, got, Clock, 1)
		wantText(t, d, "behind the host's by at least")
		if want := float64(behind - 6); d.Number != want {
			t.Errorf("behind by %g µs, want %g", d.Number, want)
		}
	}
}

// TestClockOfShared moves the device's clock of sound samples by known times.
func TestClockOfShared(t *testing.T) {
	for file, within := range map[string]int64{
		"kineto_resnet50_nw0": 60 * us, "critical_path_alexnet": 40 * us, "critical_path_simple_add": 40 * us,
		"trace_diff_control": 40 * us, "trace_diff_test": 40 * us,
	} {
		name := filepath.Join("..", "..", "..", "shared", "traces", file+".json.gz")
		if matches, _ := filepath.Glob(name); len(matches) == 0 {
			t.Skip("no sample traces")
		}
		for _, by := range []int64{-20_000, -1500, 1500, 20_000} {
			read := func() *trace.Trace {
				tr, err := kineto.ReadFile(t.Context(), name, kineto.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return tr
			}
			sound, tr := read(), read()
			device := sound.Tracks[sound.Slices.Track[view.New(sound).Work[0]]].Device
			move(tr, device, constant(by))
			got := Look(tr)
			d := has(got, Clock)
			if len(d) != 1 {
				t.Errorf("%s %d µs: %+v", file, by, got.Doubts)
				continue
			}
			if far := truth(t, sound, got); far > within {
				t.Errorf("%s %d µs: off by %d ns: %s", file, by, far, d[0].Text)
			}
		}
	}
}

// TestDriftWithFewWaits: a clock that drifts is set right where the launches on an idle device
// bound it, however few calls waited for work; what is not set right is said first.
func TestDriftWithFewWaits(t *testing.T) {
	for _, waits := range []int{0, 1, 2, 3, 5} {
		for _, ppm := range []int64{-15_000, -5000, 5000, 15_000} {
			for _, at := range []int64{0, -500, 500} {
				sound, p := loopThatWaits(200, waits), loopThatWaits(200, waits)
				move(p.t, 0, func(x int64) int64 { return at*us + (x-epoch)*ppm/1_000_000 })
				got := Look(p.t)
				name := fmt.Sprintf("%d waits, %d ppm, %d µs", waits, ppm, at)
				if d := has(got, Clock); len(d) != 1 || got.Doubts[0].Kind != Clock {
					t.Errorf("%s: %+v", name, got.Doubts)
				} else if far := truth(t, sound.t, got); far > 20*us {
					t.Errorf("%s: off by %d ns: %s", name, far, d[0].Text)
				}
			}
		}
		if got := Look(loopThatWaits(200, waits).t); len(got.Doubts) > 0 {
			t.Errorf("%d waits, sound: %+v", waits, got.Doubts)
		}
	}
}

// loopThatWaits is loop with so many waits in all.
func loopThatWaits(steps, waits int) *program {
	p := newProgram(vendors[0], 1)
	call := func(name string, from, until int64) {
		p.corr++
		p.t.AddSlice(trace.Slice{Start: epoch + from*us, Dur: (until - from) * us, Name: name, Cat: p.vendor.cat,
			Track: p.host, Corr: p.corr})
	}
	end := int64(0)
	for s := range steps {
		for k := range int64(5) {
			call(p.vendor.launch, p.now, p.now+5)
			from := max(p.now+6, end+1)
			end = from + 9 + k
			p.t.AddSlice(trace.Slice{Start: epoch + from*us, Dur: (9+k)*us + 1, Name: "gemm", Cat: trace.CatKernel,
				Track: p.streams[0], Corr: p.corr})
			p.now += 7
		}
		if waits > 0 && (s+1)%(steps/waits) == 0 {
			until := max(p.now+2, end+4)
			call("cudaDeviceSynchronize", p.now, until)
			p.now = until
		}
		p.now += 100
	}
	return p
}

// TestSlowStartIsNoClock: launches that take long at first, or now and then, tell nothing of
// clocks.
func TestSlowStartIsNoClock(t *testing.T) {
	for name, delay := range map[string]func(s int64) int64{
		"slow start": func(s int64) int64 { return max(0, 300-20*s) },
		"steps":      func(s int64) int64 { return s / 50 * 80 },
		"waves":      func(s int64) int64 { return 60 * (s / 10 % 5) },
	} {
		p := newProgram(vendors[0], 1)
		for s := range int64(200) {
			p.call(p.vendor.launch)
			p.work(0, "gemm", 10+delay(s), 20)
			p.now += 400
		}
		if got := Look(p.t); len(got.Doubts) > 0 {
			t.Errorf("%s: %+v", name, got.Doubts)
		}
	}
}

// TestMergedIsSaidFirst: ranks that could not be parted explain what else is odd.
func TestMergedIsSaidFirst(t *testing.T) {
	p := newProgram(vendors[0], 1)
	p.kernels(10)
	for range 30 {
		p.call(p.vendor.launch)
	}
	p.t.Repairs.Add(trace.RepairMerged, 4)
	got := Look(p.t)
	if len(got.Doubts) != 1 || got.Doubts[0].Kind != Merged || !got.Several() || len(got.Missing) > 0 {
		t.Fatalf("%+v", got.Doubts)
	}
	wantText(t, got.Doubts[0], "several ranks", "4 processes", "cannot be told apart")
}

// TestSmallDrift: a drift of a few launches' length is set right where all launches bear it out.
func TestSmallDrift(t *testing.T) {
	for _, far := range []int64{-80, -40, 40, 80, 160} { // µs over the window
		sound, p := loop(200, "", 1), loop(200, "", 1)
		whole := p.now * us
		move(p.t, 0, func(at int64) int64 { return (at - epoch) * far * us / whole })
		got := Look(p.t)
		d := has(got, Clock)
		if len(d) != 1 {
			t.Errorf("%d µs: %+v", far, got.Doubts)
			continue
		}
		wantText(t, d[0], "runs away")
		if off := truth(t, sound.t, got); off > 10*us {
			t.Errorf("%d µs: off by %d ns: %s", far, off, d[0].Text)
		}
	}
}

// TestClockOrDevice: launches that take longer than cards need, on an idle device, tell no clock
// that is ahead from a device that is slow: it is said how much depends on it, and nothing moves.
func TestClockOrDevice(t *testing.T) {
	for _, by := range []int64{60, 200, 450} {
		sound, p := loop(60, "", 1), loop(60, "", 1)
		move(p.t, 0, constant(by))
		got := Look(p.t)
		wantText(t, only(t, got, Clock, 1), "or its clock is ahead", "depend on it", "left as they are")
		if far := truth(t, sound.t, got); far != by*us {
			t.Errorf("%d µs: times were moved by %d ns", by, by*us-far)
		}
	}
	p := loop(60, "", 1) // an ordinary card
	move(p.t, 0, constant(15))
	if got := Look(p.t); len(got.Doubts) > 0 {
		t.Errorf("%+v", got.Doubts)
	}
}
