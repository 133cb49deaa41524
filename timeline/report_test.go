package timeline

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// omni is the timeline of a pipeline's ranks.
func omni(t *testing.T) *Timeline {
	t.Helper()
	var src []Source
	for _, tr := range pipetest.Omni() {
		src = append(src, Source{Trace: tr})
	}
	tl, err := New(src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// TestReportAddsUp: the parts of a trace's time are its window, what flames, curves and matrices
// add up to is what the analyses say, and whatever names a slice names one that is there.
func TestReportAddsUp(t *testing.T) {
	list := inputs(t)
	list["pipeline"] = omni(t)
	for name, tl := range list {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && tl.Count() > 20_000 {
				t.Skip("the race detector needs no large traces")
			}
			slice := func(id string) {
				t.Helper()
				if _, _, err := tl.slice(id); id != "" && err != nil {
					t.Error(err)
				}
			}
			for _, p := range tl.Overview().Traces {
				sum := int64(0)
				for _, s := range p.Parts {
					sum += s.Ns
				}
				if p.Of != "" && sum != p.WindowNs {
					t.Errorf("trace %d: its parts are %d ns, its window %d", p.Trace, sum, p.WindowNs)
				}
			}
			for _, s := range tl.StepTimes() {
				if n := len(s.Ns); n != len(s.StartNs) || n != len(s.Kind) || n != len(s.Batch) || n != len(s.Slice) ||
					n == 0 {
					t.Fatalf("columns of %d, %d, %d, %d, %d steps", n, len(s.StartNs), len(s.Kind), len(s.Batch),
						len(s.Slice))
				}
				longest := int64(0)
				for _, k := range s.Kinds {
					longest = max(longest, k.MaxNs)
					slice(k.Longest)
				}
				if got := slices.Max(s.Ns); got != longest {
					t.Errorf("the longest step drawn takes %d ns, the longest of a kind %d", got, longest)
				}
			}
			for i := range tl.parts {
				traceAddsUp(t, tl, i, slice)
			}
			for _, r := range tl.Rooflines() {
				if len(r.First) != len(r.Rows) {
					t.Errorf("%d slices of %d rows", len(r.First), len(r.Rows))
				}
			}
			waitsAddUp(t, tl.Communication())
			for by := range opsBy {
				opsAddUp(t, tl, by)
			}
		})
	}
}

func traceAddsUp(t *testing.T, tl *Timeline, i int, slice func(string)) {
	t.Helper()
	p := tl.parts[i]
	for by := range opsBy {
		table, err := tl.Ops(i, by)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range table.Rows {
			slice(r.Longest)
			if n := total(r.Bins); by == ByKernel && r.Bins != nil && n != int(r.Count) {
				t.Errorf("%s: %d durations of %d kernels", r.Name, n, r.Count)
			}
		}
	}
	work := int64(0)
	v := plausible.Look(p.t).View
	for _, d := range v.Work {
		if v.Counts(d) {
			work += v.Dur[d]
		}
	}
	device, err := tl.FlameOf(context.Background(), i, true)
	if err != nil || device.TotalNs != work {
		t.Errorf("the device's flame graph has %d ns of %d: %v", device.TotalNs, work, err)
	}
	if _, err := tl.FlameOf(context.Background(), i, false); err != nil && len(ids(tl.Tree(PackNone), "thread")) > 0 {
		t.Error(err)
	}
	path, err := tl.Path(i, Query{From: 0, To: tl.EndNs, Px: 2000})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range path.Steps {
		slice(s.Slice)
		if s.EndNs < s.StartNs {
			t.Errorf("a step of the path ends %d ns before it begins", s.StartNs-s.EndNs)
		}
	}
	temporal := analysis.TemporalBreakdown(p.t, analysis.Options{})
	for _, n := range tl.Derived() {
		if n.Trace != i || n.Unit != "share" || len(temporal.Devices) != 1 {
			continue
		}
		c, err := tl.Counters(Query{From: 0, To: tl.EndNs, Px: 1, Tracks: []string{n.ID}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c[0].Last[0], float64(temporal.Devices[0].BusyNs)/float64(tl.EndNs); math.Abs(got-want) > 1e-3 {
			t.Errorf("%s of trace %d is %.4f over all, its devices were busy %.4f", n.Name, i, got, want)
		}
	}
}

// TestTokensInFlight: the one series of all stages has the tokens of the steps under way, those of
// a replica once.
func TestTokensInFlight(t *testing.T) {
	tl := omni(t)
	node := tl.Derived()[0]
	if node.ID != tokensInFlight || node.Name != "tokens in flight" || node.Trace != -1 || node.Parent != "" {
		t.Fatalf("%+v", node)
	}
	c, err := tl.Counters(Query{From: 0, To: tl.EndNs, Px: MaxPx, Tracks: []string{node.ID}})
	if err != nil || len(c) != 1 || len(c[0].Time) == 0 {
		t.Fatalf("%v, %v", c, err)
	}
	at := func(ns int64) float64 {
		v := 0.0
		for k, from := range c[0].Time {
			if from <= ns {
				v = c[0].Last[k]
			}
		}
		return v
	}
	for _, i := range []int{0, 2} { // the thinker's first rank, and the talker
		p := tl.parts[i]
		for _, s := range tl.stepsOf(i).Steps {
			mid := p.clock.Map((s.StartNs + s.EndNs) / 2)
			want := 0.0
			for _, j := range []int{0, 2, 3} {
				for _, o := range tl.stepsOf(j).Steps {
					if q := tl.parts[j]; q.clock.Map(o.StartNs) <= mid && mid < q.clock.Map(o.EndNs) {
						want += float64(o.Tokens)
					}
				}
			}
			if got := at(mid); got != want {
				t.Errorf("at %d ns %g tokens, want %g", mid, got, want)
			}
		}
	}
}

// opsAddUp: the table of all traces has the calls of each, and the durations in its histograms.
func opsAddUp(t *testing.T, tl *Timeline, by OpsBy) {
	t.Helper()
	durations := map[string]int{} // by name and kind: of each trace, less those of all
	sum := func(i, sign int) (calls, ns int64) {
		table, err := tl.Ops(i, by)
		if err != nil {
			t.Fatal(err)
		}
		if table.Total > maxOpRows {
			t.Skip("more rows than a table has")
		}
		for _, r := range table.Rows {
			calls += r.Count
			ns += r.SelfHostNs + r.SelfDeviceNs
			durations[r.Name+" "+r.Kind] += sign * total(r.Bins)
		}
		return calls, ns
	}
	calls, ns := sum(AllTraces, -1)
	for i := range tl.parts {
		c, n := sum(i, 1)
		calls, ns = calls-c, ns-n
	}
	if calls != 0 || ns != 0 {
		t.Errorf("all traces have %d calls and %d ns more than each together, by %s", calls, ns, by)
	}
	for name, n := range durations {
		if n != 0 {
			t.Errorf("the histogram of %s, of all traces by %s, lacks %d durations", name, by, n)
		}
	}
}

func total(bins []int) (n int) {
	for _, b := range bins {
		n += b
	}
	return n
}

func waitsAddUp(t *testing.T, c *Communication) {
	t.Helper()
	for i, row := range c.Bytes {
		for j, n := range row {
			if i == j && n != 0 || n < 0 {
				t.Errorf("%d bytes went from %s to %s", n, c.Ranks[i].Name, c.Ranks[j].Name)
			}
		}
	}
	for i, row := range c.WaitNs {
		sum := int64(0)
		for _, ns := range row {
			sum += ns
		}
		if sum != c.Ranks[i].WaitNs {
			t.Errorf("%s waited %d ns for others one by one, %d in all", c.Ranks[i].Name, sum, c.Ranks[i].WaitNs)
		}
		late := int64(0)
		for _, ns := range c.LateNs[i] {
			late += ns
		}
		if d := late - c.Ranks[i].BlameNs; d > 0 || -d > int64(c.Ranks[i].LastCount) { // each is rounded down
			t.Errorf("the others waited %d ns for %s over time, %d in all", late, c.Ranks[i].Name, c.Ranks[i].BlameNs)
		}
	}
}

func TestReportRefuses(t *testing.T) {
	tl := omni(t)
	if _, err := tl.Ops(99, ByName); !errors.Is(err, ErrNotFound) {
		t.Errorf("operators of trace 99: %v", err)
	}
	if _, err := tl.Ops(0, "colour"); err == nil || !strings.Contains(err.Error(), "allowed are") {
		t.Errorf("operators by colour: %v", err)
	}
	for _, id := range []string{"0:d99", "99:d0", "0:d-1"} {
		if _, err := tl.Counters(Query{From: 0, To: 1, Px: 1, Tracks: []string{id}}); !errors.Is(err, ErrNotFound) {
			t.Errorf("counter %s: %v", id, err)
		}
	}
}

// TestLatencyIsTheReports: what the overview says of requests is what the run's report says.
func TestLatencyIsTheReports(t *testing.T) {
	tl := omni(t)
	o := tl.Overview()
	if o.Latency != tl.Report().Latency || o.Requests != tl.Report().RequestCount || o.Requests == 0 {
		t.Errorf("%d requests, %+v", o.Requests, o.Latency)
	}
	for _, s := range o.Stages {
		if s.Time.Count == 0 || float64(s.Queue.MaxNs) > float64(s.Time.MaxNs) {
			t.Errorf("stage %+v", s)
		}
	}
}

// TestCutKeepsIDsApart cuts two ranks whose correlations and arrows have equal ids: in the cut a
// kernel has one launch, in its own process, and an arrow its own two ends.
func TestCutKeepsIDsApart(t *testing.T) {
	var src []Source
	for seed := range uint64(2) {
		tr := device(seed, 200, 2)
		for i := range 50 {
			s := &tr.Slices
			tr.AddFlow(s.Start[6*i]+1, uint64(i), "fwdbwd", "fwdbwd", s.Track[6*i], true)
			tr.AddFlow(s.Start[6*i+3]+1, uint64(i), "fwdbwd", "fwdbwd", s.Track[6*i+3], false)
		}
		tr.AddCounter(tr.Slices.Start[300], "memory", "bytes", 0, 7)
		src = append(src, Source{Trace: tr})
	}
	tl, err := New(src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cut, err := tl.Cut(Query{From: tl.EndNs / 8, To: tl.EndNs * 3 / 4,
		Tracks: ids(tl.Tree(PackNone), "thread", "stream")})
	if err != nil {
		t.Fatal(err)
	}
	if err := cut.Validate(); err != nil {
		t.Fatal(err)
	}
	calls := map[int64]int64{} // by correlation: process
	s := &cut.Slices
	for i, c := range s.Corr {
		if c != trace.NoCorrelation && !s.Cat[i].Busy() {
			if _, twice := calls[c]; twice {
				t.Fatalf("two launches have correlation %d", c)
			}
			calls[c] = cut.Tracks[s.Track[i]].PID / 100_000_000
		}
	}
	joined := 0
	for i, c := range s.Corr {
		if pid, ok := calls[c]; ok && s.Cat[i].Busy() {
			joined++
			if got := cut.Tracks[s.Track[i]].PID / 100_000_000; got != pid {
				t.Fatalf("a kernel of trace %d is launched by trace %d", got, pid)
			}
		}
	}
	ends := map[uint64][2]int{}
	for i, id := range cut.Flows.ID {
		e := ends[id]
		if cut.Flows.Start[i] {
			e[0]++
		} else {
			e[1]++
		}
		ends[id] = e
	}
	for id, e := range ends {
		if e != [2]int{1, 1} {
			t.Errorf("arrow %d has %d begins and %d ends", id, e[0], e[1])
		}
	}
	if joined < 100 || len(ends) < 20 || len(cut.Counters.Time) != 2 {
		t.Errorf("%d kernels with launches, %d arrows, %d counter values", joined, len(ends), len(cut.Counters.Time))
	}
}

// TestFarTimes: times whose differences 64 bits do not hold are refused by every question; a device's
// busy share was looked for without end.
func TestFarTimes(t *testing.T) {
	tl := omni(t)
	track := ids(tl.Tree(PackNone), "thread")[0]
	for _, q := range []Query{{From: math.MinInt64, To: math.MaxInt64}, {From: -1 << 62, To: 1<<62 + 1},
		{From: math.MaxInt64 - 1e6, To: math.MaxInt64}} {
		q.Px, q.Tracks = 3, []string{track}
		if b, err := tl.Slices(nil, q); err == nil {
			t.Fatalf("slices from %d to %d: %d bytes", q.From, q.To, len(b))
		}
		if _, err := tl.Select(context.Background(), q); err == nil {
			t.Errorf("an area from %d to %d", q.From, q.To)
		}
		for _, n := range tl.Derived() {
			q.Tracks = []string{n.ID}
			if _, err := tl.Counters(q); err == nil {
				t.Errorf("%s from %d to %d", n.Name, q.From, q.To)
			}
		}
	}
}
