package steps

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/internal/badtraces"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// agree fails if the verdict, the table of steps, the idle breakdown and the findings of one
// trace contradict each other.
func agree(t rapid.TB, name string, tr *trace.Trace) {
	t.Helper()
	r := Find(tr, Options{})
	all := analysis.All([]*trace.Trace{tr}, analysis.Options{})
	rank := &all.Ranks[0]
	v, n := &r.Verdict, int64(len(rank.Temporal.Devices))
	if n == 0 || len(r.Steps) == 0 {
		return
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s: %s; verdict %+v; temporal %+v", name, fmt.Sprintf(format, args...), *v, rank.Temporal)
	}
	// The table of kinds and the verdict are sums over the same steps.
	var span, busy, host, allSpans int64
	at := int64(math.MinInt64)
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.AtNs < at {
			fail("step %d begins before the turn of the last has ended", i)
		}
		at = s.AtNs + s.SpanNs
		allSpans += s.SpanNs
		if s.MissingLaunches > 0 {
			if s.Bound != BoundNone {
				fail("step %d of missing work is bound by %s", i, s.Bound)
			}
			continue
		}
		if s.doubted {
			continue
		}
		span, busy, host = span+s.SpanNs, busy+s.BusyNs, host+s.HostIdleNs
	}
	if span != v.SpanNs || !near(v.BusyShare, busy, span) || !near(v.HostIdleShare, host, span) {
		fail("steps of %d ns, busy %d, waiting for the host %d", span, busy, host)
	}
	if v.BusyShare+v.HostIdleShare > 1+1e-9 {
		fail("shares above 1")
	}
	// What is busy in steps is busy in the breakdown.
	var devices int64
	for _, d := range rank.Temporal.Devices {
		devices += d.BusyNs
	}
	var inTurns int64
	for i := range r.Steps {
		inTurns += r.Steps[i].BusyNs
	}
	if inTurns*n > devices+n*int64(len(r.Steps)) {
		fail("steps are busy for %d ns, %d devices for %d", inTurns*n, n, devices)
	}
	for k, d := range v.Devices {
		if x := rank.Temporal.Devices[k]; x.Device != d.Device || d.BusyNs > x.BusyNs {
			fail("device %d: %d ns in steps, %d in all", d.Device, d.BusyNs, x.BusyNs)
		}
	}
	// A device that is said to set the pace is not said to stand idle.
	idle := 1 - rank.Temporal.MeanBusyShare
	if w := rank.Temporal.WindowNs; 2*rank.Temporal.SpanNs < w { // the page tells of the window then
		idle = 1 - float64(devices)/float64(n*w)
	}
	if v.Bound == BoundDevice && n > 1 { // the busiest of several sets the pace
		most := slices.MaxFunc(rank.Temporal.Devices,
			func(a, b analysis.DeviceTime) int { return cmp.Compare(a.BusyNs, b.BusyNs) })
		idle = 1 - float64(most.BusyNs)/float64(rank.Temporal.SpanNs)
	}
	covered := v.PauseShare < pauseSaid
	if v.Bound == BoundDevice && covered && v.Unknown == 0 && v.Doubted == 0 && idle > 0.35 {
		fail("device-bound, and idle for %.2f of its span", idle)
	}
	if !covered && v.Text != "" && v.Bound != BoundNone && !strings.Contains(v.Text, "steps cover only") {
		fail("it does not say how little steps cover")
	}
	// The first step's host work stands before the device's span, and in few steps it is much of them.
	lead := max(0, rank.Temporal.Window.StartNs-r.Steps[0].AtNs)
	if v.Bound == BoundHost && covered && v.Unknown == 0 && v.Doubted == 0 && idle < 0.05 &&
		float64(lead) < 0.05*float64(rank.Temporal.SpanNs) {
		fail("host-bound, and idle for %.2f of its span only", idle)
	}
	doubted := false
	for _, f := range all.Findings {
		doubted = doubted || f.Doubt && f.Severity >= analysis.Warning
	}
	for i, f := range all.Findings {
		if doubted && i == 0 && !f.Doubt {
			fail("a doubt is not said first: %q", f.Text)
		}
		if strings.Contains(f.Text, "was idle for") && f.Severity == analysis.Critical && v.Bound == BoundDevice &&
			covered && v.Unknown == 0 && v.Doubted == 0 {
			fail("%q beside %q", f.Text, v.Text)
		}
	}
	agreeOnWaits(fail, r, rank)
	agreeOnSums(fail, tr, r, rank)
	if most := float64(v.Unknown) / float64(len(r.Steps)); most > 0.5 && v.Bound != BoundNone {
		fail("%.2f of the steps lack work, and yet there is a verdict", most)
	}
}

// agreeOnWaits fails if the table of waits by stream, or what the host did, contradicts the verdict.
func agreeOnWaits(fail func(string, ...any), r *Report, rank *analysis.RankReport) {
	v := &r.Verdict
	var idle, host, start int64
	for _, s := range rank.Idle.Streams {
		idle, host = idle+s.IdleNs, host+s.Causes[analysis.HostWait].Ns
		start += s.Causes[analysis.KernelWait].Ns
		var parts int64
		for _, c := range s.Causes {
			parts += c.Ns
		}
		if parts != s.IdleNs {
			fail("stream %d idle for %d ns, by causes %d", s.Lane.Stream, s.IdleNs, parts)
		}
	}
	whole := v.Unknown == 0 && v.Doubted == 0 && v.Outside == 0 && v.PauseShare < pauseSaid && v.BlindShare < 0.05
	if whole && v.inTurn() && v.Bound == BoundOther && v.OtherShare > 0.5 && v.HostIdleShare < 0.1 && 2*host > idle {
		fail("the devices wait for each other, and streams for the host: %d of %d ns", host, idle)
	}
	if whole && len(v.Devices) == 1 && v.Bound == BoundHost && len(rank.Idle.Streams) == 1 && len(r.Steps) > 2 &&
		idle > v.SpanNs/2 && 4*(host+start) < idle { // gaps as short as a call count as starting kernels there
		fail("host-bound, and the stream waits for other things for %d of %d ns", idle-host-start, idle)
	}
	if v.Cause != nil && (v.Cause.Ns > rank.Host.WaitNs || len(rank.Host.Rows) == 0 || rank.Host.Rows[0] != *v.Cause) {
		fail("the host was in %+v for the verdict, in %+v for the table", v.Cause, rank.Host.Rows)
	}
	var rows int64
	for _, x := range rank.Host.Rows {
		rows += x.Ns
	}
	if rows+rank.Host.UnrecordedNs > rank.Host.WaitNs {
		fail("the host did %d ns of waits of %d", rows, rank.Host.WaitNs)
	}
}

// agreeOnSums fails if steps have more work, launches or bounds than there are, or a finding says
// another number than the table that it is of.
func agreeOnSums(fail func(string, ...any), tr *trace.Trace, r *Report, rank *analysis.RankReport) {
	var work, launches int
	for i := range r.Steps {
		work, launches = work+r.Steps[i].Slices, launches+r.Steps[i].Launches
	}
	if n := rank.Launches.Count + rank.Launches.Unlinked; work > n || launches > n {
		fail("steps of %d slices and %d launches, and %d slices in all", work, launches, n)
	}
	for _, k := range r.Kinds {
		if k.HostBound+k.DeviceBound > k.Whole || k.Whole > k.Count || k.BusyShare+k.HostIdleShare > 1+1e-9 {
			fail("steps of a kind: %+v", k)
		}
	}
	all, seen := int64(0), plausible.Look(tr)
	for _, d := range seen.Devices() { // without rows that enclose others
		for _, i := range d.Work {
			all += seen.Dur[i]
		}
	}
	if r.OutsideNs > all {
		fail("%d ns outside of steps, of %d", r.OutsideNs, all)
	}
	for _, f := range r.Findings {
		if strings.Contains(f.Text, "outside of steps") && !near(f.Number/100, r.OutsideNs, all) {
			fail("%q of %d ns of %d", f.Text, r.OutsideNs, all)
		}
		if f.Evidence.Slice >= tr.Slices.Len() {
			fail("%q points at nothing", f.Text)
		}
	}
}

func near(got float64, part, whole int64) bool {
	want := 0.0
	if whole > 0 {
		want = float64(part) / float64(whole)
	}
	return math.Abs(got-want) < 1e-9
}

// drawLoop draws a program's loop of any shape.
func drawLoop(rt *rapid.T) loop {
	l := loop{
		steps: rapid.IntRange(3, 20).Draw(rt, "steps"), kernels: rapid.IntRange(1, 12).Draw(rt, "kernels"),
		dur:    rapid.SampledFrom([]int64{1, 3, 20, 100, 900}).Draw(rt, "dur"),
		before: rapid.SampledFrom([]int64{0, 10, 300, 9000}).Draw(rt, "before"),
		after:  rapid.SampledFrom([]int64{0, 10, 300, 9000}).Draw(rt, "after"),
		ops:    rapid.SampledFrom([]string{"", "sampler.py(3): sample", "DataLoader.__next__"}).Draw(rt, "ops"),
		cat:    trace.CatPythonFunction,
		whole:  rapid.Bool().Draw(rt, "whole"), devices: rapid.IntRange(1, 4).Draw(rt, "devices"),
		inTurn: rapid.Bool().Draw(rt, "in turn"),
		ahead:  rapid.Bool().Draw(rt, "ahead"),
		call: rapid.SampledFrom([]string{"", "hipLaunchKernel", "cudaGraphLaunch", "urEnqueueKernelLaunch"}).Draw(rt,
			"call"),
		older: rapid.SampledFrom([]int64{0, 5000}).Draw(rt, "older"),
	}
	switch rapid.IntRange(0, 3).Draw(rt, "label") {
	case 0:
		l.label = func(i int) string { return fmt.Sprintf("ProfilerStep#%d", i) }
	case 1:
		l.label = func(int) string { return "execute_new_0_cached_4" }
	case 2:
		l.label = func(int) string { return "step[DECODE bs=1]" }
	}
	return l
}

// damages are what can be wrong with a trace, or odd about it.
var damages = map[string]func(rt *rapid.T, tr *trace.Trace){
	"sound": func(*rapid.T, *trace.Trace) {},
	"lost": func(rt *rapid.T, tr *trace.Trace) {
		s := &tr.Slices
		from, to := rapid.IntRange(0, s.Len()).Draw(rt, "from"), rapid.IntRange(0, s.Len()).Draw(rt, "to")
		for i := min(from, to); i < max(from, to); i++ {
			if s.Cat[i] == trace.CatKernel {
				s.Cat[i] = trace.CatCPUInstant
			}
		}
	},
	"shifted": func(rt *rapid.T, tr *trace.Trace) {
		by := rapid.SampledFrom([]int64{-3000, 3000, -40, 200, 60_000}).Draw(rt, "by")
		onDevices(tr, -1, func(int64) int64 { return by * us })
	},
	"one device shifted": func(rt *rapid.T, tr *trace.Trace) {
		by := rapid.SampledFrom([]int64{-3000, 3000, -90, 700}).Draw(rt, "by")
		onDevices(tr, rapid.Int64Range(0, 3).Draw(rt, "device"), func(int64) int64 { return by * us })
	},
	"drifts": func(rt *rapid.T, tr *trace.Trace) {
		ppm := rapid.SampledFrom([]int64{-18_000, -2000, 2000, 18_000}).Draw(rt, "ppm")
		onDevices(tr, -1, func(at int64) int64 { return at / 1_000_000 * ppm })
	},
	"graphs without kernels": func(rt *rapid.T, tr *trace.Trace) {
		every := rapid.IntRange(1, 9).Draw(rt, "every")
		s, n := &tr.Slices, tr.Slices.Len()
		for i := range n {
			if s.Cat[i].Runtime() && i%every == 0 {
				tr.AddSlice(trace.Slice{Start: s.Start[i] + us, Dur: us, Name: "cudaGraphLaunch",
					Cat: trace.CatCUDARuntime, Track: s.Track[i], Corr: 1_000_000 + int64(i)})
			}
		}
	},
	"overrun": func(_ *rapid.T, tr *trace.Trace) {
		s := &tr.Slices
		for i := range s.Start {
			if s.Cat[i] == trace.CatKernel && i > s.Len()/2 {
				s.Dur[i] = 5_000_000 * us
				break
			}
		}
	},
	"pause": func(_ *rapid.T, tr *trace.Trace) {
		s := &tr.Slices
		for i := s.Len() / 2; i < s.Len(); i++ {
			s.Start[i] += 500_000 * us
		}
	},
	"host work round it": func(rt *rapid.T, tr *trace.Trace) {
		lo, hi, _ := tr.Extent()
		long := rapid.SampledFrom([]int64{50, 4000, 900_000}).Draw(rt, "long")
		for _, at := range []int64{lo - (long+5)*us, hi + 5*us} {
			tr.AddSlice(trace.Slice{Start: at, Dur: long * us, Name: "load.py(7): weights",
				Cat: trace.CatPythonFunction, Track: 0, Corr: trace.NoCorrelation})
		}
	},
}

// onDevices moves the times of one device's work, of all for -1, as its own clock shows them.
func onDevices(tr *trace.Trace, device int64, by func(at int64) int64) {
	s := &tr.Slices
	for i, id := range s.Track {
		if tk := &tr.Tracks[id]; tk.Kind == trace.TrackGPU && (device < 0 || tk.Device == device) {
			s.Start[i] += by(s.Start[i])
		}
	}
}

// drawDamaged draws a loop with up to two damages, and says which.
func drawDamaged(rt *rapid.T) (*trace.Trace, string) {
	tr := drawLoop(rt).draw()
	names := slices.Sorted(maps.Keys(damages))
	what := ""
	for range rapid.IntRange(1, 2).Draw(rt, "damages") {
		name := rapid.SampledFrom(names).Draw(rt, "damage")
		damages[name](rt, tr)
		what += name + ", "
	}
	return tr, what
}

// TestAgree: verdict, idle breakdown and step table never contradict each other, in loops of
// any shape, sound and damaged in any two ways.
func TestAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr, what := drawDamaged(rt)
		agree(rt, what, tr)
	})
}

// TestAgreeOfRanks: what is said of a rank is the same beside another one, and the doubt about
// either comes before all else.
func TestAgreeOfRanks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var both []*trace.Trace
		what, doubted := "", false
		for rank := range 2 {
			tr, said := drawDamaged(rt)
			tr.Meta.Rank = rank
			both, what = append(both, tr), what+said
		}
		all := analysis.All(both, analysis.Options{})
		for k, tr := range both {
			alone := analysis.All([]*trace.Trace{tr}, analysis.Options{})
			if a, b := fmt.Sprint(alone.Ranks[0].Temporal), fmt.Sprint(all.Ranks[k].Temporal); a != b {
				rt.Fatalf("%s: rank %d is %s alone and %s beside the other", what, k, a, b)
			}
			for _, f := range alone.Findings {
				doubted = doubted || f.Doubt && f.Severity >= analysis.Warning
			}
		}
		if doubted && (len(all.Findings) == 0 || !all.Findings[0].Doubt) {
			rt.Fatalf("%s: the doubt about a rank is not said first: %+v", what, all.Findings)
		}
	})
}

// TestAgreeShared holds the same of all sample traces, as they are and by repetition.
func TestAgreeShared(t *testing.T) {
	var files []string
	for _, p := range []string{"traces/*.json.gz", "engine-traces/*.json.gz", "cases/*/in/*.json",
		"cases/*/in/*/*.json"} {
		list, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", filepath.FromSlash(p)))
		files = append(files, list...)
	}
	if len(files) == 0 {
		t.Skip("no sample traces")
	}
	n := 0
	for _, f := range files {
		tr, err := kineto.ReadFile(t.Context(), f, kineto.Options{})
		if err != nil {
			continue // some are no traces, on purpose
		}
		n++
		agree(t, filepath.Base(filepath.Dir(f))+"/"+filepath.Base(f), tr)
	}
	if n < len(files)/2 {
		t.Errorf("%d of %d files were read", n, len(files))
	}
}

// TestAgreeBad holds the same of every kind of trouble that users have with traces.
func TestAgreeBad(t *testing.T) {
	n := 0
	for _, c := range badtraces.Cases() {
		dir := t.TempDir()
		if err := badtraces.Lay(dir, c.Files); err != nil {
			t.Fatal(err)
		}
		list, err := open.Files(t.Context(), []string{dir}, open.Options{})
		if err != nil {
			t.Fatalf("%s %s: %v", c.Kind, c.Name, err)
		}
		for k, tr := range list {
			n++
			agree(t, fmt.Sprint(c.Kind, " ", c.Name, " ", k), tr)
		}
	}
	if n < len(badtraces.Cases()) {
		t.Errorf("%d traces of %d cases", n, len(badtraces.Cases()))
	}
}
