package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/trace"
)

// row is a row as a test reads it: each cell's text, and behind a "=" what a program reads where
// that is something else.
func row(cells []Cell) string {
	out := make([]string, len(cells))
	for i, c := range cells {
		if out[i] = c.Text; c.Raw != c.Text {
			out[i] += "=" + c.Raw
		}
	}
	return strings.Join(out, " | ")
}

// wantRows compares a table with rows that were written down by hand from its input.
func wantRows(t *testing.T, tab *Table, note string, want ...string) {
	t.Helper()
	if tab.Note != note {
		t.Errorf("%s: note %q, want %q", tab.Name, tab.Note, note)
	}
	var got []string
	for _, r := range tab.Rows() {
		if len(r) != len(tab.Columns) {
			t.Fatalf("%s: %d cells in %d columns", tab.Name, len(r), len(tab.Columns))
		}
		got = append(got, row(r))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", tab.Name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func ranked[T any](list ...T) []Ranked[T] {
	out := make([]Ranked[T], len(list))
	for i, v := range list {
		out[i] = Ranked[T]{string(rune('0' + i)), v}
	}
	return out
}

// nameOf names slices as "rank.slice".
func nameOf(rank, slice int) string {
	return string([]byte{'r', byte('0' + rank), 's', byte('0' + slice)})
}

func TestCommCells(t *testing.T) {
	known := coll.Row{Op: "allreduce", Group: "tp", GroupSize: 4, DType: "Float", Bytes: 4096, Count: 3, SumNs: 9000,
		MinNs: 1000, P50Ns: 3000, MaxNs: 5000, AlgGBs: 1.5, BusGBs: 2.25, BestBusGBs: 4, Worst: 7}
	unknown := coll.Row{Op: "barrier", Count: 1, SumNs: 10, MinNs: 10, P50Ns: 10, MaxNs: 10, Worst: 8}
	list := ranked(analysis.CommTable{Rows: []coll.Row{known}, Unknown: 2},
		analysis.CommTable{Rows: []coll.Row{unknown}, Unknown: 3})
	const first = "allreduce | tp | 4 | Float | 4.00 KiB=4096 | 3 | 9.00 µs=9000 | 1.00 µs=1000 | 3.00 µs=3000 | " +
		"5.00 µs=5000 | 1.50=1.5 | 2.25 | 4.00=4 | 7"
	wantRows(t, CommTable(list), "sizes of 5 calls are not in the trace", "0 | "+first,
		"1 | barrier |  | –=0 |  | –=0 | 1 | 10 ns=10 | 10 ns=10 | 10 ns=10 | 10 ns=10 | –=0 | –=0 | –=0 | 8")
	list[0].Value.Unknown = 0
	wantRows(t, CommTable(list[:1]), "times include waiting for other ranks: the best call is nearest to the link",
		"=0 | "+first)

	wantRows(t, OverlapTable(ranked(analysis.Overlap{CommunicationNs: 4000, OverlappedNs: 1000, Share: 0.25},
		analysis.Overlap{})), "", "0 | 4.00 µs=4000 | 1.00 µs=1000 | 25%=0.25")

	one := coll.Collective{Op: "allgather", Group: "dp", GroupSize: 2, DType: "Half", InBytes: 8, OutBytes: 16, Seq: 0,
		StartNs: 5000, Ns: 70, Slice: 3, Device: true}
	two := coll.Collective{Op: "send", Seq: -1, StartNs: 7500, Ns: 5, Slice: 9}
	wantRows(t, CollectiveTable(ranked(analysis.CommTable{Collectives: []coll.Collective{one, two}})), "",
		"=0 | +0=5000 | 70 ns=70 | allgather | dp | 2 | 0 | Half | 8 B=8 | 16 B=16 | device | 3",
		"=0 | +2.50 µs=7500 | 5 ns=5 | send |  | –=0 | –= |  | –=0 | –=0 | host | 9")
}

func TestStragglerCells(t *testing.T) {
	r := &analysis.StragglerReport{Matched: 7, Partial: 2,
		Unmatched: []coll.Unmatched{{Count: 3}, {Count: 4}},
		Ranks: []analysis.Straggler{
			{Index: 0, LastCount: 5, BlameNs: 2000, WaitNs: 10, ComputeNs: 300, WorstSlice: 0},
			{Index: 1, LastCount: 2, BlameNs: 20, WaitNs: 1000, ComputeNs: 400, WorstSlice: -1},
		},
		Pairs: []coll.Pair{
			{From: 0, To: 1, Count: 6, Bytes: 2048, SenderLate: 4, ReceiverWait: 900, ReceiverLate: 2, SenderWait: 30,
				WorstRank: 1, Worst: 0},
			{From: 1, To: 0, Count: 1, WorstRank: -1, Worst: -1},
		}}
	wantRows(t, StragglerTable(r, []string{"a"}, nameOf),
		"7 collectives found on several ranks, of 2 not all ranks are there; 7 not compared",
		"a | 5 | 2.00 µs=2000 | 10 ns=10 | 300 ns=300 | r0s0 | 0",
		"1 | 2 | 20 ns=20 | 1.00 µs=1000 | 400 ns=400 | –= | -1")
	wantRows(t, PairTable(r, []string{"a"}, nameOf), "",
		"a | 1 | 6 | 2.00 KiB=2048 | 4 | 900 ns=900 | 2 | 30 ns=30 | r1s0 | 0",
		"1 | a | 1 | –= | 0 | 0 | 0 | 0 | –= | -1")
	r.Partial, r.Unmatched = 0, nil
	wantRows(t, StragglerTable(r, []string{"a", "b"}, nameOf), "7 collectives found on several ranks",
		"a | 5 | 2.00 µs=2000 | 10 ns=10 | 300 ns=300 | r0s0 | 0",
		"b | 2 | 20 ns=20 | 1.00 µs=1000 | 400 ns=400 | –= | -1")
	wantRows(t, StragglerTable(&analysis.StragglerReport{Ranks: r.Ranks}, nil, nameOf), "")
	wantRows(t, StragglerTable(nil, nil, nameOf), "")
	wantRows(t, PairTable(nil, nil, nameOf), "")
}

func TestDeviceCells(t *testing.T) {
	v := analysis.Temporal{HasDevice: true, SpanNs: 1000, ComputeNs: 400, ComputeShare: 0.4,
		ExposedCommunicationNs: 200,
		ExposedMemoryNs:        50, OtherNs: 100, IdleNs: 250, IdleShare: 0.25, CommunicationNs: 300, MemoryNs: 50,
		BusyNs: 750,
		Devices: []analysis.DeviceTime{{Device: 0, BusyNs: 600, BusyShare: 0.6, Slices: 12},
			{Device: 3, BusyNs: 100, BusyShare: 0.1, Slices: 1}}}
	w := v
	w.OtherNs, w.CommunicationNs, w.MemoryNs, w.Devices = 0, 200, 60, v.Devices[:1]
	list := ranked(v, w, analysis.Temporal{})
	wantRows(t, TemporalTable(list), "exclusive parts of the span from first to last device work",
		"0 | 1.00 µs=1000 | 400 ns=400 | 40%=0.4 | 200 ns=200 | 20%=0.2 | 50 ns=50 | 5.0%=0.05 | 100 ns=100 | 250 ns=250 | "+
			"25%=0.25 | 300 ns=300 | –=50 | 750 ns=750",
		"1 | 1.00 µs=1000 | 400 ns=400 | 40%=0.4 | 200 ns=200 | 20%=0.2 | 50 ns=50 | 5.0%=0.05 | –=0 | 250 ns=250 | "+
			"25%=0.25 | –=200 | 60 ns=60 | 750 ns=750")
	wantRows(t, DeviceTable(list), "of the span from first to last work of any",
		"0 | 0 | 600 ns=600 | 60%=0.6 | 400 ns=400 | 12", "0 | 3 | 100 ns=100 | 10%=0.1 | 900 ns=900 | 1")

	kernels := analysis.KernelBreakdown{
		Types: []analysis.KernelType{{Kinds: []analysis.Kind{analysis.KindCompute}, Ns: 90, Share: 0.9}},
		Kernels: []analysis.KernelRow{{Name: "k", Kind: analysis.KindCompute, Count: 3, SumNs: 60, MaxNs: 30, MinNs: 10,
			MeanNs: 20, StdNs: 8.5, Share: 0.6, Worst: 4}, {Name: "one", Kind: analysis.KindMemory, Count: 1, SumNs: 40,
			MaxNs: 40, MinNs: 40, MeanNs: 40, Share: 0.4, Worst: 5}}}
	wantRows(t, KernelTypeTable(ranked(kernels)), "by what ran at the same time", "=0 | compute | 90 ns=90 | 90%=0.9")
	wantRows(t, KernelTable(ranked(kernels)), "4 slices of 2 names; share of their summed time",
		"=0 | k | compute | 3 | 60 ns=60 | 60%=0.6 | 20 ns=20 | 10 ns=10 | 30 ns=30 | 8 ns=8.5 | 4",
		"=0 | one | memory | 1 | 40 ns=40 | 40%=0.4 | 40 ns=40 | 40 ns=40 | 40 ns=40 | –= | 5")
	wantRows(t, SequenceTable(ranked([]analysis.Sequence{{Operator: "aten::mm", Kernels: []string{"void a(int)", "b"},
		Count: 6, GPUNs: 70, CPUNs: 90, First: 2}})),
		"launched again and again: what one fused kernel or one graph could replace",
		"=0 | aten::mm | 6 | 2 | 70 ns=70 | 90 ns=90 | a → b=aten::mm|void a(int)|b | 2")
}

// Ranks of one kernel: sums add, the extremes are those of all, a mean is of all calls; a slice's
// number and a deviation are of one rank and say nothing of several.
func TestMergeValues(t *testing.T) {
	k := func(name string, count, sum, least, most int64) analysis.KernelRow {
		return analysis.KernelRow{Name: name, Kind: analysis.KindCompute, Count: count, SumNs: sum, MinNs: least,
			MaxNs:  most,
			MeanNs: 1, StdNs: 5, Share: 0.5, Worst: 9}
	}
	list := ranked(analysis.KernelBreakdown{Kernels: []analysis.KernelRow{k("x", 2, 30, 10, 20),
		k("only", 1, 60, 60, 60)},
		Types: []analysis.KernelType{{Kinds: []analysis.Kind{analysis.KindCompute}, Ns: 80, Share: 1}}},
		analysis.KernelBreakdown{Kernels: []analysis.KernelRow{k("x", 3, 70, 5, 40)},
			Types: []analysis.KernelType{{Kinds: []analysis.Kind{analysis.KindMemory}, Ns: 10, Share: 0.1},
				{Kinds: []analysis.Kind{analysis.KindCompute}, Ns: 10, Share: 0.1}}})
	merged := MergeKernels(list)
	wantRows(t, KernelTable(merged), "6 slices of 2 names; share of their summed time",
		"=all | x | compute | 5 | 100 ns=100 | 62%=0.625 | 20 ns=20 | 5 ns=5 | 40 ns=40 | –= | -1",
		"=all | only | compute | 1 | 60 ns=60 | 38%=0.375 | 60 ns=60 | 60 ns=60 | 60 ns=60 | –= | -1")
	wantRows(t, KernelTypeTable(merged), "by what ran at the same time", "=all | compute | 90 ns=90 | 90%=0.9",
		"=all | memory | 10 ns=10 | 10%=0.1")
	op := analysis.OpRow{Name: "aten::mm", Kind: "op", Count: 2, CPUNs: 30, SelfCPUNs: 20, DeviceNs: 50,
		SelfDeviceNs: 40,
		Kernels:      3, FLOPs: 1000, Worst: 6}
	label := analysis.OpRow{Name: "step", Count: 1, SelfDeviceNs: 5, Worst: 1}
	ops := ranked(analysis.OpTable{Rows: []analysis.OpRow{op}, Labels: []analysis.OpRow{label}, CPUNs: 100,
		DeviceNs:       200,
		UnattributedNs: 7}, analysis.OpTable{Rows: []analysis.OpRow{op}, CPUNs: 1, DeviceNs: 2, UnattributedNs: 3})
	wantRows(t, OpTable(MergeOps(ops)), "host 101 ns, device 202 ns, 5 ns of it under labels, outside of operators, "+
		"10 ns of device work that no operator launched",
		"=all | aten::mm | op |  |  | 4 | 80 ns=80 | 40%=0.39603960396039606 | 100 ns=100 | 40 ns=40 | "+
			"40%=0.39603960396039606 | 60 ns=60 | 6 | 2.00 k=2000 | -1")
	wantRows(t, OpLabelTable(MergeOps(ops)), "the program's own; they are no operators",
		"=all | step |  |  |  | 1 | 5 ns=5 | 2.5%=0.024752475247524754 | 0 | 0 | 0%=0 | 0 | 0 | –= | -1")
	if ops[0].Value.Rows[0].Count != 2 || list[0].Value.Kernels[0].Count != 2 {
		t.Error("a sum over ranks changed a rank's own")
	}
}

func TestHostCells(t *testing.T) {
	row := analysis.OpRow{Name: "aten::mm", Kind: "op", Shapes: "[2, 3]", Stack: "a\nb", Count: 2, CPUNs: 50,
		SelfCPUNs: 25,
		Worst:     6}
	wantRows(t, OpTable(ranked(analysis.OpTable{Rows: []analysis.OpRow{row}, CPUNs: 100})), "host 100 ns",
		"=0 | aten::mm | op | [2, 3] | a < b=a\nb | 2 | –= | –= | –= | 25 ns=25 | 25%=0.25 | 50 ns=50 | –= | –= | 6")
	wantRows(t, OpTable(ranked(analysis.OpTable{}, analysis.OpTable{})), "")

	roof := analysis.RooflineReport{FLOPs: 5_000_000, KnownShare: 0.5, Rows: []analysis.RooflineRow{
		{Name: "aten::mm", Shapes: "s", DType: "float", Count: 2, FLOPs: 3000, Bytes: 100, Ns: 20, OnDevice: true,
			GFLOPs:    150,
			Intensity: 30, Bound: "memory", RoofShare: 0.75, First: 1},
		{Name: "aten::bmm", Count: 1, FLOPs: 10, Bytes: 1, Ns: 10, GFLOPs: 1, Intensity: 10, First: 2}}}
	rows := []string{
		"aten::mm | s | float | 2 | 3.00 k=3000 | 100 B=100 | 20 ns=20 | device=true | 150 | 30.0=30 | memory | 75%=0.75 | 1",
		"aten::bmm |  |  | 1 | 10.0=10 | 1 B=1 | 10 ns=10 | host=false | 1.00=1 | 10.0=10 |  | –= | 2"}
	wantRows(t, RooflineTable(ranked(roof)), "5.00 MFLOP in all; the FLOPs of 50% of the time in operators are known",
		"=0 | "+rows[0], "=0 | "+rows[1])
	wantRows(t, RooflineTable(ranked(roof, analysis.RooflineReport{})), "", "0 | "+rows[0], "0 | "+rows[1])
	wantRows(t, RooflineTable(ranked(analysis.RooflineReport{})), "")

	ann := func(name string) []analysis.AnnotationRow {
		return []analysis.AnnotationRow{{Name: name, Count: 2, SumNs: 30, MaxNs: 20, MinNs: 10, MeanNs: 15, StdNs: 5,
			BusyNs:  7,
			Kernels: 3, Worst: 4}}
	}
	const rest = " | 2 | 30 ns=30 | 15 ns=15 | 10 ns=10 | 20 ns=20 | 5 ns=5 | 7 ns=7 | 3 | 4"
	wantRows(t, AnnotationTable(ranked(analysis.Annotations{CPU: ann("h"), GPU: ann("d")})), "the program's own labels",
		"=0 | h | host"+rest, "=0 | d | device"+rest)

	host := cause.Report{WaitNs: 1000, UnrecordedNs: 250,
		Rows: []cause.Row{{Name: "f", On: "a lock", Ns: 750, Share: 0.75,
			Count: 2, Slice: 3}}}
	wantRows(t, HostTable(ranked(host)), "", "=0 | f | a lock | 750 ns=750 | 75%=0.75 | 2 | 3",
		"=0 | nothing recorded |  | 250 ns=250 | 25%=0.25 | –= | -1")
	host.UnrecordedNs = 0
	wantRows(t, HostTable(ranked(host, cause.Report{WaitNs: 9, UnrecordedNs: 9})), "",
		"0 | f | a lock | 750 ns=750 | 75%=0.75 | 2 | 3")

	frames := analysis.FrameTable{Rows: []analysis.FrameRow{{Name: "x.py(3): f", Calls: 2, SelfNs: 10, TotalNs: 30,
		P50Ns: 15,
		P99Ns: 19.5, MaxNs: 20, Share: 0.5, Worst: 8}}}
	const frame = "=0 | x.py: f | 2 | 10 ns=10 | 50%=0.5 | 30 ns=30 | 15 ns=15 | 20 ns=19.5 | 20 ns=20 | 8"
	wantRows(t, FrameTable(ranked(frames)), "self: without the frames inside; share of the window of all threads",
		frame)
	wantRows(t, SpanTable(ranked(frames)), "self: without the spans inside; share of the window of all tracks", frame)
	tracks := analysis.Recorded{Tracks: []analysis.TrackRow{{Process: "p", Name: "g 1", Slices: 4, BusyNs: 5,
		Share: 0.125}}}
	tab := GoroutineTable(ranked(tracks))
	wantRows(t, tab, "covered by spans; share of the window", "=0 | p | g 1 | 4 | 5 ns=5 | 12%=0.125")
	if tracks.Foreign = true; tab.Title != "Goroutines" || GoroutineTable(ranked(tracks)).Title != "Tracks" {
		t.Error("the tracks of another program are called goroutines")
	}
}

func TestIdleCells(t *testing.T) {
	lane := analysis.Lane{Device: 1, Stream: 7}
	var idle analysis.Idle
	idle.Streams = []analysis.StreamIdle{{Lane: lane, IdleNs: 1000}}
	for k, ns := range []int64{600, 300, 100, 0} {
		idle.Streams[0].Causes[k] = analysis.IdlePart{Cause: analysis.IdleCause(k), Ns: ns, Share: float64(ns) / 1000,
			Gaps: analysis.Stats{Count: k + 1}}
	}
	idle.Longest = []analysis.Gap{{Cause: analysis.HostWait, Lane: lane, StartNs: 50, EndNs: 90, Before: 2, After: 3}}
	const known = "=0 | 1 | 7 | 1.00 µs=1000 | 600 ns=600 | 60%=0.6 | 1 | 300 ns=300 | 30%=0.3 | 2 | 100 ns=100 | 10%=0.1 | 3 | "
	wantRows(t, IdleTable(ranked(idle)), "between a stream's first and last work", known+"–=0 | –=0 | –=4")
	idle.Streams[0].Causes[3] = analysis.IdlePart{Cause: analysis.Unknown, Ns: 5, Share: 0.005,
		Gaps: analysis.Stats{Count: 1}}
	wantRows(t, IdleTable(ranked(idle)), "between a stream's first and last work", known+"5 ns=5 | 0.5%=0.005 | 1")
	wantRows(t, GapTable(ranked(idle), nameOf), "",
		"=0 | 1 | 7 | 50 | 40 ns=40 | waits for host=host_wait | r0s2 | r0s3 | 2 | 3")

	l := analysis.LaunchStats{Count: 8, CPU: analysis.Stats{P50: 5000, P99: 9000}, GPU: analysis.Stats{P50: 700},
		Delay: analysis.Stats{P50: 80, P99: 90}, Short: 2, RuntimeOutliers: 1, DelayOutliers: 3, Unlinked: 4,
		Ambiguous:     6,
		GraphLaunches: 5, Types: []analysis.ByCall{{Name: "cudaLaunchKernel", Calls: 4, Slices: 9, CPUNs: 20},
			{Name: "none"}}}
	none := analysis.LaunchStats{Unlinked: 2}
	wantRows(t, LaunchTable(ranked(l, none, analysis.LaunchStats{})),
		"call: on the host; delay: from the call's end to the work's start",
		"0 | 8 | 5.00 µs=5000 | 9.00 µs=9000 | 700 ns=700 | 80 ns=80 | 90 ns=90 | 2 (25%)=2 | 1 | 3 | 5 | 4 | 6",
		"1 | 0 | –= | –= | –= | –= | –= | 0 (0%)=0 | 0 | 0 | –=0 | 2 | 0")
	l.GraphLaunches, l.Unlinked = 0, 0
	wantRows(t, LaunchTable(ranked(l)), "call: on the host; delay: from the call's end to the work's start",
		"=0 | 8 | 5.00 µs=5000 | 9.00 µs=9000 | 700 ns=700 | 80 ns=80 | 90 ns=90 | 2 (25%)=2 | 1 | 3 | –=0 | –=0 | 6")
	wantRows(t, CallTable(ranked(l)), "", "=0 | cudaLaunchKernel | 4 | 9 | 20 ns=20 | 5 ns=5",
		"=0 | none | 0 | 0 | 0 | 0")

	q := analysis.Queue{Streams: []analysis.StreamQueue{{Lane: lane, Series: []analysis.Point{{TimeNs: 100, Value: 1},
		{TimeNs: 130, Value: 2}}, ByTime: analysis.Weighted{SpanNs: 200, Mean: 1.5, P50: 1, P90: 2, P99: 3, Max: 4,
		ActiveNs: 50}, BlockedNs: 20, BlockedShare: 0.1, FullLength: 1024, MaxAt: 6}, {Lane: analysis.Lane{Stream: 9}}}}
	wantRows(t, QueueTable(ranked(q)),
		"launched and not yet begun; an empty queue leaves the device to the host's pace",
		"=0 | 1 | 7 | 1.50=1.5 | 1.00=1 | 2.00=2 | 3.00=3 | 4.00=4 | 25%=0.25 | 20 ns=20 | 10%=0.1 | 1024 | 6",
		"=0 | 0 | 9 | 0 | 0 | 0 | 0 | 0 | 0%=0 | –=0 | 0%=0 | 0 | 0")
	wantRows(t, QueueSeriesTable(ranked(q)), "", "=0 | 1 | 7 | +0=100 | 1.00=1", "=0 | 1 | 7 | +30 ns=130 | 2.00=2")
}

func TestNamesOf(t *testing.T) {
	tr := trace.New()
	tr.AddSlice(trace.Slice{Name: "a", Cat: trace.CatCPUOp, Track: tr.AddTrack(trace.Track{})})
	names := NamesOf([]*trace.Trace{tr, nil})
	for _, c := range []struct {
		rank, slice int
		want        string
	}{{0, 0, "a"}, {0, 1, ""}, {0, -1, ""}, {1, 0, ""}, {2, 0, ""}, {-1, 0, ""}} {
		if got := names(c.rank, c.slice); got != c.want {
			t.Errorf("slice %d of rank %d is called %q, want %q", c.slice, c.rank, got, c.want)
		}
	}
	kept := SliceNames{}
	if kept.Keep(tr, -1, 0, 1); len(kept) != 1 || kept[0] != "a" {
		t.Errorf("kept %v", kept)
	}
}
