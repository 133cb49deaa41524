package plausible

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// has returns the doubts of a kind.
func has(t *Trace, k Kind) []Doubt {
	var out []Doubt
	for _, d := range t.Doubts {
		if d.Kind == k {
			out = append(out, d)
		}
	}
	return out
}

// only fails unless the trace has just n doubts of a kind, and returns the first.
func only(t *testing.T, got *Trace, k Kind, n int) Doubt {
	t.Helper()
	list := has(got, k)
	if len(list) != n || len(got.Doubts) != n {
		t.Fatalf("want %d doubts of kind %s: %+v", n, k, got.Doubts)
	}
	if !list[0].Doubt {
		t.Error("the finding is not marked as a doubt")
	}
	return list[0]
}

func wantText(t *testing.T, d Doubt, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(d.Text, p) {
			t.Errorf("%q does not say %q", d.Text, p)
		}
	}
}

// summed is the summed duration of device work in µs.
func summed(t *Trace) int64 {
	var ns int64
	for _, i := range t.Work {
		ns += t.Dur[i]
	}
	return ns / us
}

func TestSoundTracesHaveNoDoubts(t *testing.T) {
	for _, v := range vendors {
		p := newProgram(v, 2)
		p.kernels(40)
		p.graph(false)
		p.graph(false)
		if got := Look(p.t); len(got.Doubts) > 0 || got.Missing != nil || &got.Start[0] != &p.t.Slices.Start[0] {
			t.Errorf("%s: %+v", v.launch, got.Doubts)
		}
	}
	if got := Look(trace.New()); len(got.Doubts) > 0 {
		t.Errorf("an empty trace: %+v", got.Doubts)
	}
}

func TestOverrun(t *testing.T) {
	for _, v := range vendors {
		p := newProgram(v, 2)
		p.kernels(10)
		p.call(v.launch)
		long := p.work(1, "void ns::fill<float>(int)", 10, 3_400_000)
		p.kernels(10) // five of them on the same stream
		got := Look(p.t)
		d := only(t, got, Overrun, 1)
		wantText(t, d, "stream 8 of device 1", "ns::fill lasts 3.40 s", "5 later slices", "100%")
		if d.Severity != finding.Critical || d.Evidence.Slice != long {
			t.Errorf("%+v", d)
		}
		if n := summed(got); n > 21*50+200 {
			t.Errorf("%s: work of %d µs", v.launch, n)
		}
		if p.t.Slices.Dur[long] < 3_400_000*us {
			t.Error("the trace was changed")
		}
	}
}

// TestOverlapOfDependentLaunches: kernels that begin before the one before has ended, as
// dependent launches do, are no overruns; neither are a graph's nodes.
func TestOverlapThatIsPossible(t *testing.T) {
	p := newProgram(vendors[0], 1)
	for range 30 {
		p.call("cudaLaunchKernelExC")
		p.work(0, "gemm", 10, 103)
	}
	p.call("cudaGraphLaunch")
	p.work(0, "wide", 20, 90)
	p.work(0, "branch", 30, 20)
	if got := Look(p.t); len(got.Doubts) > 0 {
		t.Errorf("%+v", got.Doubts)
	}
}

func TestLaneOfSeveralStreams(t *testing.T) {
	p := newProgram(vendors[2], 1)
	for k := range 40 {
		p.call(p.vendor.launch)
		p.work(0, "a", 10, 500+int64(k%7)*30)
		p.work(0, "b", 15, 40)
	}
	for i := range p.t.Slices.Corr {
		p.t.Slices.Corr[i] = int64(i)
	}
	got := Look(p.t)
	if d := has(got, SharedLane); len(d) != 1 {
		t.Fatalf("%+v", got.Doubts)
	}
	if n := summed(got); n < 40*500 {
		t.Errorf("durations were cut to %d µs", n)
	}
}

func TestNoTime(t *testing.T) {
	for _, base := range []int64{0, 1_600_000_000_000_000_000} {
		p := newProgram(vendors[0], 1)
		p.t.Meta.BaseTimeNs = base
		p.kernels(6)
		for range 2 {
			p.call(p.vendor.launch)
			i := p.work(0, "lost", 10, 0)
			p.t.Slices.Start[i], p.t.Slices.Dur[i] = base, 0
		}
		p.kernels(6)
		got := Look(p.t)
		wantText(t, only(t, got, NoTime, 1), "2 device slices have no time (ts 0)", "lost")
		if lo, _, _ := got.Extent(); lo != epoch {
			t.Errorf("begins at %d", lo)
		}
		if len(got.Missing) != 2 || len(got.Work) != 12 {
			t.Errorf("%d launches without work, %d slices of work", len(got.Missing), len(got.Work))
		}
	}
	// A trace that begins at 0 is sound.
	p := newProgram(vendors[0], 1)
	p.kernels(6)
	for i := range p.t.Slices.Start {
		p.t.Slices.Start[i] -= epoch
	}
	if got := Look(p.t); len(got.Doubts) > 0 {
		t.Errorf("%+v", got.Doubts)
	}
}

func TestClock(t *testing.T) {
	for _, behind := range []int64{60, 500, 5000, 2_000_000} { // µs
		p := newProgram(vendors[0], 2)
		p.kernels(60)
		for i, id := range p.t.Slices.Track {
			if id == p.streams[1] {
				p.t.Slices.Start[i] -= behind * us
			}
		}
		got := Look(p.t)
		d := only(t, got, Clock, 1)
		wantText(t, d, "device 1", "30 slices of 30")
		if want := float64(behind - 10); d.Number != want {
			t.Errorf("behind by %g µs, want %g", d.Number, want)
		}
		for _, i := range got.Work {
			if got.Start[i] < got.Start[got.Launch(i)] {
				t.Errorf("slice %d still begins before its launch", i)
			}
		}
	}
}

func TestEarlyWork(t *testing.T) {
	p := newProgram(vendors[0], 1)
	p.kernels(100)
	s := &p.t.Slices
	// Two kernels get the correlations of much later calls.
	s.Corr[1], s.Corr[3] = 90, 95
	got := Look(p.t)
	d := has(got, EarlyWork)
	if len(d) != 1 {
		t.Fatalf("%+v", got.Doubts)
	}
	wantText(t, d[0], "2 device slices of 100 begin before the call with the same correlation")
	if got.Launch(1) >= 0 || got.Launch(3) >= 0 {
		t.Error("the wrong links were kept")
	}
}

func TestNoWork(t *testing.T) {
	for _, v := range vendors {
		p := newProgram(v, 1)
		for range 20 {
			p.call(v.launch)
		}
		d := only(t, Look(p.t), NoWork, 1)
		wantText(t, d, "20 launch calls", v.launch, "no device work")
	}
	// A process that never launches says nothing of a device.
	p := newProgram(vendors[0], 0)
	p.call("cudaGetDeviceCount")
	p.call("cudaMalloc")
	if got := Look(p.t); len(got.Doubts) > 0 {
		t.Errorf("%+v", got.Doubts)
	}
}

func TestMissingWork(t *testing.T) {
	lose := func(from, to int) func(int) bool { return func(k int) bool { return k >= from && k < to } }
	for _, c := range []struct {
		name   string
		lost   func(k int) bool
		says   []string
		graded finding.Severity
	}{
		{"start", lose(0, 5), []string{"5 of 20", "5 at the start"}, finding.Warning},
		{"middle", lose(4, 16), []string{"12 of 20", "12 in between (activity buffers overflowed)"}, finding.Critical},
		{"end", lose(2, 20), []string{"18 of 20", "18 at the end"}, finding.Critical},
		{"every other", func(k int) bool { return k%2 == 1 }, []string{"10 of 20", "9 in between", "1 at the end"},
			finding.Critical},
	} {
		for _, v := range vendors {
			for _, graphs := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s %v", c.name, v.launch, graphs), func(t *testing.T) {
					p := newProgram(v, 1)
					for k := range 20 {
						switch {
						case graphs:
							p.graph(c.lost(k))
						case c.lost(k):
							p.call(v.launch)
						default:
							p.kernels(1)
						}
					}
					got := Look(p.t)
					d := only(t, got, MissingWork, 1)
					wantText(t, d, append(c.says, "no device work in the trace", "unreliable")...)
					if graphs {
						wantText(t, d, "graph launches")
					}
					n := 0
					for k := range 20 {
						n += stat.One(c.lost(k))
					}
					if d.Severity != c.graded || len(got.Missing) != n {
						t.Errorf("%s, %d missing; want %s, %d", d.Severity, len(got.Missing), c.graded, n)
					}
				})
			}
		}
	}
}

func TestCaptureLaunchesNothing(t *testing.T) {
	p := newProgram(vendors[0], 1)
	p.kernels(10)
	p.call("cudaStreamBeginCapture_v10000")
	for range 30 {
		p.call(p.vendor.launch)
	}
	p.call("cudaStreamEndCapture")
	p.kernels(10)
	at := p.now
	for range 30 {
		p.call(p.vendor.launch)
	}
	p.t.AddSlice(trace.Slice{Start: epoch + at*us, Dur: (p.now - at) * us, Name: "capture_32_FULL",
		Cat: trace.CatUserAnnotation, Track: p.host, Corr: trace.NoCorrelation})
	if got := Look(p.t); len(got.Doubts) > 0 || len(got.Missing) > 0 {
		t.Errorf("%+v, %d missing", got.Doubts, len(got.Missing))
	}
}

func TestUnmatched(t *testing.T) {
	p := newProgram(vendors[3], 1)
	p.kernels(20)
	for i, c := range p.t.Slices.Cat {
		if c == trace.CatKernel {
			p.t.Slices.Corr[i] += 1 << 40
		}
	}
	got := Look(p.t)
	wantText(t, only(t, got, Unmatched, 1), "20 launch calls and 20 device slices")
	if len(got.Missing) > 0 {
		t.Error("work that is there is taken as missing")
	}
}

func TestDominant(t *testing.T) {
	p := newProgram(vendors[0], 1)
	p.kernels(30)
	p.call(p.vendor.launch)
	p.work(0, "gemm_0", 10, 900_000)
	p.now += 900_000
	p.kernels(2)
	d := only(t, Look(p.t), Dominant, 1)
	wantText(t, d, "gemm_0 lasts 900 ms", "times as long as the next of its name", "without it")
	// The same at the end of everything is left out: nobody waited for it.
	p = newProgram(vendors[0], 1)
	p.kernels(30)
	p.call(p.vendor.launch)
	p.work(0, "gemm_0", 10, 900_000)
	got := Look(p.t)
	wantText(t, only(t, got, Dominant, 1), "after everything else in the trace and is left out")
	if n := summed(got); n > 30*51 {
		t.Errorf("work of %d µs", n)
	}
}

func TestNoDuration(t *testing.T) {
	p := newProgram(vendors[0], 1)
	p.kernels(20)
	for i, c := range p.t.Slices.Cat {
		if c == trace.CatKernel && i%8 == 1 {
			p.t.Slices.Dur[i] = 0
		}
	}
	wantText(t, only(t, Look(p.t), NoDuration, 1), "5 device slices of 20 have a duration of 0")
}

// TestShared: the samples, which are sound, give rise to no grave doubt.
func TestShared(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "traces", "*.json.gz"))
	if len(files) == 0 {
		t.Skip("no sample traces")
	}
	for _, f := range files {
		tr, err := kineto.ReadFile(t.Context(), f, kineto.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range Look(tr).Doubts {
			if d.Severity >= finding.Warning && !strings.Contains(f, "trace_compare") { // those are cut by hand
				t.Errorf("%s: %s", filepath.Base(f), d.Text)
			}
		}
	}
}

// TestAnything: no trace makes Look panic or change it, what it gives is consistent, and a
// second look finds nothing that was mended.
func TestAnything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newProgram(rapid.SampledFrom(vendors).Draw(rt, "vendor"), 2)
		tracks := append([]trace.TrackID{p.host}, p.streams...)
		cats := []trace.Category{p.vendor.cat, trace.CatKernel, trace.CatGPUMemcpy, trace.CatCPUOp,
			trace.CatUserAnnotation, trace.CatMTIACCP, trace.CatCUDASync}
		names := []string{p.vendor.launch, p.vendor.graph, "k1", "k2", "capture_8_FULL", "cudaStreamBeginCapture"}
		for range rapid.IntRange(0, 80).Draw(rt, "slices") {
			p.t.AddSlice(trace.Slice{
				Start: rapid.SampledFrom([]int64{0, epoch}).Draw(rt, "base") + us*rapid.Int64Range(0, 300).Draw(rt,
					"start"),
				Dur:  us * rapid.SampledFrom([]int64{0, 1, 30, 3_000_000}).Draw(rt, "dur"),
				Name: rapid.SampledFrom(names).Draw(rt, "name"),
				Cat:  rapid.SampledFrom(cats).Draw(rt, "cat"), Track: rapid.SampledFrom(tracks).Draw(rt, "track"),
				Corr: rapid.Int64Range(-1, 12).Draw(rt, "corr"),
			})
		}
		before := fmt.Sprint(p.t.Slices.Start, p.t.Slices.Dur)
		got := Look(p.t)
		if fmt.Sprint(p.t.Slices.Start, p.t.Slices.Dur) != before {
			rt.Fatal("the trace was changed")
		}
		for _, i := range got.Work {
			if got.Dur[i] < 0 || !got.Counts(i) {
				rt.Fatalf("slice %d: %d ns, counts %v", i, got.Dur[i], got.Counts(i))
			}
			if l := got.Launch(i); l >= 0 && got.OnDevice(i) && len(has(got, Clock)) == 0 &&
				got.Start[i] < got.Start[l]-clockSlack {
				rt.Fatalf("slice %d begins before its launch", i)
			}
		}
		for k, d := range got.Doubts {
			if d.Text == "" || d.Evidence.Slice < 0 || d.Evidence.Slice >= p.t.Slices.Len() || !d.Doubt ||
				strings.Contains(d.Text, "%!") {
				rt.Fatalf("%+v", d)
			}
			if k > 0 && finding.Compare(got.Doubts[k-1].Finding, d.Finding) > 0 {
				rt.Fatal("the gravest doubt is not the first")
			}
		}
		if again := Look(p.t); fmt.Sprint(again.Doubts) != fmt.Sprint(got.Doubts) {
			rt.Fatal("two looks differ")
		}
	})
}
