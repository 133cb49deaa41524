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
	for _, by := range []int64{900, 20_000} {
		sound, p := loop(60, "", 1), loop(60, "", 1)
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
