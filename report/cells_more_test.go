package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/made"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/trace"
)

func TestMemoryCells(t *testing.T) {
	d := analysis.DeviceMemory{DeviceType: 1, DeviceID: 2, PeakBytes: 2048, PeakTimeNs: 700, PeakReserved: 4096,
		BaseBytes: 512, EndBytes: 1024, AllocatedBytes: 3072, FreedBytes: 2560, Allocs: 5, Frees: 4,
		Series: []analysis.MemoryPoint{{TimeNs: 100, Allocated: 512}, {TimeNs: 700, Allocated: 2048, Reserved: 4096}},
		ByOp: []analysis.MemoryOp{{Name: "aten::mm", Allocs: 2, AllocatedBytes: 1024, AtPeakBytes: 512, LeftBytes: 0},
			{Name: "", Allocs: 3, AllocatedBytes: 2048, AtPeakBytes: 1024, LeftBytes: 256}}}
	bare := analysis.DeviceMemory{DeviceType: 0, PeakBytes: 0,
		ByOp: []analysis.MemoryOp{{Name: "x", AllocatedBytes: 8}}}
	list := ranked(analysis.MemoryReport{Devices: []analysis.DeviceMemory{d, bare}})
	wantRows(t, MemoryTable(list), "as the profiler saw allocations and frees",
		"=0 | CUDA 2 | 2.00 KiB=2048 | 700 | 4.00 KiB=4096 | 512 B=512 | 1.00 KiB=1024 | 3.00 KiB=3072 | 2.50 KiB=2560 | 5 | 4",
		"=0 | CPU 0 | 0 B=0 | 0 | –=0 | 0 B=0 | 0 B=0 | 0 B=0 | 0 B=0 | 0 | 0")
	list[0].Value.LeftOut = 2
	if note := MemoryTable(
		list).Note; note != "as the profiler saw allocations and frees; without 2 events of impossible size" {
		t.Errorf("note %q", note)
	}
	wantRows(t, MemoryOpTable(list), "itself, not through nested operators",
		"=0 | CUDA 2 | (outside operators)= | 1.00 KiB=1024 | 50%=0.5 | 256 B=256 | 2.00 KiB=2048 | 3",
		"=0 | CUDA 2 | aten::mm | 512 B=512 | 25%=0.25 | 0 B=0 | 1.00 KiB=1024 | 2",
		"=0 | CPU 0 | x | –=0 | –=0 | –=0 | 8 B=8 | 0")
	wantRows(t, MemorySeriesTable(list), "", "=0 | CUDA 2 | +0=100 | 512 B=512 | –=0",
		"=0 | CUDA 2 | +600 ns=700 | 2.00 KiB=2048 | 4.00 KiB=4096")
	bw := analysis.MemoryBandwidth{Directions: []analysis.DirectionUsage{{Name: "Memcpy HtoD", Count: 2, Bytes: 4096,
		BusyNs: 1000, MeanGBs: 4.096, Series: []analysis.Point{{TimeNs: 10, Value: 4}, {TimeNs: 30, Value: 0}},
		ByTime: analysis.Weighted{SpanNs: 4000, P50: 4, Max: 5, ActiveNs: 1000}},
		{Name: "Memset", Count: 1, BusyNs: 7}}}
	wantRows(t, BandwidthTable(ranked(bw)), "",
		"=0 | Memcpy HtoD | 2 | 4.00 KiB=4096 | 1.00 µs=1000 | 4.10=4.096 | 4.00=4 | 5.00=5 | 25%=0.25",
		"=0 | Memset | 1 | –=0 | 7 ns=7 | –= | 0 | –= | –=0")
	wantRows(t, BandwidthSeriesTable(ranked(bw)), "", "=0 | Memcpy HtoD | +0=10 | 4.00=4",
		"=0 | Memcpy HtoD | +20 ns=30 | 0")
	counters := analysis.CounterTable{Rows: []analysis.CounterRow{{Name: "k", Count: 2, Metrics: []analysis.MetricStats{
		{Metric: "cycles", Stats: analysis.Stats{Mean: 15_000, Min: 10_000, Max: 20_000, Sum: 30_000}}}}}}
	wantRows(t, CounterTable(ranked(counters)), "",
		"=0 | k | 2 | cycles | 15.0 k=15000 | 10.0 k=10000 | 20.0 k=20000 | 30.0 k=30000")
}

// One cell of time of the picture shows the most that was held in it, also what was held from
// before; the top is the peak.
func TestMemoryPicture(t *testing.T) {
	d := analysis.DeviceMemory{PeakBytes: 80, Series: []analysis.MemoryPoint{{TimeNs: 0, Allocated: 10},
		{TimeNs: 35, Allocated: 80}, {TimeNs: 38, Allocated: 0}, {TimeNs: 60, Allocated: 40},
		{TimeNs: 100, Allocated: 40}}}
	// Ten cells of 10 ns: 10 of 80 is an eighth, the peak fills its cell although it ends in it.
	lines := memoryPicture(&d, "CUDA 0", TextOptions{Width: 12, ASCII: true})
	if len(lines) != 2 || lines[1] != "  ...# =====" {
		t.Errorf("drawn as %q", lines)
	}
	if lines := memoryPicture(&d, "CUDA 0", TextOptions{Width: 12}); len(lines) != 2 || lines[1] != "  ▁▁▁█ ▄▄▄▄▄" {
		t.Errorf("drawn as %q", lines)
	}
	if got := memoryPicture(&d, "CUDA 0", TextOptions{Width: 12,
		ASCII: true})[0]; !strings.HasPrefix("  CUDA 0 over 100 ns; full height is 80 B",
		strings.TrimSuffix(got, "..")) {
		t.Errorf("note %q", got)
	}
	for name, d := range map[string]analysis.DeviceMemory{"one point": {PeakBytes: 8, Series: d.Series[:1]},
		"no peak": {Series: d.Series}, "no time": {PeakBytes: 8,
			Series: []analysis.MemoryPoint{{TimeNs: 5}, {TimeNs: 5}}}} {
		if lines := memoryPicture(&d, "CUDA 0", TextOptions{Width: 80}); lines != nil {
			t.Errorf("%s: %q", name, lines)
		}
	}
}

func TestPathCells(t *testing.T) {
	tr := trace.New()
	track := tr.AddTrack(trace.Track{})
	tr.AddSlice(trace.Slice{Start: 1000, Dur: 50, Name: "a", Cat: trace.CatCPUOp, Track: track})
	tr.AddSlice(trace.Slice{Start: 1100, Dur: 30, Name: "b", Cat: trace.CatKernel, Track: track})
	p := &analysis.CriticalPath{Window: analysis.Window{StartNs: 1000, EndNs: 1130}, TotalNs: 200, EdgeCount: 2,
		Bounds: []analysis.CriticalBound{{Bound: analysis.BoundCPU, Ns: 150, Share: 0.75}, {Bound: analysis.BoundNone},
			{Bound: analysis.BoundCompute}},
		ByName: []analysis.CriticalByName{{Name: "a", Bound: analysis.BoundCPU, Ns: 50, Count: 3, Worst: 0}},
		Edges: []analysis.CriticalEdge{{Ns: 50, Index: 4, From: 0, To: 0, Type: analysis.EdgeOperator,
			Bound: analysis.BoundCPU},
			{Ns: 60, Index: 5, From: 0, To: 1, FromEnd: true, Type: analysis.EdgeLaunchDelay,
				Bound: analysis.BoundLaunch}}}
	bounds := PathBoundTable(p)
	wantRows(t, bounds, "", "host=cpu | 150 ns=150 | 75%=0.75", "device computes=gpu_compute | 0 | 0%=0")
	wantRows(t, PathNameTable(p), "", "a | host=cpu | 3 | 50 ns=50 | 25%=0.25 | 0")
	edges := PathEdgeTable(p, tr)
	wantRows(t, edges, "", "4 | operator | host=cpu | 50 ns=50 | +0=1000 | a | a | 0 | 0",
		"5 | kernel_launch_delay | launch on its way=kernel_launch_overhead | 60 ns=60 | +50 ns=1050 | a | b | 0 | 1")
	if edges.Title != "The path" {
		t.Errorf("title %q", edges.Title)
	}
	if p.EdgeCount = 9; PathEdgeTable(p, tr).Title != "The path's 2 longest edges of 9" {
		t.Errorf("title %q", PathEdgeTable(p, tr).Title)
	}
}

// diffRow is a name that took a of time in A and b in B.
func diffRow(name string, change analysis.Change, a, b int64) analysis.DiffRow {
	side := func(ns int64) analysis.DiffSide {
		if ns == 0 {
			return analysis.DiffSide{Worst: analysis.NoSlice}
		}
		return analysis.DiffSide{Count: 2, Ns: ns, StepNs: float64(ns) / 2, Worst: 3}
	}
	r := analysis.DiffRow{Name: name, Change: change, A: side(a), B: side(b), DeltaNs: float64(b-a) / 2, P: 0.5,
		Q: 0.25}
	if a > 0 {
		r.Ratio = float64(b) / float64(a)
	}
	return r
}

func TestDiffCells(t *testing.T) {
	slower, faster := diffRow("s", analysis.Unchanged, 100, 400), diffRow("f", analysis.Unchanged, 400, 100)
	slower.Device, slower.Significant, slower.Q = true, true, 0.0005
	same, added := diffRow("same", analysis.Unchanged, 8, 8), diffRow("new", analysis.Added, 0, 6)
	removed, more := diffRow("gone", analysis.Removed, 6, 0), diffRow("more", analysis.Increased, 8, 8)
	less := diffRow("less", analysis.Decreased, 8, 8)
	d := &analysis.TraceDiff{StepsA: 2, StepsB: 2, Test: analysis.BySteps,
		Rows: []analysis.DiffRow{slower, faster, same, added, removed, more, less}}
	const note = "time in a mean step, nested calls included"
	rows := map[string]string{
		"s": "s | device | slower=unchanged | 2 | 2 | 100 ns=100 | 400 ns=400 | 50 ns=50 | 200 ns=200 | +150 ns=150 | 4.00=4 | " +
			"0.50=0.5 | <0.001=0.0005 | yes=true | 3 | 3",
		"f": "f | host | faster=unchanged | 2 | 2 | 400 ns=400 | 100 ns=100 | 200 ns=200 | 50 ns=50 | -150 ns=-150 | 0.25 | " +
			"0.50=0.5 | 0.250=0.25 | =false | 3 | 3",
		"same": "same | host | same=unchanged | 2 | 2 | 8 ns=8 | 8 ns=8 | 4 ns=4 | 4 ns=4 | 0 | 1.00=1 | 0.50=0.5 | 0.250=0.25 | " +
			"=false | 3 | 3",
		"new": "new | host | added | 0 | 2 | 0 | 6 ns=6 | –=0 | 3 ns=3 | +3 ns=3 | –=0 | 0.50=0.5 | 0.250=0.25 | =false | -1 | 3",
		"gone": "gone | host | removed | 2 | 0 | 6 ns=6 | 0 | 3 ns=3 | –=0 | -3 ns=-3 | –=0 | 0.50=0.5 | 0.250=0.25 | " +
			"=false | 3 | -1",
		"more": "more | host | more often=increased | 2 | 2 | 8 ns=8 | 8 ns=8 | 4 ns=4 | 4 ns=4 | 0 | 1.00=1 | 0.50=0.5 | " +
			"0.250=0.25 | =false | 3 | 3",
		"less": "less | host | less often=decreased | 2 | 2 | 8 ns=8 | 8 ns=8 | 4 ns=4 | 4 ns=4 | 0 | 1.00=1 | 0.50=0.5 | " +
			"0.250=0.25 | =false | 3 | 3",
	}
	for _, c := range []struct {
		o    DiffFilter
		want string
	}{
		{DiffFilter{}, "s f new gone more less"}, {DiffFilter{All: true}, "s f same new gone more less"},
		{DiffFilter{SignificantOnly: true}, "s"}, {DiffFilter{Change: "slower"}, "s"},
		{DiffFilter{Change: "faster"}, "f"},
		{DiffFilter{Change: "added"}, "new"}, {DiffFilter{Change: "unchanged"}, "s f same"},
		{DiffFilter{SignificantOnly: true, Change: "faster"}, ""},
	} {
		var want []string
		for _, name := range strings.Fields(c.want) {
			want = append(want, rows[name])
		}
		wantRows(t, DiffTable(d, c.o), note, want...)
	}
	d.Test, d.Rows = analysis.NoTest, []analysis.DiffRow{faster}
	wantRows(t, DiffTable(d, DiffFilter{}), note, strings.Replace(rows["f"], "0.250=0.25", "–=0.25", 1))
	for steps, want := range map[[2]int]string{{1, 1}: "time in the whole trace, nested calls included", {1, 2}: note,
		{2, 1}: note} {
		if d.StepsA, d.StepsB = steps[0], steps[1]; DiffTable(d, DiffFilter{}).Note != want {
			t.Errorf("%v steps: %q", steps, DiffTable(d, DiffFilter{}).Note)
		}
	}
}

func TestCompareCells(t *testing.T) {
	q := func(n int, p50, p99 float64) pipeline.Quantiles {
		return pipeline.Quantiles{Count: n, P50Ns: p50, P99Ns: p99}
	}
	s := func(n int, p50, p99 float64) pipeline.StepStats {
		return pipeline.StepStats{Count: n, P50Ns: p50, P99Ns: p99}
	}
	r := &compare.Report{Verdict: "B is slower.", Doubts: []string{"A lost a rank."},
		A:       compare.Side{Ranks: "thinker ×2", Requests: 1, Cards: []string{"X", "Y"}, Versions: []string{"v 1"}},
		B:       compare.Side{Ranks: "thinker ×1", Requests: 2, Versions: []string{"v 2"}},
		Differs: []string{"ranks", "versions"},
		Latency: []compare.Latency{
			{What: "ttft", A: q(3, 100, 200), B: q(4, 150, 2000), Chance: 0.01, Significant: true},
			{What: "total", A: q(3, 100, 200), Chance: 1}, {What: "first_audio", B: q(1, 7, 7), Chance: 1},
			{What: "first_image"},
		},
		Steps: []compare.Step{{Stage: "dit", Category: pipeline.CatDenoise, A: s(2, 40, 50), B: s(2, 30, 50),
			Chance: 0.5},
			{Stage: "vae", Category: pipeline.CatVAEDecode, A: s(1, 9, 9), Chance: 1}},
		Time: []compare.Time{{Stage: "dit", Category: pipeline.CatDenoise, ANs: 100, BNs: 125, AShare: 0.5,
			BShare: 0.25},
			{Stage: "dit", Category: pipeline.CatWait, BNs: 10, BShare: 0.02}}}
	tables := CompareTables(r)
	wantRows(t, tables[0], "",
		"TTFT=ttft | 3 | 4 | 100 ns=100 | 150 ns=150 | +50%=0.5 | 200 ns=200 | 2.00 µs=2000 | ×10.0=9 | 0.01 | yes=true",
		"total | 3 | 0 | 100 ns=100 | –= | –= | 200 ns=200 | –= | –= | 1.00=1 | =false",
		"first audio=first_audio | 0 | 1 | –= | 7 ns=7 | –= | –= | 7 ns=7 | –= | 1.00=1 | =false")
	wantRows(t, tables[1], "",
		"dit | denoise | 2 | 2 | 40 ns=40 | 30 ns=30 | -25%=-0.25 | 50 ns=50 | 50 ns=50 | 0%=0 | 0.50=0.5 | =false",
		"vae | vae_decode | 1 | 0 | 9 ns=9 | –= | –= | 9 ns=9 | –= | –= | 1.00=1 | =false")
	wantRows(t, tables[2], "sum over a stage's ranks",
		"dit | denoise | 100 ns=100 | 125 ns=125 | +25%=0.25 | 50%=0.5 | 25%=0.25",
		"dit | wait | 0 | 10 ns=10 | –= | 0%=0 | 2.0%=0.02")
	want := []string{"A lost a rank.", "B is slower.", "A: thinker ×2; 1 request; X, Y; v 1.",
		"B: thinker ×1; 2 requests; no card named; v 2.", "A and B differ in ranks; versions."}
	if got := CompareLines(r); !slices.Equal(got, want) {
		t.Errorf("lines %q", got)
	}
	r.Differs = nil
	if got := CompareLines(r); got[4] != "Cards, ranks, versions and the number of requests are the same." {
		t.Errorf("lines %q", got)
	}
	r.A.Cards = nil
	if got := CompareLines(
		r); got[4] != "Ranks, versions and the number of requests are the same; whether cards are is not known." {
		t.Errorf("lines %q", got)
	}
	two := &compare.TraceReport{Verdict: "The same.", A: made.Made{Cards: []string{"X"}, Versions: []string{"v 1"}}}
	if got := CompareTraceLines(two); !slices.Equal(got, []string{"The same.", "Both: X, v 1."}) {
		t.Errorf("lines %q", got)
	}
	two.Differs = []string{"cards"}
	if got := CompareTraceLines(two); !slices.Equal(got, []string{"The same.", "A and B differ in cards."}) {
		t.Errorf("lines %q", got)
	}
}

func TestStepCells(t *testing.T) {
	r := &steps.Report{How: "labels", Verdict: steps.Verdict{Bound: steps.BoundHost, Text: "The host sets the pace."},
		Steps: []steps.Step{
			{Kind: steps.Prefill, Name: "p", Slice: 3, StartNs: 100, EndNs: 150, AtNs: 120, SpanNs: 80, BusyNs: 60,
				HostIdleNs: 10, Bound: steps.BoundHost, Slices: 4, Launches: 5, GraphLaunches: 1, Batch: 2,
				Prefills: 2, Tokens: 900},
			{Kind: steps.Decode, Slice: -1, StartNs: 200, EndNs: 230, AtNs: 200},
		},
		Kinds: []steps.Stats{{Kind: steps.Prefill, Count: 1, Whole: 1, TotalNs: 80, MeanNs: 80, P50Ns: 80, P99Ns: 80.5,
			MaxNs:      80,
			HostMeanNs: 50, BusyShare: 0.75, HostIdleShare: 0.125, Slices: 4, Launches: 5, GraphShare: 0.25, Batch: 2,
			Tokens: 900, TokensPerS: 1500},
			{Kind: steps.Decode, Count: 1, TotalNs: 30, MeanNs: 30, P50Ns: 30, P99Ns: 30, MaxNs: 30}}}
	list := ranked(r)
	wantRows(t, StepTable(list), "",
		"=0 | 0 | prefill | +0=120 | 80 ns=80 | 100 | 50 ns=50 | 80 ns=80 | 60 ns=60 | 10 ns=10 | host | 4 | 5 | 1 | 2 | 2 | 900 | "+
			"p | 3",
		"=0 | 1 | decode | +80 ns=200 | 30 ns=30 | 200 | 30 ns=30 | 0 | –=0 | –=0 | none | –=0 | –=0 | –=0 | –=0 | 0 | –=0 |  | -1")
	wantRows(t, StepKindTable(list), "",
		"=0 | prefill | 1 | 80 ns=80 | 80 ns=80 | 80 ns=80.5 | 80 ns=80 | 80 ns=80 | 50 ns=50 | 75%=0.75 | 12%=0.125 | 4.00=4 | "+
			"5.00=5 | 25%=0.25 | 2.00=2 | 900 | 1500",
		"=0 | decode | 1 | 30 ns=30 | 30 ns=30 | 30 ns=30 | 30 ns=30 | 30 ns=30 | 0 | –=0 | –=0 | –=0 | 0 | –=0 | 0 | 0 | –=0")
	if got := StepLines(list); !slices.Equal(got, []string{"Steps were found by labels.", "The host sets the pace."}) {
		t.Errorf("lines %q", got)
	}
	quiet := *r
	quiet.Verdict = steps.Verdict{Text: "Nothing is known."}
	many := ranked(r, r, &quiet, r, r, r, &steps.Report{How: "nothing"}, r)
	want := []string{"Steps were found by labels."}
	for _, k := range []string{"0", "1", "3", "4"} {
		want = append(want, "rank "+k+": The host sets the pace.")
	}
	if got := StepLines(many); !slices.Equal(got, append(want, "… and 2 more ranks; the table of steps has them")) {
		t.Errorf("lines %q", got)
	}
	quiet.Verdict.Unknown = 1
	if got := StepLines(ranked(&quiet)); len(got) != 2 || got[1] != "Nothing is known." {
		t.Errorf("lines of steps whose work is missing: %q", got)
	}
}

func TestInspectCells(t *testing.T) {
	tr := trace.New()
	host := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 4, TID: 5, Device: -1, Stream: -1, Process: "python",
		Name: "main"})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7})
	tr.AddSlice(trace.Slice{Start: -100, Dur: 20, Name: "a", Cat: trace.CatCPUOp, Track: host})
	tr.AddSlice(trace.Slice{Start: -90, Dur: 30, Name: "over", Cat: trace.CatCPUOp, Track: host})
	tr.AddSlice(trace.Slice{Start: 10, Dur: 5, Name: "b", Cat: trace.CatCPUOp, Track: host})
	tr.AddSlice(trace.Slice{Start: 10, Dur: 8, Name: "k", Cat: trace.CatKernel, Track: gpu})
	tr.AddInstant(3, "i", trace.CatCPUInstant, host, nil)
	tr.AddInstant(4, "i", trace.CatCPUInstant, host, nil)
	tr.Window()
	wantRows(t, CountTable(tr), "", "slices | cpu_op | 3 | 55 ns=55", "slices | kernel | 1 | 8 ns=8",
		"instants | cpu_instant_event | 2 | –=")
	// [-100,-60) and [10,15) on the thread, in two lanes as two slices overlap.
	wantRows(t, TrackTable(tr), "", "0 | thread | python | main | 4 | 5 | –=-1 | –=-1 | 3 | 2 | 45 ns=45",
		"1 | stream | 0 | stream 7 | 0 | 7 | 0 | 7 | 1 | –=1 | 8 ns=8")

	facts := func(m trace.Meta) string {
		tr := trace.New()
		tr.Meta = m
		var out []string
		for _, f := range MetaFacts(tr) {
			out = append(out, f.Key+": "+f.Value)
		}
		return strings.Join(out, "\n")
	}
	card := trace.Device{Name: "X", TotalMemory: 1 << 30, SMs: 8}
	got := facts(trace.Meta{Format: "kineto", StageID: 1, Stage: "dit", Replica: 2, Rank: 3, WorldSize: 4, Host: "h",
		Backend: "nccl", Devices: []trace.Device{card, {}, card}, WindowStart: 1_000_000_000, WindowEnd: 1_000_000_500,
		WallClock: true, BaseTimeNs: 7, Extra: map[string]string{"a": `"text"`, "b": strings.Repeat("x", 161)}})
	want := `format: Chrome JSON of torch.profiler (Kineto)
stage: 1 dit, replica 2
rank: 3 of 4
host: h
backend: nccl
device: 2 × X, 1.00 GiB, 8 SMs
device: unnamed
window: 500 ns, from 1000000000 to 1000000500 ns
clock: wall clock, window begins 1970-01-01 00:00:01.000000000 UTC, baseTimeNanoseconds 7
a: text
b: ` + strings.Repeat("x", 160) + "… (161 bytes)"
	want = strings.Replace(want, "Chrome JSON of torch.profiler (Kineto)",
		strings.TrimPrefix(strings.SplitN(got, "\n", 2)[0],
			"format: "), 1) // the formats are registered by the program
	if got != want {
		t.Errorf("facts\n%s\nwant\n%s", got, want)
	}
	for m, line := range map[*trace.Meta]string{
		{StageID: -1, Rank: -1}:                 "rank: unknown",
		{StageID: -1, Rank: 2}:                  "rank: 2",
		{StageID: -1, Rank: -1, WorldSize: 8}:   "rank: unknown",
		{StageID: -1, Stage: "talker", Rank: 0}: "stage: talker, replica 0",
		{StageID: 0, Rank: 0, WorldSize: 1}:     "stage: 0, replica 0",
		{StageID: -1, Rank: -1,
			WindowEnd: 5}: "clock: times are since an unknown instant: not comparable with other files",
		{StageID: -1, Extra: map[string]string{"epoch": "3"}}: "epoch: 3",
	} {
		if !strings.Contains(facts(*m)+"\n", line+"\n") {
			t.Errorf("no %q in\n%s", line, facts(*m))
		}
	}
	if got := facts(trace.Meta{Format: "native", Extra: map[string]string{"clock": "x",
		"pid": "7"}}); strings.Contains(got, "pid") ||
		strings.Contains(got, "clock: x") {
		t.Errorf("facts that the recording's own say: %s", got)
	}
	for n, want := range map[[2]int64]string{{0, 100}: "", {5, 0}: "", {-1, 3}: "",
		{25, 100}: "; 25 B of 100 B (25%) not read"} {
		if got := Unread(n[0], n[1]); got != want {
			t.Errorf("Unread(%v) = %q", n, got)
		}
	}
}

// Where a finding is, is said as far as it helps: a slice by its name, a stretch by its length, on
// the device's span or before it; nothing where the whole span is meant.
func TestWhereFindingsAre(t *testing.T) {
	r := &TraceReport{Labels: []string{"3", "b"}, Names: nameOf,
		Report: &analysis.Report{Ranks: make([]analysis.RankReport, 2)}}
	r.Report.Ranks[0].Temporal.Window = analysis.Window{StartNs: 1000, EndNs: 5000}
	for _, c := range []struct {
		e    analysis.Evidence
		want string
	}{
		{analysis.Evidence{Rank: -1}, ""}, {analysis.Evidence{Rank: 2}, ""},
		{analysis.Evidence{Rank: 0, Slice: 0, StartNs: 1500}, "rank 3: r0s0 (slice 0) at +500 ns of the device's span"},
		{analysis.Evidence{Rank: 0, Slice: 4, StartNs: 700}, "rank 3: r0s4 (slice 4) 300 ns before the device's span"},
		{analysis.Evidence{Rank: 0, Slice: -1, StartNs: 1000, EndNs: 5000}, ""},
		{analysis.Evidence{Rank: 0, Slice: -1, StartNs: 1000, EndNs: 4000},
			"rank 3: 3.00 µs at +0 of the device's span"},
		{analysis.Evidence{Rank: 0, Slice: -1, StartNs: 2000, EndNs: 5000},
			"rank 3: 3.00 µs at +1.00 µs of the device's span"},
		{analysis.Evidence{Rank: 0, Slice: -1, StartNs: 2000, EndNs: 2000}, ""},
		{analysis.Evidence{Rank: 1, Slice: -1, StartNs: 2000, EndNs: 2070}, "b: 70 ns"},
		{analysis.Evidence{Rank: 1, Slice: 2}, "b: r1s2 (slice 2)"},
	} {
		if got := r.where(&analysis.Finding{Evidence: c.e}); got != c.want {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
	r.Labels = r.Labels[:1]
	if got := r.where(&analysis.Finding{Evidence: analysis.Evidence{Slice: 1, StartNs: 1000}}); got !=
		"r0s1 (slice 1) at +0 of the device's span" {
		t.Errorf("of one rank: %q", got)
	}
	for k := range 6 {
		r.Report.Findings = append(r.Report.Findings, analysis.Finding{Text: string(rune('a' + k)), Doubt: k != 1,
			Severity: []finding.Severity{finding.Critical, finding.Critical, finding.Warning, finding.Info,
				finding.Warning,
				finding.Critical}[k]})
	}
	if got := strings.Join(r.doubts(), "\n"); got != "In doubt: a\nIn doubt: c\nIn doubt: e\nIn doubt: f" {
		t.Errorf("doubts %q", got)
	}
	r.Report.Findings = append(r.Report.Findings, r.Report.Findings[:3]...)
	if got := r.doubts(); len(got) != 5 || got[4] != "… and 2 more doubts below" {
		t.Errorf("doubts %q", got)
	}
}
